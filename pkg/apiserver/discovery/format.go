package discovery

import (
	"maps"
	"mime"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	groupName = v1alpha1.GroupName
	stale     = string(apidiscoveryv2.DiscoveryFreshnessStale)

	pathAPIs      = "/apis"
	pathOpenAPIv2 = "/openapi/v2"
	pathOpenAPIv3 = "/openapi/v3"

	mediaJSON     = "application/json"
	mediaYAML     = "application/yaml"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
	mediaCBOR     = "application/cbor"
	mediaText     = "text/plain"
)

// list is a kind that lists API groups, and where it keeps what.
type list struct {
	kind  string
	field string   // of the groups
	name  []string // path of a group's name

	number      protowire.Number
	nameNumbers []protowire.Number
}

var (
	aggregatedList = list{
		kind: "APIGroupDiscoveryList", field: "items", name: []string{"metadata", "name"},
		number: aggregatedItems, nameNumbers: []protowire.Number{groupMetadata, metadataName},
	}
	legacyList = list{
		kind: "APIGroupList", field: "groups", name: []string{"name"},
		number: listGroups, nameNumbers: []protowire.Number{apiGroupName},
	}
)

// format is an encoding of one of the documents.
type format struct {
	merge func(doc []byte, p *part) ([]byte, error)
	// markStale is nil where a document cannot say that it is stale.
	markStale func(doc []byte) ([]byte, error)
	// version is that of aggregated discovery.
	version string
}

// formatOf tells how to merge what an apiserver answers on a path. What it does
// not know cannot be merged.
func formatOf(path, contentType string) (format, bool) {
	// mime does not accept the "@" in the older name of OpenAPI's protobuf.
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch path {
	case pathOpenAPIv2:
		switch media {
		case mediaJSON:
			return format{merge: mergeJSONSwagger}, true
		case "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
			"application/com.github.proto-openapi.spec.v2@v1.0+protobuf":
			return format{merge: mergeProtoSwagger}, true
		}
	case pathOpenAPIv3:
		// kube-apiserver calls it text: its aggregator forgets to say otherwise.
		if media == mediaJSON || media == mediaText {
			return format{merge: mergeJSONPaths}, true
		}
	case pathAPIs:
		_, parameters, err := mime.ParseMediaType(contentType)
		if err != nil {
			return format{}, false
		}
		version, kind := parameters["v"], parameters["as"]
		switch {
		case kind == "" && version == "" && parameters["g"] == "":
			return legacyFormat(media)
		case kind == aggregatedList.kind && parameters["g"] == apidiscoveryv2.GroupName && (version == "v2" || version == "v2beta1"):
			return aggregatedFormat(media, version)
		}
	}
	return format{}, false
}

func legacyFormat(media string) (format, bool) {
	switch media {
	case mediaJSON:
		return format{merge: func(doc []byte, p *part) ([]byte, error) { return mergeJSONList(doc, legacyList, p.legacy.json) }}, true
	case mediaYAML:
		return format{merge: func(doc []byte, p *part) ([]byte, error) { return mergeYAMLList(doc, legacyList, p.legacy.json) }}, true
	case mediaProtobuf:
		return format{merge: func(doc []byte, p *part) ([]byte, error) { return mergeProtoList(doc, legacyList, p.legacy.proto) }}, true
	case mediaCBOR:
		return format{merge: func(doc []byte, p *part) ([]byte, error) { return mergeCBORList(doc, legacyList, p.legacy.json) }}, true
	}
	return format{}, false
}

func aggregatedFormat(media, version string) (format, bool) {
	f := format{version: version}
	switch media {
	case mediaJSON:
		f.merge = func(doc []byte, p *part) ([]byte, error) {
			return mergeJSONList(doc, aggregatedList, p.aggregated.json)
		}
		f.markStale = staleJSON
	case mediaYAML:
		f.merge = func(doc []byte, p *part) ([]byte, error) {
			return mergeYAMLList(doc, aggregatedList, p.aggregated.json)
		}
		f.markStale = staleYAML
	case mediaProtobuf:
		f.merge = func(doc []byte, p *part) ([]byte, error) {
			return mergeProtoList(doc, aggregatedList, p.aggregated.proto)
		}
		f.markStale = staleProto
	case mediaCBOR:
		f.merge = func(doc []byte, p *part) ([]byte, error) {
			return mergeCBORList(doc, aggregatedList, p.aggregated.json)
		}
		f.markStale = staleCBOR
	default:
		return format{}, false
	}
	return f, true
}

func always(string) bool { return true }

// isOwnDefinition tells the definitions of which ours counts: Kubernetes' own are
// upstream's, of upstream's version.
func isOwnDefinition(name string) bool { return !strings.HasPrefix(name, "io.k8s.") }

func sortedNames(m map[string]entry) []string { return slices.Sorted(maps.Keys(m)) }

package discovery

import (
	"net/http"
	"strconv"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
)

// aggregatedKey names an aggregated document: the closed set of what can be
// served stale.
type aggregatedKey struct {
	media, version string
	// local documents leave out what only other apiservers serve (profile=nopeer).
	local bool
}

// aggregatedMedia are kube-apiserver's encodings, its default first.
var aggregatedMedia = []runtime.SerializerInfo{
	{MediaType: mediaJSON, MediaTypeType: "application", MediaTypeSubType: "json"},
	{MediaType: mediaYAML, MediaTypeType: "application", MediaTypeSubType: "yaml"},
	{MediaType: mediaProtobuf, MediaTypeType: "application", MediaTypeSubType: "vnd.kubernetes.protobuf"},
	{MediaType: mediaCBOR, MediaTypeType: "application", MediaTypeSubType: "cbor"},
}

// negotiate tells which aggregated document kube-apiserver would choose for an
// Accept header, with its own code. Upstream may know fewer encodings: what it
// did answer, where it answered, is the last word.
func negotiate(r *http.Request) (aggregatedKey, bool) {
	options, ok := negotiation.NegotiateMediaTypeOptions(r.Header.Get("Accept"), aggregatedMedia, aggregatedOnly{})
	if !ok || options.Convert == nil {
		return aggregatedKey{}, false
	}
	return aggregatedKey{
		media:   options.Accepted.MediaType,
		version: options.Convert.Version,
		local:   options.Profile == "nopeer",
	}, true
}

// aggregatedOnly is kube-apiserver's rule for /apis, of all its versions.
type aggregatedOnly struct{}

func (aggregatedOnly) AllowsMediaTypeTransform(_, _ string, target *schema.GroupVersionKind) bool {
	return target == nil || (target.Group == apidiscoveryv2.GroupName && target.Kind == aggregatedList.kind &&
		(target.Version == "v2" || target.Version == "v2beta1"))
}
func (aggregatedOnly) AllowsServerVersion(string) bool { return false }
func (aggregatedOnly) AllowsStreamSchema(string) bool  { return false }

// prettiness is what makes kube-apiserver indent JSON: a parameter, or a client
// that people look at.
func prettiness(r *http.Request) string {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if pretty := r.URL.Query().Get("pretty"); pretty != "" {
			return "pretty=" + pretty
		}
	}
	for _, people := range []string{"curl", "Wget", "Mozilla/5.0"} {
		if strings.HasPrefix(r.UserAgent(), people) {
			return people
		}
	}
	return ""
}

// acceptsGzip tells whether a client can read gzip.
func acceptsGzip(h http.Header) bool {
	for _, line := range h["Accept-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(coding, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			weight, ok := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
			if !ok {
				return true
			}
			q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
			return err == nil && q > 0
		}
	}
	return false
}

package discovery

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// media are the encodings of lists of groups.
var media = []string{mediaJSON, mediaYAML, mediaProtobuf, mediaCBOR}

// coding decodes and encodes lists as Kubernetes' own code does.
type coding struct {
	serializer.CodecFactory
}

func newCoding(tb testing.TB) coding {
	tb.Helper()
	scheme := runtime.NewScheme()
	if err := apidiscoveryv2.AddToScheme(scheme); err != nil {
		tb.Fatal(err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.APIGroupList{})
	return coding{serializer.NewCodecFactory(scheme, serializer.WithSerializer(cbor.NewSerializerInfo))}
}

func (c coding) serializer(tb testing.TB, media string) runtime.Serializer {
	info, ok := runtime.SerializerInfoForMediaType(c.SupportedMediaTypes(), media)
	if !ok {
		tb.Fatalf("no serializer for %s", media)
	}
	return info.Serializer
}

// transcode writes a document in JSON in another encoding.
func (c coding) transcode(tb testing.TB, doc, media string) []byte {
	tb.Helper()
	object, _, err := c.serializer(tb, mediaJSON).Decode([]byte(doc), &schema.GroupVersionKind{Version: "v1"}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.serializer(tb, media).Encode(object, &out); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// Documents in which the own group is to be replaced.
const (
	replacedLegacy     = `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"a"},{"name":"gateway.asi.io"},{"name":"b","versions":[{"groupVersion":"b/v1","version":"v1"}]}]}`
	replacedAggregated = `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[{"metadata":{"name":"gateway.asi.io"},"versions":[{"version":"v1","freshness":"Stale"}]},{"metadata":{"name":"b"},"versions":[{"version":"v1"}]}]}`
)

// FuzzMergeLists merges any bytes in each encoding. What Kubernetes' own code can
// read before, it reads afterwards: the same groups in the same order, and ours.
func FuzzMergeLists(f *testing.F) {
	c := newCoding(f)
	p := fuzzPart(f, pathAPIs)
	for i, m := range media {
		for _, doc := range []string{theirLegacy, replacedLegacy} {
			f.Add(uint8(i), false, c.transcode(f, doc, m))
		}
		for _, doc := range []string{theirAggregated, replacedAggregated, ownAggregated} {
			f.Add(uint8(i), true, c.transcode(f, doc, m))
		}
	}
	f.Add(uint8(0), false, []byte(`{ "kind" : "APIGroupList" , "groups" : [ { "n\u0061me" : "gateway.asi.io" } ] }`))
	f.Fuzz(func(t *testing.T, which uint8, aggregated bool, doc []byte) {
		m := media[int(which)%len(media)]
		if aggregated {
			fuzzAggregated(t, c.serializer(t, m), m, doc, p)
			return
		}
		format, _ := legacyFormat(m)
		all, err := format.merge(doc, p)
		var before, after metav1.APIGroupList
		if err != nil || !decodes(c.serializer(t, m), doc, &before) {
			return
		}
		if !decodes(c.serializer(t, m), all, &after) {
			t.Fatalf("%q became %q", doc, all)
		}
		compare(t, before.Groups, after.Groups, func(g metav1.APIGroup) string { return g.Name })
	})
}

func fuzzAggregated(t *testing.T, s runtime.Serializer, m string, doc []byte, p *part) {
	format, _ := aggregatedFormat(m, "v2")
	all, err := format.merge(doc, p)
	var before, after apidiscoveryv2.APIGroupDiscoveryList
	if err != nil || !decodes(s, doc, &before) {
		return
	}
	if !decodes(s, all, &after) {
		t.Fatalf("%q became %q", doc, all)
	}
	name := func(g apidiscoveryv2.APIGroupDiscovery) string { return g.Name }
	compare(t, before.Items, after.Items, name)

	marked, err := format.markStale(all)
	if err != nil {
		return
	}
	var old apidiscoveryv2.APIGroupDiscoveryList
	if !decodes(s, marked, &old) || len(old.Items) != len(after.Items) {
		t.Fatalf("%q, marked stale, became %q", all, marked)
	}
	for i, group := range old.Items {
		if name(group) != name(after.Items[i]) || len(group.Versions) != len(after.Items[i].Versions) {
			t.Fatalf("group %+v became %+v", after.Items[i], group)
		}
		for _, version := range group.Versions {
			if name(group) != groupName && version.Freshness != apidiscoveryv2.DiscoveryFreshnessStale {
				t.Fatalf("%s/%s is %q", name(group), version.Version, version.Freshness)
			}
		}
	}
}

func decodes(s runtime.Serializer, doc []byte, into runtime.Object) bool {
	_, _, err := s.Decode(doc, nil, into)
	return err == nil
}

// compare wants all groups of before in after, and the own one once.
func compare[G any](t *testing.T, before, after []G, name func(G) string) {
	t.Helper()
	var theirs, kept []G
	ours := 0
	for _, g := range before {
		if name(g) != groupName {
			theirs = append(theirs, g)
		}
	}
	for _, g := range after {
		if name(g) == groupName {
			ours++
			continue
		}
		kept = append(kept, g)
	}
	if ours != 1 || !reflect.DeepEqual(theirs, kept) {
		t.Fatalf("%+v became %+v", before, after)
	}
}

// FuzzMergeJSON merges any bytes as OpenAPI in JSON: nothing that was there is
// lost, but for what is replaced by ours.
func FuzzMergeJSON(f *testing.F) {
	v2, v3 := fuzzPart(f, pathOpenAPIv2), fuzzPart(f, pathOpenAPIv3)
	for _, doc := range []string{theirSwagger, ownSwagger, theirPaths, ownPaths, `{"definitions":{},"paths":{"a":"}\\\"{"},"swagger":"2.0"}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if all, err := mergeJSONSwagger(doc, v2); err == nil {
			holds(t, doc, all, v2)
		}
		if all, err := mergeJSONPaths(doc, v3); err == nil {
			holds(t, doc, all, v3)
		}
	})
}

func holds(t *testing.T, doc, all []byte, p *part) {
	t.Helper()
	if !json.Valid(all) {
		t.Fatalf("%q became %q", doc, all)
	}
	var before, after struct {
		Paths       map[string]any `json:"paths"`
		Definitions map[string]any `json:"definitions"`
	}
	if utiljson.Unmarshal(doc, &before) != nil {
		return
	}
	if err := utiljson.Unmarshal(all, &after); err != nil {
		t.Fatalf("%q became %q: %v", doc, all, err)
	}
	for name, value := range before.Paths {
		if _, ours := p.json.paths[name]; !ours && !reflect.DeepEqual(after.Paths[name], value) {
			t.Fatalf("path %q became %v", name, after.Paths[name])
		}
	}
	for name, value := range before.Definitions {
		if _, ours := p.json.definitions[name]; !ours && !reflect.DeepEqual(after.Definitions[name], value) {
			t.Fatalf("definition %q became %v", name, after.Definitions[name])
		}
	}
	for name := range p.json.paths {
		if after.Paths[name] == nil {
			t.Fatalf("%q has no path %q", all, name)
		}
	}
}

// FuzzMergeProtoSwagger does the same for protobuf.
func FuzzMergeProtoSwagger(f *testing.F) {
	p := fuzzPart(f, pathOpenAPIv2)
	for _, doc := range []string{theirSwagger, ownSwagger} {
		f.Add(swaggerProto(f, doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		all, err := mergeProtoSwagger(doc, p)
		var before, after openapi_v2.Document
		if err != nil || proto.Unmarshal(doc, &before) != nil {
			return
		}
		if err := proto.Unmarshal(all, &after); err != nil {
			t.Fatalf("%q became %q: %v", doc, all, err)
		}
		have := map[string]int{}
		for _, path := range after.GetPaths().GetPath() {
			have["path "+path.Name]++
		}
		for _, definition := range after.GetDefinitions().GetAdditionalProperties() {
			have["definition "+definition.Name]++
		}
		for _, path := range before.GetPaths().GetPath() {
			if have["path "+path.Name]--; have["path "+path.Name] < 0 {
				t.Fatalf("path %q is lost", path.Name)
			}
		}
		for _, definition := range before.GetDefinitions().GetAdditionalProperties() {
			if have["definition "+definition.Name]--; have["definition "+definition.Name] < 0 {
				t.Fatalf("definition %q is lost", definition.Name)
			}
		}
	})
}

// FuzzTags composes and takes apart.
func FuzzTags(f *testing.F) {
	f.Add(`"ABCDEF"`, `W/"1", "2"`)
	f.Fuzz(func(t *testing.T, upstream, header string) {
		ownTags([]string{header}, "0123456789abcdef")
		composed := compose(upstream, "0123456789abcdef")
		if composed == "" || bytes.ContainsAny([]byte(upstream), ", \t\r\n\v\f\u0085\u00a0") {
			return
		}
		if tags := ownTags([]string{header, composed}, "0123456789abcdef"); len(tags) == 0 || tags[len(tags)-1] != upstream {
			t.Errorf("%q became %q and %q", upstream, composed, tags)
		}
		if tags := ownTags([]string{composed}, "fedcba9876543210"); len(tags) != 0 {
			t.Errorf("%q is taken for one of another part", composed)
		}
	})
}

func fuzzPart(tb testing.TB, path string) *part {
	tb.Helper()
	p, err := newSetup(tb).Merger.own.part(path)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

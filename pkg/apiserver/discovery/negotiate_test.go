package discovery

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

// FuzzAccept reads what clients say they can read. Which document they get stale
// must be one of those that are kept, and gzip is for who has named it.
func FuzzAccept(f *testing.F) {
	for _, seed := range []struct{ accept, encoding, query string }{
		{"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", "gzip", ""},
		{"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList;profile=nopeer;q=0.5", "deflate, GZIP;q=0.5", "pretty=1"},
		{"*/*;q=NaN", "gzip;q=0, gzip", "pretty"},
		{"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "gzip;q=NaN", "a=pretty"},
		{";;,,=", "gzip ; q = 1", "pretty=%zz"},
	} {
		f.Add(seed.accept, seed.encoding, seed.query)
	}
	f.Fuzz(func(t *testing.T, accept, encoding, query string) {
		r := httptest.NewRequest(http.MethodGet, "/apis", nil)
		r.URL.RawQuery = query
		r.Header["Accept"], r.Header["Accept-Encoding"] = []string{accept}, []string{encoding}
		if key, ok := negotiate(r); ok {
			known := slices.ContainsFunc(aggregatedMedia, func(i runtime.SerializerInfo) bool { return i.MediaType == key.media })
			if !known || (key.version != "v2" && key.version != "v2beta1") {
				t.Errorf("%q is answered by %+v", accept, key)
			}
		}
		if acceptsGzip(r.Header) && !strings.Contains(strings.ToLower(encoding), "gzip") {
			t.Errorf("%q is answered with gzip", encoding)
		}
		prettiness(r)
	})
}

func TestGzipIsForThoseWhoAcceptIt(t *testing.T) {
	for encoding, want := range map[string]bool{
		"": false, "gzip": true, "deflate, GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.000": false, "gzip;q=NaN": false,
		"gzip;q=-1": false, "gzip;q=x": false, "x-gzip": false, "identity": false, "br,gzip ": true,
	} {
		if got := acceptsGzip(http.Header{"Accept-Encoding": {encoding}}); got != want {
			t.Errorf("%q: %t", encoding, got)
		}
	}
}

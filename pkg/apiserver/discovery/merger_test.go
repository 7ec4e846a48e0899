package discovery

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
	clocktesting "k8s.io/utils/clock/testing"
)

const (
	aggregatedJSON = mediaJSON + ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	etagA, etagB   = `"AAAA"`, `"BBBB"`

	ownAggregated = `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[{"metadata":{"name":"gateway.asi.io"},"versions":[{"version":"v1alpha1","resources":[{"resource":"ratelimits","scope":"Cluster","singularResource":"ratelimit","verbs":["list"]}],"freshness":"Current"}]}]}`
	ownLegacy     = `{"kind":"APIGroupList","groups":[{"name":"gateway.asi.io","versions":[{"groupVersion":"gateway.asi.io/v1alpha1","version":"v1alpha1"}],"preferredVersion":{"groupVersion":"gateway.asi.io/v1alpha1","version":"v1alpha1"}}]}`
	ownSwagger    = `{"swagger":"2.0","info":{"title":"ours","version":"1"},"paths":{"/version/":{},"/apis/gateway.asi.io/v1alpha1/":{"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/io.asi.Limit"}}}}}},"definitions":{"io.asi.Limit":{"type":"object"},"io.k8s.Meta":{"type":"object","description":"ours"}}}`
	ownPaths      = `{"paths":{"version":{"serverRelativeURL":"/openapi/v3/version?hash=1"},"apis/gateway.asi.io/v1alpha1":{"serverRelativeURL":"/openapi/v3/apis/gateway.asi.io/v1alpha1?hash=2"}}}`

	theirAggregated = `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[{"metadata":{"name":"apps"},"versions":[{"version":"v1","resources":[],"freshness":"Current","future":9007199254740993}]}]}`
	theirLegacy     = `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}`
	theirSwagger    = `{"swagger":"2.0","info":{"title":"theirs","version":"1"},"paths":{"/version/":{}},"definitions":{"io.k8s.Meta":{"type":"object","description":"theirs"}}}`
	theirPaths      = `{"paths":{"version":{"serverRelativeURL":"/openapi/v3/version?hash=9"}}}`
)

// swaggerProto encodes as kube-apiserver does.
func swaggerProto(t testing.TB, doc string) []byte {
	t.Helper()
	parsed, err := openapi_v2.ParseDocument([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fakeOwn is our own API server in static answers.
type fakeOwn struct {
	t     testing.TB
	down  atomic.Bool
	asked atomic.Int32
}

func (o *fakeOwn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked.Add(1)
	if o.down.Load() {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	var body []byte
	switch accept := r.Header.Get("Accept"); {
	case r.URL.Path == pathAPIs && accept == mediaJSON:
		body = []byte(ownLegacy)
	case r.URL.Path == pathAPIs:
		body = []byte(ownAggregated)
	case r.URL.Path == pathOpenAPIv3:
		body = []byte(ownPaths)
	case accept == mediaJSON:
		body = []byte(ownSwagger)
	default:
		body = swaggerProto(o.t, ownSwagger)
	}
	_, _ = w.Write(body)
}

type setup struct {
	*Merger
	own      *fakeOwn
	clock    *clocktesting.FakePassiveClock
	logs     *observer.ObservedLogs
	registry *prometheus.Registry
}

func newSetup(t testing.TB) *setup {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	s := &setup{
		own:      &fakeOwn{t: t},
		clock:    clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)),
		logs:     logs,
		registry: prometheus.NewRegistry(),
	}
	var err error
	s.Merger, err = New(Options{
		Own: s.own, Authorize: func(*http.Request) bool { return true },
		Log: zap.New(core), Registry: s.registry, Clock: s.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *setup) outcomes(path string, o outcome) int {
	return int(testutil.ToFloat64(s.answers.WithLabelValues(path, string(o))))
}

// get serves one request and reads the answer.
func (s *setup) get(t testing.TB, path, accept string, upstream Upstream) (*http.Response, []byte) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", accept)
	response, err := s.Serve(r, upstream)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// serving is an apiserver with one document, which knows ETags.
func serving(contentType, etag, body string) Upstream {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {contentType}}
		if etag != "" {
			h.Set("Etag", etag)
			if r.Header.Get("If-None-Match") == etag {
				return &http.Response{StatusCode: http.StatusNotModified, Header: http.Header{"Etag": {etag}}, Body: http.NoBody}, nil
			}
		}
		return &http.Response{StatusCode: http.StatusOK, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1}, nil
	}
}

func TestMergingKeepsWhatIsNotKnown(t *testing.T) {
	s := newSetup(t)
	_, body := s.get(t, "/apis", aggregatedJSON, serving(aggregatedJSON, etagA, theirAggregated))
	if !bytes.HasPrefix(body, []byte(strings.TrimSuffix(theirAggregated, "]}"))) || !json.Valid(body) {
		t.Errorf("%s", body)
	}
}

func TestDefinitionsOfKubernetesAreUpstreams(t *testing.T) {
	s := newSetup(t)
	_, body := s.get(t, "/openapi/v2", mediaJSON, serving(mediaJSON, etagA, theirSwagger))
	var doc struct {
		Paths       map[string]any
		Definitions map[string]struct{ Description string }
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if len(doc.Paths) != 2 || len(doc.Definitions) != 2 || doc.Definitions["io.k8s.Meta"].Description != "theirs" {
		t.Errorf("%s", body)
	}
	media := "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	_, packed := s.get(t, "/openapi/v2", media, serving(media, etagA, string(swaggerProto(t, theirSwagger))))
	if want := swaggerProto(t, string(body)); !sameSwagger(t, packed, want) {
		t.Errorf("protobuf differs from JSON: %q, not %q", packed, want)
	}
}

func sameSwagger(t *testing.T, a, b []byte) bool {
	t.Helper()
	var left, right openapi_v2.Document
	if err := errors.Join(proto.Unmarshal(a, &left), proto.Unmarshal(b, &right)); err != nil {
		t.Fatal(err)
	}
	return proto.Equal(&left, &right)
}

// A merged document has parts of two sides, and what is merged twice is merged as
// if it had been so once.
func TestMergingAgainChangesNothing(t *testing.T) {
	s := newSetup(t)
	for _, c := range []struct{ path, contentType, doc string }{
		{"/apis", aggregatedJSON, theirAggregated},
		{"/apis", mediaJSON, theirLegacy},
		{"/openapi/v2", mediaJSON, theirSwagger},
		{"/openapi/v3", "text/plain; charset=utf-8", theirPaths},
	} {
		_, once := s.get(t, c.path, c.contentType, serving(c.contentType, "", c.doc))
		_, twice := s.get(t, c.path, c.contentType, serving(c.contentType, "", string(once)))
		if !bytes.Contains(once, []byte(groupName)) || !bytes.Equal(once, twice) {
			t.Errorf("%s: %s became %s", c.path, once, twice)
		}
	}
}

func TestEmptyDocumentsAreMerged(t *testing.T) {
	s := newSetup(t)
	for _, c := range []struct{ path, contentType, doc, want string }{
		{"/apis", mediaJSON, `{"kind":"APIGroupList","groups":null}`, `{"kind":"APIGroupList","groups":[{"name":`},
		{"/apis", mediaJSON, `{"kind":"APIGroupList","groups":[ ]}`, `{"kind":"APIGroupList","groups":[ {"name":`},
		{"/openapi/v3", mediaJSON, `{"paths":{}}`, `{"paths":{"apis/gateway`},
	} {
		_, body := s.get(t, c.path, c.contentType, serving(c.contentType, "", c.doc))
		if !json.Valid(body) || !strings.HasPrefix(string(body), c.want) {
			t.Errorf("%s became %s", c.doc, body)
		}
	}
}

// What cannot be merged with certainty goes to the client as it came, and is
// logged.
func TestWhatCannotBeMergedIsPassedOnUntouched(t *testing.T) {
	for name, c := range map[string]struct{ path, contentType, doc string }{
		"an unknown format":        {"/apis", "application/toml", "a = 1"},
		"no content type":          {"/apis", "", theirLegacy},
		"another kind":             {"/apis", mediaJSON, `{"kind":"Status"}`},
		"not JSON":                 {"/apis", mediaJSON, `{"kind":"APIGroupList","groups":[}`},
		"two lists":                {"/apis", mediaJSON, `{"kind":"APIGroupList","groups":[],"groups":[]}`},
		"the own group twice":      {"/apis", mediaJSON, `{"kind":"APIGroupList","groups":[{"name":"gateway.asi.io"},{"name":"gateway.asi.io"}]}`},
		"OpenAPI 3":                {"/openapi/v2", mediaJSON, `{"openapi":"3.0","paths":{},"definitions":{}}`},
		"paths that are no object": {"/openapi/v3", mediaJSON, `{"paths":[]}`},
		"JSON as protobuf":         {"/apis", mediaProtobuf, theirLegacy},
		"JSON as CBOR":             {"/apis", mediaCBOR, theirLegacy},
		"YAML with an error":       {"/apis", mediaYAML, "kind: APIGroupList\n\tgroups: []"},
		"an empty body":            {"/openapi/v2", mediaJSON, ""},
	} {
		s := newSetup(t)
		response, body := s.get(t, c.path, "*/*", serving(c.contentType, etagA, c.doc))
		if string(body) != c.doc || response.StatusCode != http.StatusOK || s.logs.Len() != 1 || s.outcomes(c.path, unmerged) != 1 {
			t.Errorf("%s: status %d, %q, %d lines of log", name, response.StatusCode, body, s.logs.Len())
		}
	}
}

// repeated is a body without end.
type repeated struct{}

func (repeated) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

func TestHugeDocumentsArePassedOnWhole(t *testing.T) {
	s := newSetup(t)
	const size = maxDocument + 12345
	for _, length := range []int64{size, -1} {
		r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
		response, err := s.Serve(r, func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {mediaJSON}, "Etag": {etagA}},
				Body: io.NopCloser(io.LimitReader(repeated{}, size)), ContentLength: length,
			}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, response.Body); err != nil || n != size {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if s.logs.Len() != 2 {
		t.Errorf("%d lines of log", s.logs.Len())
	}
}

func TestCompressedUpstreamDocumentsAreMerged(t *testing.T) {
	s := newSetup(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(theirLegacy))
	_ = w.Close()
	response, body := s.get(t, "/apis", mediaJSON, func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {mediaJSON}, "Content-Encoding": {"gzip"}},
			Body: io.NopCloser(&packed), ContentLength: int64(packed.Len()),
		}, nil
	})
	if !bytes.Contains(body, []byte(groupName)) || response.Header.Get("Content-Encoding") != "" {
		t.Errorf("%v %s", response.Header, body)
	}
}

// An apiserver's refusals reach the client as they are.
func TestRefusalsArePassedOn(t *testing.T) {
	s := newSetup(t)
	s.get(t, "/apis", aggregatedJSON, serving(aggregatedJSON, etagA, theirAggregated))
	for _, status := range []int{401, 403, 406, 429, 500, 503} {
		want := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"1"}}, Body: http.NoBody}
		r := httptest.NewRequest(http.MethodGet, "/apis", nil)
		r.Header.Set("Accept", aggregatedJSON)
		if got, err := s.Serve(r, func(*http.Request) (*http.Response, error) { return want, nil }); got != want || err != nil {
			t.Errorf("status %d became %+v, %v", status, got, err)
		}
	}
	if n := s.outcomes("/apis", passed); n != 6 {
		t.Errorf("%d answers counted", n)
	}
}

// Every answer takes a question to an apiserver, even where the gateway has it
// all.
func TestUpstreamIsAlwaysAsked(t *testing.T) {
	s := newSetup(t)
	asked := 0
	upstream := func(r *http.Request) (*http.Response, error) {
		asked++
		if asked > 1 && r.Header.Get("If-None-Match") != etagA {
			t.Errorf("question %d has If-None-Match %q", asked, r.Header.Get("If-None-Match"))
		}
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("asked for %q", got)
		}
		return serving(mediaJSON, etagA, theirSwagger)(r)
	}
	for range 5 {
		s.get(t, "/openapi/v2?timeout=32s", mediaJSON, upstream)
	}
	if asked != 5 || s.outcomes("/openapi/v2", merged) != 1 || s.outcomes("/openapi/v2", reused) != 4 {
		t.Errorf("asked %d times, merged %d times, reused %d times", asked, s.outcomes("/openapi/v2", merged), s.outcomes("/openapi/v2", reused))
	}
	// Other words for the same: one document in memory.
	for i := range 5 {
		s.get(t, "/openapi/v2", fmt.Sprintf("application/json;q=0.%d", i+1), serving(mediaJSON, etagA, theirSwagger))
	}
	if n := s.store.documents.Len(); n != 1 {
		t.Errorf("%d documents", n)
	}
	_, body := s.get(t, "/openapi/v2", mediaJSON, serving(mediaJSON, etagB, strings.Replace(theirSwagger, "theirs", "new", 1)))
	if !bytes.Contains(body, []byte(`"title":"new"`)) {
		t.Errorf("a new document is not seen: %s", body)
	}
}

// A crowd that finds a document changed reads and merges it once.
func TestACrowdMergesOnce(t *testing.T) {
	s := newSetup(t)
	const crowd = 200
	var read atomic.Int32
	arrived := make(chan struct{}, crowd)
	release := make(chan struct{})
	upstream := func(*http.Request) (*http.Response, error) {
		arrived <- struct{}{}
		<-release
		body := strings.NewReader(theirSwagger)
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {mediaJSON}, "Etag": {etagA}}, ContentLength: -1,
			Body: io.NopCloser(readerFunc(func(b []byte) (int, error) {
				if body.Len() == len(theirSwagger) {
					read.Add(1)
				}
				return body.Read(b)
			})),
		}, nil
	}
	var done sync.WaitGroup
	for range crowd {
		done.Go(func() {
			_, body := s.get(t, "/openapi/v2", mediaJSON, upstream)
			if !bytes.Contains(body, []byte("io.asi.Limit")) {
				t.Errorf("%s", body)
			}
		})
	}
	for range crowd {
		<-arrived
	}
	close(release)
	done.Wait()
	// Those who read at the same time may all be the first.
	if n := read.Load(); n > maxReads {
		t.Errorf("%d bodies were read", n)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// While our own API server is not up, the group is there and stale; no question
// to an apiserver waits for it.
func TestTheOwnGroupIsStaleBeforeItIsUp(t *testing.T) {
	s := newSetup(t)
	s.own.down.Store(true)
	response, body := s.get(t, "/apis", aggregatedJSON, serving(aggregatedJSON, etagA, theirAggregated))
	if !bytes.Contains(body, []byte(`{"metadata":{"name":"gateway.asi.io"},"versions":[{"version":"v1alpha1","freshness":"Stale"}]}`)) {
		t.Errorf("%s", body)
	}
	if _, body := s.get(t, "/apis", mediaJSON, serving(mediaJSON, "", theirLegacy)); !bytes.Contains(body, []byte(`"groupVersion":"gateway.asi.io/v1alpha1"`)) {
		t.Errorf("%s", body)
	}
	if _, body := s.get(t, "/openapi/v2", mediaJSON, serving(mediaJSON, etagA, theirSwagger)); string(body) != theirSwagger {
		t.Errorf("%s", body)
	}
	if n := s.own.asked.Load(); n != 2 {
		t.Errorf("asked %d times within a second", n)
	}

	s.own.down.Store(false)
	s.clock.SetTime(s.clock.Now().Add(ownRetry))
	r := httptest.NewRequest(http.MethodGet, "/apis", nil)
	r.Header.Set("Accept", aggregatedJSON)
	r.Header.Set("If-None-Match", response.Header.Get("Etag"))
	now, err := s.Serve(r, serving(aggregatedJSON, etagA, theirAggregated))
	if err != nil || now.StatusCode != http.StatusOK || now.Header.Get("Etag") == response.Header.Get("Etag") {
		t.Errorf("once it is up: %+v, %v", now, err)
	}
}

func TestAnOutageEndsWithTheUpstreamsError(t *testing.T) {
	s := newSetup(t)
	cause := errors.New("nobody there")
	down := func(*http.Request) (*http.Response, error) { return nil, cause }
	r := httptest.NewRequest(http.MethodGet, "/apis", nil)
	r.Header.Set("Accept", aggregatedJSON)
	if _, err := s.Serve(r, down); !errors.Is(err, cause) {
		t.Errorf("without a good copy: %v", err)
	}
	s.get(t, "/apis", aggregatedJSON, serving(aggregatedJSON, etagA, theirAggregated))
	response, err := s.Serve(r, down)
	if err != nil || s.outcomes("/apis", servedStale) != 1 {
		t.Fatalf("with a good copy: %v", err)
	}
	body, _ := io.ReadAll(response.Body)
	// What is not known stays, digit for digit.
	if !bytes.Contains(body, []byte(`"future":9007199254740993`)) || !bytes.Contains(body, []byte(`"freshness":"Stale"`)) {
		t.Errorf("%s", body)
	}
	// An answer that breaks off is none.
	broken := func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {aggregatedJSON}, "Etag": {etagB}}, ContentLength: -1,
			Body: io.NopCloser(io.MultiReader(strings.NewReader(theirAggregated[:50]), readerFunc(func([]byte) (int, error) { return 0, cause }))),
		}, nil
	}
	if response, err := s.Serve(r, broken); err != nil || response.Header.Get("Etag") != "" || s.outcomes("/apis", servedStale) != 2 {
		t.Errorf("an answer that breaks off: %+v, %v", response, err)
	}
	// A client that is gone gets nothing.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Serve(r.WithContext(ctx), down); !errors.Is(err, cause) {
		t.Errorf("a client that is gone: %v", err)
	}
}

func TestWants(t *testing.T) {
	s := newSetup(t)
	for target, want := range map[string]bool{
		"GET /apis": true, "GET /apis/": true, "HEAD /apis": true, "GET /apis?timeout=32s": true, "GET /openapi/v2": true, "GET /openapi/v3": true,
		"GET /api": false, "GET /apis/apps": false, "POST /apis": false, "GET /apis//": false, "GET /openapi/v2/": false, "GET /openapi/v3/apis/apps/v1": false, "OPTIONS /apis": false,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := s.Wants(httptest.NewRequest(method, path, nil)); got != want {
			t.Errorf("%s: %t", target, got)
		}
	}
}

func TestTheStoreIsBounded(t *testing.T) {
	s, err := newStore(1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		key := digestOf(nil, fmt.Sprint(i))
		s.add(key, newDocument(format{}, "", make([]byte, 100)))
		s.add(key, newDocument(format{}, "", make([]byte, 100)))
		s.remember(key, etagA, key)
	}
	if s.bytes != 1000 || s.documents.Len() != 8 || s.variants.Len() != storeVariants {
		t.Errorf("%d bytes, %d documents, %d variants", s.bytes, s.documents.Len(), s.variants.Len())
	}
	s.add(digestOf(nil, "large"), newDocument(format{}, "", make([]byte, 1000)))
	if s.documents.Len() != 8 {
		t.Error("a document larger than everything drove all others out")
	}
}

// Upstream says that nothing has changed; the answer is in memory already.
func BenchmarkMergedOpenAPIv2Hit(b *testing.B) {
	s := newSetup(b)
	upstream := serving(mediaJSON, etagA, largeSwagger())
	s.get(b, "/openapi/v2", mediaJSON, upstream)
	r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
	r.Header.Set("Accept", mediaJSON)
	b.ReportAllocs()
	for b.Loop() {
		response, err := s.Serve(r, upstream)
		if err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(err)
		}
	}
	if n := s.outcomes("/openapi/v2", merged); n != 1 {
		b.Fatalf("merged %d times", n)
	}
}

func BenchmarkMergeOpenAPIv2(b *testing.B) {
	s := newSetup(b)
	p, err := s.Merger.own.part(pathOpenAPIv2)
	if err != nil {
		b.Fatal(err)
	}
	doc := []byte(largeSwagger())
	packed := swaggerProto(b, string(doc))
	for name, merge := range map[string]func() ([]byte, error){
		"json":     func() ([]byte, error) { return mergeJSONSwagger(doc, p) },
		"protobuf": func() ([]byte, error) { return mergeProtoSwagger(packed, p) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := merge(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// largeSwagger has the size of kube-apiserver's.
func largeSwagger() string {
	var doc strings.Builder
	doc.WriteString(`{"swagger":"2.0","info":{"title":"theirs","version":"1"},"paths":{`)
	for i := range 1000 {
		fmt.Fprintf(&doc, `"/apis/example.com/v1/namespaces/{namespace}/things%d":{"get":{"description":"%s","responses":{"200":{"description":"OK"}}}},`, i, strings.Repeat("list or watch \\\"things\\\" ", 80))
	}
	doc.WriteString(`"/version/":{}},"definitions":{`)
	for i := range 1000 {
		fmt.Fprintf(&doc, `"com.example.Thing%d":{"description":"%s","type":"object"},`, i, strings.Repeat("a thing, ", 80))
	}
	doc.WriteString(`"io.k8s.Meta":{"type":"object"}}}`)
	return doc.String()
}

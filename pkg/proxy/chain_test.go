package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

// atOnce is an apiserver that has answered.
type atOnce struct {
	header http.Header
	body   []byte
	by     *routing.Endpoint
}

func (u atOnce) RoundTrip(r *http.Request, _ routing.Call) (*http.Response, *routing.Endpoint, error) {
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 2, Header: u.header, ContentLength: int64(len(u.body)),
		Body: io.NopCloser(bytes.NewReader(u.body)), Request: r,
	}, u.by, nil
}

func (atOnce) Way(*request.Attributes, http.Header) routing.Way { return routing.Way{} }

// client takes an answer.
type client struct{ header http.Header }

func (c *client) Header() http.Header         { return c.header }
func (c *client) Write(b []byte) (int, error) { return len(b), nil }
func (c *client) WriteHeader(int)             {}

// smallGET has the stages serve a small GET, without net/http and upstream: with an
// access log of all requests, and three limits that match.
func smallGET(t testing.TB) func() {
	upstream := atOnce{body: make([]byte, 1400), header: http.Header{}}
	for _, name := range []string{"Audit-Id", "Cache-Control", "Content-Type", "Date", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"} {
		upstream.header.Set(name, "c7f1e2a4-5f0b-4d53-9c39-7a3a7f0f0d5e")
	}
	upstream.by = &routing.Endpoint{Group: "main", URL: &url.URL{Host: "192.0.2.1:6443"}}
	options := optionsBefore(t, upstream)
	options.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel))
	options.AccessLogEvery = 1
	options.Limits = newLimiter(t, limitOf("all", "1G", 1<<30, v1alpha1.Match{}),
		limitOf("reads", "1G", 1<<30, v1alpha1.Match{Requests: []v1alpha1.RequestMatch{{Verbs: []string{"get"}}}}),
		limitOf("operators", "1G", 1<<30, v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"operator*"}}}))
	handler := New(options).chain()
	w := &client{header: http.Header{}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/namespaces/default/configmaps/bench", http.NoBody)
	r.ProtoMajor, r.Proto = 2, "HTTP/2.0"
	return func() {
		clear(w.header)
		clear(r.Header)
		r.Header["User-Agent"] = []string{"operator/v1.2.3"}
		r.Header["Accept"] = []string{"application/json"}
		handler.ServeHTTP(w, r)
	}
}

// chainAllocations is how often the stages may allocate memory for a small GET, the five
// times of the test's own included; the race detector adds some.
const chainAllocations = 24

func TestChainAllocates(t *testing.T) {
	if got := testing.AllocsPerRun(1000, smallGET(t)); got > chainAllocations {
		t.Errorf("%.0f allocations, more than %d", got, chainAllocations)
	}
}

func BenchmarkChain(b *testing.B) {
	serve := smallGET(b)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}

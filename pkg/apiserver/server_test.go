package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// now is where the clock of tests stands.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fixture is a running server, and clients of it.
type fixture struct {
	*Server
	clock *clocktesting.FakePassiveClock
	logs  *observer.ObservedLogs
	rules *rules
	front *httptest.Server
	// stop ends Run and returns its error; the test's end calls it, too.
	stop func() error
}

// rules is an authorizer made of functions that a test can exchange.
type rules struct {
	mu    sync.Mutex
	allow func(authorizer.Attributes) (bool, error)
	asked []authorizer.Attributes
}

func (r *rules) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, a)
	switch ok, err := r.allow(a); {
	case err != nil:
		return authorizer.DecisionNoOpinion, "", err
	case ok:
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "no rule of the test allows it", nil
}

func (r *rules) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(r.Authorize(ctx, a))
}

func (r *rules) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

func (r *rules) set(allow func(authorizer.Attributes) (bool, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allow = allow
}

// newFixture runs a server; edit may change what it is made of.
func newFixture(t *testing.T, edit func(*Config)) *fixture {
	t.Helper()
	f := prepare(t, edit)
	f.run(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.WaitReady(ctx); err != nil {
		t.Fatalf("not ready: %v", err)
	}
	return f
}

func prepare(t *testing.T, edit func(*Config)) *fixture {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	f := &fixture{
		clock: clocktesting.NewFakePassiveClock(now),
		logs:  logs,
		rules: &rules{allow: func(authorizer.Attributes) (bool, error) { return false, nil }},
	}
	config := Config{DataDir: privateTempDir(t), Authorizer: f.rules, Log: zap.New(core), Clock: f.clock}
	if edit != nil {
		edit(&config)
	}
	var err error
	if f.Server, err = New(config); err != nil {
		t.Fatal(err)
	}
	f.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get("Test-User"); name != "" {
			info := &user.DefaultInfo{Name: name, Groups: append(r.Header["Test-Group"], user.AllAuthenticated)}
			r = r.WithContext(apirequest.WithUser(r.Context(), info))
		}
		// Like the gateway's own chain, which wraps writers.
		f.Handler().ServeHTTP(struct{ plainWriter }{plainWriter{w}}, r)
	}))
	t.Cleanup(f.front.Close)
	return f
}

// plainWriter has no Flush, but can be unwrapped.
type plainWriter struct{ w http.ResponseWriter }

func (p plainWriter) Header() http.Header         { return p.w.Header() }
func (p plainWriter) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p plainWriter) WriteHeader(code int)        { p.w.WriteHeader(code) }
func (p plainWriter) Unwrap() http.ResponseWriter { return p.w }

func (f *fixture) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	f.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		for _, e := range f.logs.FilterMessageSnippet("panic").All() {
			t.Error(e.Message, e.ContextMap())
		}
	})
}

// privateTempDir is t.TempDir, which is open to everybody.
func privateTempDir(t *testing.T) string {
	t.Helper()
	return t.TempDir() + "/data"
}

// as returns a client configuration through the handler.
func (f *fixture) as(name string, groups ...string) *rest.Config {
	return &rest.Config{Host: f.front.URL, QPS: -1, WrapTransport: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Test-User", name)
			r.Header["Test-Group"] = groups
			return next.RoundTrip(r)
		})
	}}
}

func (f *fixture) admin() *rest.Config { return f.as("admin", user.SystemPrivilegedGroup) }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// objects returns a client for objects of a resource.
func objects(t *testing.T, config *rest.Config, resource string) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(v1alpha1.SchemeGroupVersion.WithResource(resource))
}

// answer is what a request got.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

func (a answer) status(t *testing.T) metav1.Status {
	t.Helper()
	var s metav1.Status
	if err := json.Unmarshal(a.body, &s); err != nil || s.Kind != "Status" {
		t.Fatalf("code %d, not a Status: %s", a.code, a.body)
	}
	return s
}

func (a answer) into(t *testing.T, o any) {
	t.Helper()
	if a.code/100 != 2 {
		t.Fatalf("code %d: %s", a.code, a.body)
	}
	if err := json.Unmarshal(a.body, o); err != nil {
		t.Fatal(err)
	}
}

// do sends a request as it is. headers are pairs.
func do(t *testing.T, config *rest.Config, method, path, body string, headers ...string) answer {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, config.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, bytes.TrimSpace(b)}
}

const base = "/apis/gateway.asi.io/v1alpha1/"

// The smallest good objects.
func rateLimitNamed(name string) *unstructured.Unstructured {
	return object("RateLimit", name, map[string]any{"qps": "5"})
}

func clientClassNamed(name string) *unstructured.Unstructured {
	return object("ClientClass", name, map[string]any{"priority": "P3"})
}

func switchNamed(name string) *unstructured.Unstructured {
	return object("Switch", name, map[string]any{"type": "ReadOnly", "reason": "storage is being moved"})
}

func forceNamed(name, group string) *unstructured.Unstructured {
	return object("Switch", name, map[string]any{
		"type": "ForceGroup", "forceGroup": map[string]any{"group": group}, "reason": "main is being upgraded",
	})
}

func upstreamGroupNamed(name string) *unstructured.Unstructured {
	return object("UpstreamGroup", name, map[string]any{"servers": []any{map[string]any{"url": "https://10.0.0.1:6443"}}})
}

func routeNamed(name string) *unstructured.Unstructured {
	return object("Route", name, map[string]any{"groups": []any{"main", "bypass"}})
}

func object(kind, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.asi.io/v1alpha1", "kind": kind,
		"metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

func value(t *testing.T, o *unstructured.Unstructured, path ...string) any {
	t.Helper()
	v, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// timeout ends what a test waits for in vain.
func timeout(t *testing.T) <-chan time.Time {
	t.Helper()
	timer := time.NewTimer(10 * time.Second)
	t.Cleanup(func() { timer.Stop() })
	return timer.C
}

func cachedResourceNamed(name string) *unstructured.Unstructured {
	return object("CachedResource", name, map[string]any{"resource": "pods"})
}

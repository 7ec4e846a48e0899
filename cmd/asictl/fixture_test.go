package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver"
	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// now is where the clock of tests stands, on both sides.
var now = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

const base = "/apis/gateway.asi.io/v1alpha1/"

// gateway is the real policy API behind TLS, with a kubeconfig that has a
// context for each of the users admin, viewer (may read) and nobody.
type gateway struct {
	api      *apiserver.Server
	clock    *clocktesting.FakeClock
	flows    *flows.Recorder
	front    *httptest.Server
	config   string
	counters map[string][]v1alpha1.LimitCounters
	states   map[string][]v1alpha1.GroupState
	caches   map[string][]v1alpha1.CacheState

	// before sees every request first, and answers it if it returns true.
	before atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]

	mu    sync.Mutex
	paths []string
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{clock: clocktesting.NewFakeClock(now), counters: map[string][]v1alpha1.LimitCounters{}, states: map[string][]v1alpha1.GroupState{}}
	g.flows = flows.NewRecorder(g.clock)
	var err error
	g.api, err = apiserver.New(apiserver.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Authorizer: readers{}, Live: g, Insight: g, Log: zap.NewNop(), Clock: g.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.api.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	starting, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	if err := g.api.WaitReady(starting); err != nil {
		t.Fatal(err)
	}
	g.front = httptest.NewUnstartedServer(g)
	g.front.EnableHTTP2 = true
	g.front.Config.ErrorLog = log.New(io.Discard, "", 0)
	g.front.StartTLS()
	t.Cleanup(g.front.Close)
	g.config = writeKubeconfig(t, g.front.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.front.Certificate().Raw}))
	return g
}

func writeKubeconfig(t *testing.T, server string, ca []byte) string {
	t.Helper()
	named := func(name, what string, value any) map[string]any { return map[string]any{"name": name, what: value} }
	config := map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "admin",
		"clusters": []any{named("gateway", "cluster", map[string]any{"server": server, "certificate-authority-data": ca})},
	}
	var contexts, users []any
	for _, name := range []string{"admin", "viewer", "nobody"} {
		contexts = append(contexts, named(name, "context", map[string]any{"cluster": "gateway", "user": name}))
		users = append(users, named(name, "user", map[string]any{"token": name}))
	}
	config["contexts"], config["users"] = contexts, users
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// readers is an authorizer that lets the viewer read.
type readers struct{}

func (readers) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetUser().GetName() == "viewer" && a.IsReadOnly() {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func (r readers) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(r.Authorize(ctx, a))
}

func (readers) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// ServeHTTP is what the gateway's chain does before the policy API.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.paths = append(g.paths, r.URL.Path)
	g.mu.Unlock()
	w.Header().Set("Date", g.clock.Now().UTC().Format(http.TimeFormat))
	if before := g.before.Load(); before != nil && (*before)(w, r) {
		return
	}
	name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	info := &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}
	if name == "admin" {
		info.Groups = append(info.Groups, user.SystemPrivilegedGroup)
	}
	g.api.Handler().ServeHTTP(w, r.WithContext(apirequest.WithUser(r.Context(), info)))
}

// Flows implements apiserver.Insight.
func (g *gateway) Flows(context.Context) []v1alpha1.Flow { return g.flows.List(g.clock.Now()) }

// Simulate implements apiserver.Insight.
func (g *gateway) Simulate(_ context.Context, limits []v1alpha1.SimulatedLimit) v1alpha1.LimitSimulationStatus {
	return g.flows.Simulate(limits, 0)
}

// Explain implements apiserver.Insight: it classifies by the default classes;
// limits are those that there are, each with the tokens of a second, and so are
// routes, of which the first group serves.
func (g *gateway) Explain(_ context.Context, spec *v1alpha1.RequestExplanationSpec) (v1alpha1.RequestExplanationStatus, field.ErrorList) {
	path := field.NewPath("spec", "path")
	target, err := url.ParseRequestURI(spec.Path)
	if err != nil {
		return v1alpha1.RequestExplanationStatus{}, field.ErrorList{field.Invalid(path, spec.Path, err.Error())}
	}
	a, err := request.NewParser().Parse(&http.Request{Method: spec.Method, URL: target, Header: http.Header{"User-Agent": {spec.UserAgent}}})
	if err != nil {
		return v1alpha1.RequestExplanationStatus{}, field.ErrorList{field.Invalid(path, spec.Path, err.Error())}
	}
	if spec.User != "" {
		a.Identity = &request.Identity{Info: &user.DefaultInfo{Name: spec.User, Groups: append(spec.Groups, user.AllAuthenticated)}}
	}
	defaults, _ := policy.Defaults()
	var classes []*v1alpha1.ClientClass
	for _, o := range defaults {
		if class, ok := o.(*v1alpha1.ClientClass); ok {
			classes = append(classes, class)
		}
	}
	class, claimed := request.NewClassifier(classes).Classify(a)
	a.Class, a.Priority = class.Name, class.Priority
	s := v1alpha1.RequestExplanationStatus{
		ClientName: a.ClientName, Verb: a.Verb, Resource: request.ResourceName(a), ListScope: a.Scope, ListShape: a.Shape,
		Vital: a.Vital, Class: class.Name, Priority: class.Priority,
	}
	if claimed != nil {
		s.ClaimedClass = claimed.Name
	}
	var list v1alpha1.RateLimitList
	g.read("ratelimits", &list)
	for _, l := range list.Items {
		if l.Spec.Mode == v1alpha1.ModeOff || a.Vital || !request.NewMatcher(&l.Spec.Match).Matches(a) {
			continue
		}
		s.Limits = append(s.Limits, v1alpha1.ExplainedLimit{
			Name: l.Name, Mode: l.Spec.Mode, BeforeAuthentication: !request.NeedsIdentity(&l.Spec.Match), Rate: *l.Spec.QPS, Tokens: *l.Spec.QPS,
		})
		if l.Spec.QPS.IsZero() && l.Spec.Mode == v1alpha1.ModeEnforce && s.RefusedBy == "" {
			s.RefusedBy = "ratelimit/" + l.Name
		}
	}
	var routes v1alpha1.RouteList
	g.read("routes", &routes)
	s.Group = v1alpha1.GroupMain
	for _, r := range routes.Items {
		if request.NewMatcher(&r.Spec.Match).Matches(a) && r.Spec.Header == nil {
			s.Route, s.Group = "route/"+r.Name, r.Spec.Groups[0]
			break
		}
	}
	if s.Group == "nowhere" {
		// As if none of its servers were ready.
		s.Group = ""
	}
	return s, nil
}

// Live implements apiserver.Live.
func (g *gateway) Live(_ context.Context, name string) ([]v1alpha1.LimitCounters, error) {
	return g.counters[name], nil
}

// Groups implements apiserver.Live.
func (g *gateway) Groups(_ context.Context, name string) ([]v1alpha1.GroupState, error) {
	return g.states[name], nil
}

// Caches implements apiserver.Live.
func (g *gateway) Caches(_ context.Context, name string) ([]v1alpha1.CacheState, error) {
	return g.caches[name], nil
}

// memory is what two replicas have of pods, widgets and others: one of them cannot
// follow pods at the moment.
func (g *gateway) memory() {
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	failed := at(20 * time.Second)
	pods := v1alpha1.CachedEncoding{
		Encoding: v1alpha1.EncodingProtobuf, Ready: true, Since: at(3 * time.Hour), Objects: 50000, Bytes: 315 << 20, Memory: 92 << 20, ResourceVersion: "812345", Watchers: 4980, Following: true,
	}
	deaf := pods
	deaf.Following, deaf.LastError, deaf.LastErrorAt = false, "dial tcp 10.0.0.1:6443: connect: connection refused\x1b[31m", &failed
	text := pods
	text.Encoding, text.Bytes, text.Memory, text.Watchers, text.LastError, text.LastErrorAt = v1alpha1.EncodingJSON, 390<<20, 99<<20, 12, "http2: client connection lost", &failed
	loading := v1alpha1.CachedEncoding{Encoding: v1alpha1.EncodingJSON, Since: at(2 * time.Second)}
	state := func(replica, reason string, encodings ...v1alpha1.CachedEncoding) v1alpha1.CacheState {
		return v1alpha1.CacheState{Name: replica, ObservedAt: metav1.NewMicroTime(now), Reason: reason, Encodings: encodings}
	}
	g.caches = map[string][]v1alpha1.CacheState{
		"pods":                {state("b", "", deaf), state("a", "", text, pods)},
		"widgets.example.com": {state("a", "there is no CustomResourceDefinition widgets.example.com"), state("b", "", loading)},
	}
}

// seen makes what a replica sees of a group.
func (g *gateway) seen(group, replica string, state v1alpha1.GroupState, endpoints ...v1alpha1.EndpointState) {
	state.Name, state.ObservedAt, state.Endpoints = replica, metav1.NewMicroTime(now), endpoints
	g.states[group] = append(g.states[group], state)
}

func endpoint(url string, health v1alpha1.EndpointHealth, version string, latency time.Duration, inFlight, watches int64) v1alpha1.EndpointState {
	return v1alpha1.EndpointState{
		URL: url, Health: health, Version: version, Latency: metav1.Duration{Duration: latency}, Since: metav1.NewTime(now),
		InFlight: inFlight, LongRunning: watches, Requests: 1000 * inFlight, Failures: watches / 100,
	}
}

// upstream is what two replicas see: a main group that is coming back, an
// overloaded bypass group, and nobody who could tell about the canary.
func (g *gateway) upstream() {
	down := endpoint("https://10.0.0.2:6443", v1alpha1.EndpointDown, "", 0, 0, 0)
	down.Reason = "no sign of life\x1b[31m"
	first := endpoint("https://10.0.0.1:6443", v1alpha1.EndpointReady, "v1.37.2", 2300*time.Microsecond, 12, 420)
	g.seen("main", "b", v1alpha1.GroupState{}, endpoint("https://10.0.0.1:6443", v1alpha1.EndpointEjected, "v1.37.2", 9*time.Millisecond, 1, 0), down)
	g.seen("main", "a", v1alpha1.GroupState{Returning: ptr.To[int32](40), InFlight: 12, LongRunning: 420}, first, down)
	bypass := endpoint("https://10.0.1.1:6443", v1alpha1.EndpointReady, "v1.37.2", 1200*time.Millisecond, 180, 9000)
	g.seen("bypass", "a", v1alpha1.GroupState{Shedding: v1alpha1.PriorityP3, Refused: 77}, bypass)
	g.seen("bypass", "b", v1alpha1.GroupState{Shedding: v1alpha1.PriorityP4}, bypass)
}

// counted makes the counters of a replica.
func (g *gateway) counted(limit, replica, rate, admitted, refused string, inFlight int64) {
	g.counters[limit] = append(g.counters[limit], v1alpha1.LimitCounters{
		Name: replica, ObservedAt: metav1.NewMicroTime(now), Rate: resource.MustParse(rate),
		AdmittedPerSecond: resource.MustParse(admitted), RefusedPerSecond: resource.MustParse(refused), InFlight: inFlight, Buckets: 3,
	})
}

// direct sends a request past the client under test.
func (g *gateway) direct(method, path string, body any, contentType string) (int, []byte) {
	b, _ := json.Marshal(body)
	r := httptest.NewRequest(method, path, bytes.NewReader(b))
	r.Header.Set("Content-Type", contentType)
	info := &user.DefaultInfo{Name: "direct", Groups: []string{user.SystemPrivilegedGroup}}
	w := httptest.NewRecorder()
	g.api.Handler().ServeHTTP(w, r.WithContext(apirequest.WithUser(r.Context(), info)))
	return w.Code, w.Body.Bytes()
}

func (g *gateway) read(path string, into any) {
	_, b := g.direct("GET", base+path, nil, "application/json")
	_ = json.Unmarshal(b, into)
}

// seed makes policies of a file, and has them in force.
func (g *gateway) seed(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	policies, err := policy.Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range policies {
		resource, name := resourceOf(t, o)
		if code, b := g.direct("POST", base+resource, o, "application/json"); code != http.StatusCreated {
			t.Fatalf("%d %s", code, b)
		}
		condition := metav1.Condition{Type: "Active", Status: "True", Reason: "Enforced", LastTransitionTime: metav1.NewTime(now)}
		status := map[string]any{"status": v1alpha1.PolicyStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{condition}}}
		if code, b := g.direct("PATCH", base+resource+"/"+name+"/status", status, "application/merge-patch+json"); code != http.StatusOK {
			t.Fatalf("%d %s", code, b)
		}
	}
}

func resourceOf(t *testing.T, o runtime.Object) (resource, name string) {
	t.Helper()
	switch o := o.(type) {
	case *v1alpha1.RateLimit:
		return "ratelimits", o.Name
	case *v1alpha1.ClientClass:
		return "clientclasses", o.Name
	case *v1alpha1.UpstreamGroup:
		return "upstreamgroups", o.Name
	case *v1alpha1.Route:
		return "routes", o.Name
	case *v1alpha1.CachedResource:
		return "cachedresources", o.Name
	}
	t.Fatalf("%T", o)
	return "", ""
}

// traffic is a minute of requests.
func (g *gateway) traffic(t *testing.T) {
	t.Helper()
	type one struct {
		path, agent, class string
		perSecond          int
		took               time.Duration
		bytes              int64
		refused            bool
	}
	for range 60 {
		for _, o := range []one{
			{"/api/v1/pods", "flink/1.18", "platform", 12, 1500 * time.Millisecond, 4 << 20, false},
			{"/api/v1/pods?resourceVersion=0", "evil\x1b[31m/1", "", 30, 0, 300, true},
			{"/apis/apps/v1/namespaces/a/deployments/b/status", "argocd/v2", "platform", 2, 3 * time.Millisecond, 2000, false},
			{"/version", "curl/8", "unknown", 1, 40 * time.Microsecond, 200, false},
			{"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", "kubelet/v1", "node-lifelines", 100, 2 * time.Millisecond, 500, false},
		} {
			r := httptest.NewRequest("GET", o.path, nil)
			r.Header.Set("User-Agent", o.agent)
			a, err := request.NewParser().Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			a.Class = o.class
			for range o.perSecond {
				g.flows.Arrived(a).Finished(g.clock.Now(), o.took, o.bytes, o.refused)
			}
		}
		g.clock.Step(time.Second)
	}
}

// result is what a run of the program left.
type result struct {
	code     int
	out, err string
}

func (g *gateway) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return runAs(t, g.clock, "asictl", stdin, args...)
}

func runAs(t *testing.T, clock *clocktesting.FakeClock, argv0, stdin string, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	c := &cli{program: programOf(argv0), in: strings.NewReader(stdin), out: &out, err: &err, clock: clock}
	code := c.main(t.Context(), args)
	return result{code, out.String(), err.String()}
}

func (r result) String() string { return fmt.Sprintf("exit %d\n%s%s", r.code, r.out, r.err) }

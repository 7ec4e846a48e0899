package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver"
	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// fixedRouter always says the same.
type fixedRouter struct {
	states       map[string]v1alpha1.GroupState
	route, group string
	refused      bool
}

func (r *fixedRouter) Update([]*v1alpha1.UpstreamGroup, []*v1alpha1.Route, []*v1alpha1.Switch) {}
func (r *fixedRouter) LiveGroups() map[string]v1alpha1.GroupState                              { return r.states }
func (r *fixedRouter) Explain(*request.Attributes) (string, string, bool) {
	return r.route, r.group, r.refused
}

// fixedCache always says the same.
type fixedCache map[string]v1alpha1.CacheState

func (c fixedCache) Update([]*v1alpha1.CachedResource)    {}
func (c fixedCache) Live() map[string]v1alpha1.CacheState { return c }

// newTestPolicies are on a store of their own.
func newTestPolicies(t *testing.T, r router) (*policies, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	p := &policies{options: newOptions(), log: zap.New(core), router: r, cache: fixedCache{"pods": {Reason: "is being tested"}}, flows: flows.NewRecorder(clock.RealClock{})}
	p.options.replicaName = "a"
	var err error
	if p.limiter, err = limiter.New(limiter.Config{Clock: clock.RealClock{}}); err != nil {
		t.Fatal(err)
	}
	p.api, err = apiserver.New(apiserver.Config{
		DataDir: filepath.Join(t.TempDir(), "data"), Authorizer: authorizerfactory.NewAlwaysAllowAuthorizer(), Live: p, Log: zap.NewNop(), Clock: clock.RealClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.api.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	p.nodes = policy.NewNodeCounter(nil, filepath.Join(t.TempDir(), "nodes"), 0, clock.RealClock{}, zap.NewNop())
	p.policy, err = policy.New(policy.Config{
		Client: p.api.ClientConfig(), Limiter: p.limiter, Router: r, Cache: p.cache, StateFile: filepath.Join(t.TempDir(), "policies.json"), Nodes: p.nodes,
		Clock: clock.RealClock{}, Log: zap.NewNop(), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, logs
}

func groupOf(name string, urls ...string) *v1alpha1.UpstreamGroup {
	g := &v1alpha1.UpstreamGroup{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, url := range urls {
		g.Spec.Servers = append(g.Spec.Servers, v1alpha1.UpstreamServer{URL: url})
	}
	v1alpha1.SetDefaults_UpstreamGroup(g)
	return g
}

// TestGroupsOfTheFlagsAreMadeOnce starts on one store with other flags each time.
func TestGroupsOfTheFlagsAreMadeOnce(t *testing.T) {
	p, logs := newTestPolicies(t, &fixedRouter{})
	start := func(files []runtime.Object, flagged ...*v1alpha1.UpstreamGroup) string {
		t.Helper()
		logs.TakeAll()
		p.seeds, p.flagged = files, flagged
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := p.trySeed(ctx); err != nil {
			t.Fatal(err)
		}
		var warned []string
		for _, line := range logs.FilterLevelExact(zapcore.WarnLevel).All() {
			warned = append(warned, line.ContextMap()["flag"].(string)+" "+line.ContextMap()["upstreamGroup"].(string))
		}
		return strings.Join(warned, ", ")
	}
	servers := func(name string) string {
		t.Helper()
		g := groupOf(name)
		found, err := p.policy.Read(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return ""
		}
		return strings.Join(serversOf(g), " ")
	}
	p.options.mainServers, p.options.defaultPolicies = []string{"https://a:1"}, false
	main, bypass := groupOf("main", "https://b:1", "https://a:1"), groupOf("bypass", "https://c:1")
	if warned := start(nil, main, bypass); warned != "" || servers("main") != "https://a:1 https://b:1" || servers("bypass") != "https://c:1" {
		t.Errorf("first start: main %q, bypass %q, warned %q", servers("main"), servers("bypass"), warned)
	}
	if warned := start(nil, main, bypass); warned != "" {
		t.Errorf("nothing has changed: warned %q", warned)
	}
	if warned := start(nil, groupOf("main", "https://a:1"), bypass); warned != "--main-servers main" || servers("main") != "https://a:1 https://b:1" {
		t.Errorf("another flag: main %q, warned %q", servers("main"), warned)
	}
	remove := func(name string) {
		t.Helper()
		r := httptest.NewRequest("DELETE", "/apis/gateway.asi.io/v1alpha1/upstreamgroups/"+name, nil)
		w := httptest.NewRecorder()
		admin := &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}
		if p.handler().ServeHTTP(w, r.WithContext(apirequest.WithUser(r.Context(), admin))); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	remove("bypass")
	if warned := start(nil, main, bypass); warned != "--bypass-servers bypass" || servers("bypass") != "" {
		t.Errorf("deleted by an operator: bypass %q, warned %q", servers("bypass"), warned)
	}
	// Without any group it is the flags that count.
	remove("main")
	if warned := start(nil, main, bypass); warned != "" {
		t.Errorf("all are deleted: warned %q", warned)
	}
}

func TestGroupOfAPolicyFileIsMadeOfTheFile(t *testing.T) {
	p, _ := newTestPolicies(t, &fixedRouter{})
	limited := groupOf("bypass", "https://c:1")
	limited.Spec.MaxInFlight = ptr.To[int32](50)
	p.flagged, p.seeds = []*v1alpha1.UpstreamGroup{groupOf("main", "https://a:1"), groupOf("bypass", "https://c:1")}, []runtime.Object{limited}
	p.options.defaultPolicies = false
	if err := p.trySeed(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, inFlight := range map[string]int32{"main": 0, "bypass": 50} {
		g := groupOf(name)
		if found, err := p.policy.Read(t.Context(), g); err != nil || !found || ptr.Deref(g.Spec.MaxInFlight, 0) != inFlight {
			t.Errorf("%s: found %v, %v: %+v", name, found, err, g.Spec)
		}
	}
}

func TestStatesOfAGroupHaveTheReplicasName(t *testing.T) {
	p, _ := newTestPolicies(t, &fixedRouter{states: map[string]v1alpha1.GroupState{"main": {InFlight: 3}}})
	states, err := p.Groups(t.Context(), "main")
	if err != nil || len(states) != 1 || states[0].Name != "a" || states[0].InFlight != 3 {
		t.Errorf("%+v, %v", states, err)
	}
	if states, err := p.Groups(t.Context(), "other"); err != nil || len(states) != 0 {
		t.Errorf("of a group that nobody knows: %+v, %v", states, err)
	}
}

func TestExplanationNamesRouteAndGroup(t *testing.T) {
	r := &fixedRouter{route: "route/others", group: "bypass"}
	p, _ := newTestPolicies(t, r)
	for _, tc := range []struct {
		refused   bool
		refusedBy string
	}{{false, ""}, {true, "upstreamgroup/bypass"}} {
		r.refused = tc.refused
		s, faults := p.Explain(t.Context(), &v1alpha1.RequestExplanationSpec{Path: "/api/v1/pods", UserAgent: "Prometheus/2"})
		if len(faults) > 0 || s.Route != "route/others" || s.Group != "bypass" || s.RefusedBy != tc.refusedBy {
			t.Errorf("%+v, %v", s, faults)
		}
	}
	none := &v1alpha1.RateLimit{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: v1alpha1.RateLimitSpec{QPS: &resource.Quantity{}, Mode: v1alpha1.ModeEnforce}}
	p.limiter.Update([]*v1alpha1.RateLimit{none}, 0)
	if s, _ := p.Explain(t.Context(), &v1alpha1.RequestExplanationSpec{Path: "/api/v1/pods"}); s.RefusedBy != "ratelimit/none" {
		t.Errorf("what comes first in the chain is not named: %+v", s)
	}
}

package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// rules notes what a limiter was given.
type rules struct {
	mu    sync.Mutex
	names string
	nodes int
}

func (r *rules) Update(limits []*v1alpha1.RateLimit, nodes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names, r.nodes = "", nodes
	for _, limit := range limits {
		r.names += fmt.Sprintf(" %s=%s", limit.Name, limit.Spec.QPS.String())
	}
}

func (r *rules) has(names string, nodes int) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.names == names && r.nodes == nodes
	}
}

// paths notes what a router was given.
type paths struct {
	mu   sync.Mutex
	said string
}

func (p *paths) Update(groups []*v1alpha1.UpstreamGroup, routes []*v1alpha1.Route, forced []*v1alpha1.Switch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = ""
	for _, g := range groups {
		p.said += fmt.Sprintf(" %s=%d*%d,%s", g.Name, len(g.Spec.Servers), *g.Spec.Servers[0].Weight, g.Spec.Shedding)
	}
	for _, r := range routes {
		p.said += fmt.Sprintf(" %s->%s", r.Name, strings.Join(r.Spec.Groups, ","))
	}
	for _, s := range forced {
		p.said += fmt.Sprintf(" %s!%s", s.Name, s.Spec.ForceGroup.Group)
	}
}

func (p *paths) are(said string) func() bool {
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.said == said
	}
}

// keepers notes what a cache was given.
type keepers struct {
	mu   sync.Mutex
	said string
}

func (k *keepers) Update(resources []*v1alpha1.CachedResource) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said = ""
	for _, r := range resources {
		k.said += fmt.Sprintf(" %s=%s/%s/%s*%d", r.Name, r.Spec.Group, r.Spec.Version, r.Spec.Resource, *r.Spec.History)
	}
}

func (k *keepers) has(said string) func() bool {
	return func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.said == said
	}
}

// bench is a running policy API and the policy that follows it.
type bench struct {
	*Policy
	clock *clocktesting.FakeClock
	rules *rules
	paths *paths
	cache *keepers
	nodes *NodeCounter
	logs  *observer.ObservedLogs
	dir   string
}

// runAPI serves the policy API in process.
func runAPI(t *testing.T, clock *clocktesting.FakeClock) *rest.Config {
	t.Helper()
	api, err := apiserver.New(apiserver.Config{
		DataDir: t.TempDir() + "/store", Log: zap.NewNop(), Clock: clock,
		Authorizer: authorizerfactory.NewAlwaysAllowAuthorizer(),
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, api.Run)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := api.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return api.ClientConfig()
}

// background runs until the test ends, and waits for the end.
func background(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

func newBench(t *testing.T, clock *clocktesting.FakeClock, client *rest.Config, dir string) *bench {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	b := &bench{clock: clock, rules: &rules{}, paths: &paths{}, cache: &keepers{}, logs: logs, dir: dir}
	b.nodes = NewNodeCounter(nil, filepath.Join(dir, "nodes"), 7, clock, zap.NewNop())
	var err error
	b.Policy, err = New(Config{
		Client: client, Limiter: b.rules, Router: b.paths, Cache: b.cache, StateFile: filepath.Join(dir, "policies.json"), Nodes: b.nodes,
		Clock: clock, Log: zap.New(core), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func startBench(t *testing.T) *bench {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Now())
	b := newBench(t, clock, runAPI(t, clock), t.TempDir())
	background(t, b.Run)
	waitFor(t, func() bool { return b.Ready() == nil })
	return b
}

// copyTo copies what is kept for the next run. Other files are being written.
func (b *bench) copyTo(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"policies.json", "nodes"} {
		data, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("condition not met in 20 s")
		}
		goruntime.Gosched()
	}
}

func (b *bench) make(t *testing.T, objects ...runtime.Object) {
	t.Helper()
	if _, err := b.Create(t.Context(), objects); err != nil {
		t.Fatal(err)
	}
}

func rateLimit(name, qps string, mode v1alpha1.Mode) *v1alpha1.RateLimit {
	return &v1alpha1.RateLimit{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.RateLimitSpec{QPS: ptr.To(resource.MustParse(qps)), Mode: mode}}
}

func TestChangesAreInForceAtOnce(t *testing.T) {
	b := startBench(t)
	b.make(t, rateLimit("a", "5", ""), rateLimit("b", "7", v1alpha1.ModeOff))
	waitFor(t, b.rules.has(" a=5 b=7", 7))
	b.make(t, rateLimit("a", "9", ""))
	if err := b.client.Patch("application/merge-patch+json").Resource("ratelimits").Name("a").Body([]byte(`{"spec":{"qps":"3"}}`)).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, b.rules.has(" a=3 b=7", 7))
	b.nodes.set(9000)
	waitFor(t, b.rules.has(" a=3 b=7", 9000))
	if err := b.client.Delete().Resource("ratelimits").Name("b").Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, b.rules.has(" a=3", 9000))
}

func TestConditionsSayWhatIsInForce(t *testing.T) {
	b := startBench(t)
	class := &v1alpha1.ClientClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: v1alpha1.ClientClassSpec{Priority: v1alpha1.PriorityP1}}
	b.make(t, rateLimit("enforced", "5", ""), rateLimit("tried", "5", v1alpha1.ModeDryRun), rateLimit("off", "5", v1alpha1.ModeOff), class)
	for name, want := range map[string]string{"enforced": "True/Enforced", "tried": "True/DryRun", "off": "False/Off"} {
		waitFor(t, func() bool {
			limit := &v1alpha1.RateLimit{}
			if err := b.client.Get().Resource("ratelimits").Name(name).Do(t.Context()).Into(limit); err != nil {
				t.Fatal(err)
			}
			return active(limit.Status.Conditions) == want && limit.Status.ObservedGeneration == limit.Generation
		})
	}
	waitFor(t, func() bool {
		if err := b.client.Get().Resource("clientclasses").Name("c").Do(t.Context()).Into(class); err != nil {
			t.Fatal(err)
		}
		return active(class.Status.Conditions) == "True/InForce"
	})
}

// TestConditionsOfAnotherVersionAreNotAnsweredAtOnce has somebody else say another thing
// about a policy, as a gateway of another version may, time and again.
func TestConditionsOfAnotherVersionAreNotAnsweredAtOnce(t *testing.T) {
	b := startBench(t)
	b.make(t, rateLimit("disputed", "5", ""))
	limit := &v1alpha1.RateLimit{}
	reads := func() string {
		if err := b.client.Get().Resource("ratelimits").Name("disputed").Do(t.Context()).Into(limit); err != nil {
			t.Fatal(err)
		}
		return active(limit.Status.Conditions)
	}
	waitFor(t, func() bool { return reads() == "True/Enforced" })
	limit.Status.Conditions[0].Reason = "InForceAsWeSay"
	if err := b.client.Put().Resource("ratelimits").Name("disputed").SubResource("status").Body(limit).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	// A condition that is written later shows that there was a round since.
	b.make(t, rateLimit("later", "5", ""))
	waitFor(t, func() bool {
		later := &v1alpha1.RateLimit{}
		if err := b.client.Get().Resource("ratelimits").Name("later").Do(t.Context()).Into(later); err != nil {
			t.Fatal(err)
		}
		return active(later.Status.Conditions) == "True/Enforced"
	})
	if got := reads(); got != "True/InForceAsWeSay" {
		t.Errorf("the condition is %s at once", got)
	}
	waitFor(t, func() bool {
		b.clock.Step(statusRetry)
		return reads() == "True/Enforced"
	})
}

func active(conditions []metav1.Condition) string {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionActive)
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

func TestSwitchGoesOnAndOffByItselfAndIsLogged(t *testing.T) {
	b := startBench(t)
	r := httptest.NewRequest("DELETE", "/api/v1/namespaces/a/pods/b", nil)
	a, err := request.NewParser().Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	b.make(t, &v1alpha1.Switch{ObjectMeta: metav1.ObjectMeta{Name: "stop"}, Spec: v1alpha1.SwitchSpec{
		Type: v1alpha1.SwitchReadOnly, Duration: &metav1.Duration{Duration: 10 * time.Minute}, Reason: "moving etcd",
	}})
	waitFor(t, func() bool { return b.Refuse(a) != nil })
	waitFor(t, func() bool { return b.logs.FilterMessage("switch on").Len() == 1 })
	on := b.logs.FilterMessage("switch on").All()[0].ContextMap()
	if on["switch"] != "stop" || on["reason"] != "moving etcd" || on["by"] != apiserver.LoopbackUser {
		t.Errorf("logged %v", on)
	}
	b.clock.Step(10*time.Minute + time.Second)
	if b.Refuse(a) != nil {
		t.Error("it is on after its time")
	}
	waitFor(t, func() bool { return b.logs.FilterMessage("switch off").Len() == 1 })
	s := &v1alpha1.Switch{}
	waitFor(t, func() bool {
		if err := b.client.Get().Resource("switches").Name("stop").Do(t.Context()).Into(s); err != nil {
			t.Fatal(err)
		}
		return active(s.Status.Conditions) == "False/Expired"
	})
	b.clock.Step(25 * time.Hour)
	waitFor(t, func() bool {
		list := &v1alpha1.SwitchList{}
		if err := b.client.Get().Resource("switches").Do(t.Context()).Into(list); err != nil {
			t.Fatal(err)
		}
		return len(list.Items) == 0
	})
}

// TestPoliciesOfTheLastRunAreInForceWithoutTheStore starts a second gateway on
// the files of the first, with nobody to ask.
func TestPoliciesOfTheLastRunAreInForceWithoutTheStore(t *testing.T) {
	b := startBench(t)
	b.make(t, rateLimit("a", "5", ""), &v1alpha1.ClientClass{ObjectMeta: metav1.ObjectMeta{Name: "everybody"}, Spec: v1alpha1.ClientClassSpec{Priority: v1alpha1.PriorityP1}})
	waitFor(t, b.rules.has(" a=5", 7))
	b.nodes.set(300)
	waitFor(t, b.rules.has(" a=5", 300))
	file := filepath.Join(b.dir, "policies.json")
	waitFor(t, func() bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(data), "everybody") && strings.Contains(string(data), `"a"`)
	})

	// The first goes on writing; the second has its files as they are now.
	dir := t.TempDir()
	b.copyTo(t, dir)
	file = filepath.Join(dir, "policies.json")
	later := newBench(t, b.clock, &rest.Config{Host: "http://127.0.0.1:1"}, dir)
	a, err := request.NewParser().Parse(httptest.NewRequest("GET", "/version", nil))
	if err != nil {
		t.Fatal(err)
	}
	class, _ := later.Classify(a)
	if later.Ready() != nil || class.Name != "everybody" || !later.rules.has(" a=5", 300)() || !later.paths.are("")() {
		t.Errorf("ready %v, class %s, rules %q for %d nodes", later.Ready(), class.Name, later.rules.names, later.rules.nodes)
	}

	// A file that is damaged is no reason not to start.
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := newBench(t, b.clock, &rest.Config{Host: "http://127.0.0.1:1"}, dir)
	if damaged.Ready() == nil || damaged.logs.Len() != 1 {
		t.Errorf("ready %v, %d lines logged", damaged.Ready(), damaged.logs.Len())
	}
}

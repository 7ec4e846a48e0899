package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func group(name string, urls ...string) *v1alpha1.UpstreamGroup {
	g := &v1alpha1.UpstreamGroup{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, url := range urls {
		g.Spec.Servers = append(g.Spec.Servers, v1alpha1.UpstreamServer{URL: url})
	}
	return g
}

func route(name string, groups ...string) *v1alpha1.Route {
	return &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.RouteSpec{Groups: groups}}
}

func forceTo(name, group string, d time.Duration) *v1alpha1.Switch {
	return &v1alpha1.Switch{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.SwitchSpec{
		Type: v1alpha1.SwitchForceGroup, ForceGroup: &v1alpha1.ForceGroup{Group: group}, Duration: &metav1.Duration{Duration: d}, Reason: "main is being upgraded",
	}}
}

func (b *bench) remove(t *testing.T, resource, name string) {
	t.Helper()
	if err := b.client.Delete().Resource(resource).Name(name).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
}

func TestRouterGetsGroupsRoutesAndForces(t *testing.T) {
	b := startBench(t)
	b.make(t, group("main", "https://a:6443", "https://b:6443"), route("all", "main", "bypass"))
	waitFor(t, b.paths.are(" main=2*1,Auto all->main,bypass"))
	b.make(t, group("bypass", "https://c:6443"), forceTo("shift", "bypass", time.Hour),
		&v1alpha1.Switch{ObjectMeta: metav1.ObjectMeta{Name: "stop"}, Spec: v1alpha1.SwitchSpec{Type: v1alpha1.SwitchReadOnly, Reason: "moving etcd"}})
	waitFor(t, b.paths.are(" bypass=1*1,Auto main=2*1,Auto all->main,bypass shift!bypass"))
	for kind, want := range map[string]float64{"UpstreamGroup": 2, "Route": 1, "Switch": 2} {
		waitFor(t, func() bool { return testutil.ToFloat64(b.metrics.objects.WithLabelValues(kind)) == want })
	}
	b.remove(t, "routes", "all")
	b.remove(t, "upstreamgroups", "main")
	waitFor(t, b.paths.are(" bypass=1*1,Auto shift!bypass"))
}

// TestForceEndsByItselfAndIsLogged keeps an expired force in what the router is
// given: it looks at the time with every request.
func TestForceEndsByItselfAndIsLogged(t *testing.T) {
	b := startBench(t)
	b.make(t, group("bypass", "https://c:6443"), forceTo("shift", "bypass", 10*time.Minute), forceTo("lost", "bypss", time.Hour))
	waitFor(t, b.paths.are(" bypass=1*1,Auto lost!bypss shift!bypass"))
	waitFor(t, func() bool { return b.logs.FilterMessage("switch on").Len() == 2 })
	waitFor(t, func() bool { return b.condition(t, "shift") == "True/On" && b.condition(t, "lost") == "False/NoGroup" })
	b.clock.Step(10*time.Minute + time.Second)
	waitFor(t, func() bool { return b.logs.FilterMessage("switch off").Len() == 1 })
	waitFor(t, func() bool { return b.condition(t, "shift") == "False/Expired" })
	if !b.paths.are(" bypass=1*1,Auto lost!bypss shift!bypass")() {
		t.Errorf("the router has %q", b.paths.said)
	}
}

func (b *bench) condition(t *testing.T, name string) string {
	t.Helper()
	s := &v1alpha1.Switch{}
	s.Name = name
	if found, err := b.Read(t.Context(), s); err != nil || !found {
		t.Fatalf("found %v, %v", found, err)
	}
	return active(s.Status.Conditions)
}

func TestConditionsFollowTheGroupsThatThereAre(t *testing.T) {
	b := startBench(t)
	spilling := route("spilling", "canary")
	spilling.Spec.Spill = []string{"main"}
	b.make(t, route("others", "bypass", "canary"), route("control-plane", "main", "bypass"), spilling)
	is := func(name, want string) func() bool {
		return func() bool {
			r := route(name)
			if found, err := b.Read(t.Context(), r); err != nil || !found {
				t.Fatalf("found %v, %v", found, err)
			}
			return active(r.Status.Conditions) == want && r.Status.ObservedGeneration == r.Generation
		}
	}
	// Main is there without an object: the flags say what it is.
	waitFor(t, is("control-plane", "True/InForce"))
	waitFor(t, is("spilling", "True/InForce"))
	waitFor(t, is("others", "False/NoGroup"))
	r := route("others")
	if _, err := b.Read(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	message := r.Status.Conditions[0].Message
	for _, want := range []string{"bypass, canary", "main serves"} {
		if !strings.Contains(message, want) {
			t.Errorf("%q does not say %q", message, want)
		}
	}

	b.make(t, group("canary", "https://c:6443"))
	waitFor(t, is("others", "True/InForce"))
	waitFor(t, func() bool {
		g := group("canary")
		if found, err := b.Read(t.Context(), g); err != nil || !found {
			t.Fatalf("found %v, %v", found, err)
		}
		return active(g.Status.Conditions) == "True/InForce"
	})
	b.remove(t, "upstreamgroups", "canary")
	waitFor(t, is("others", "False/NoGroup"))
	if found, err := b.Read(t.Context(), group("canary")); found || err != nil {
		t.Errorf("a deleted group: %v, %v", found, err)
	}
}

func TestGroupsOfTheLastRunAreInForceWithoutTheStore(t *testing.T) {
	b := startBench(t)
	b.make(t, group("main", "https://a:6443"), route("all", "main"), forceTo("shift", "main", time.Hour))
	const all = " main=1*1,Auto all->main shift!main"
	waitFor(t, b.paths.are(all))
	file := filepath.Join(b.dir, "policies.json")
	waitFor(t, func() bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(data), "https://a:6443") && strings.Contains(string(data), "shift") && strings.Contains(string(data), `"all"`)
	})
	dir := t.TempDir()
	b.copyTo(t, dir)
	if later := newBench(t, b.clock, &rest.Config{Host: "http://127.0.0.1:1"}, dir); !later.paths.are(all)() {
		t.Errorf("the router has %q", later.paths.said)
	}
}

func TestStateOfAnOlderGatewayIsReadWithDefaults(t *testing.T) {
	for name, tc := range map[string]struct{ state, paths string }{
		"without the kinds": {`{"classes":[],"limits":[{"metadata":{"name":"a"},"spec":{"qps":"5","scope":"Replica","mode":"Enforce"}}],"switches":null}`, ""},
		"without a default": {`{"limits":[{"metadata":{"name":"a"},"spec":{"qps":"5","scope":"Replica","mode":"Enforce"}}],
			"upstreamGroups":[{"metadata":{"name":"main"},"spec":{"servers":[{"url":"https://a:6443"}]}},{"metadata":{"name":"broken"},"spec":{"servers":[]}}],
			"routes":[{"metadata":{"name":"all"},"spec":{"groups":["main"]}}]}`, " main=1*1,Auto all->main"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "policies.json"), []byte(tc.state), 0o600); err != nil {
				t.Fatal(err)
			}
			b := newBench(t, clocktesting.NewFakeClock(time.Now()), &rest.Config{Host: "http://127.0.0.1:1"}, dir)
			if b.Ready() != nil || !b.rules.has(" a=5", 7)() || !b.paths.are(tc.paths)() {
				t.Errorf("ready %v, rules %q, router %q", b.Ready(), b.rules.names, b.paths.said)
			}
		})
	}
}

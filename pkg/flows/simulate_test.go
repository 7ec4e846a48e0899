package flows

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/validation"
)

// traffic is a minute of a rogue that lists 50 times a second, a steady client
// with 2 a second, and leases.
func traffic(t *testing.T) (*Recorder, *clocktesting.FakeClock) {
	clock := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	r := NewRecorder(clock)
	rogue, steady := attributes(t, "/api/v1/pods", "rogue/v1"), attributes(t, "/api/v1/pods", "steady/v1")
	lease := attributes(t, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "kubelet/v1")
	for range 60 {
		for range 50 {
			r.Arrived(rogue)
		}
		for range 2 {
			r.Arrived(steady)
		}
		for range 100 {
			r.Arrived(lease)
		}
		clock.Step(time.Second)
	}
	return r, clock
}

func TestSimulationTellsWhatWouldHaveBeenRefused(t *testing.T) {
	r, _ := traffic(t)
	burst := int32(10)
	lists := v1alpha1.Match{Requests: []v1alpha1.RequestMatch{{Verbs: []string{"list"}, Resources: []string{"pods"}}}}
	limit := func(name string, spec v1alpha1.RateLimitSpec) v1alpha1.SimulatedLimit {
		spec.Burst = &burst
		return v1alpha1.SimulatedLimit{Name: name, Spec: spec}
	}
	status := r.Simulate([]v1alpha1.SimulatedLimit{
		limit("per-client", v1alpha1.RateLimitSpec{Match: lists, Per: []v1alpha1.BucketKey{v1alpha1.PerUserAgent}, QPS: ptr(resource.MustParse("5"))}),
		limit("together", v1alpha1.RateLimitSpec{Match: lists, QPS: ptr(resource.MustParse("26"))}),
		limit("closed", v1alpha1.RateLimitSpec{Match: lists, Except: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"rogue"}}}, QPS: ptr(resource.MustParse("0"))}),
		limit("everything", v1alpha1.RateLimitSpec{Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"kubelet"}}}, QPS: ptr(resource.MustParse("1"))}),
		limit("grows", v1alpha1.RateLimitSpec{Match: lists, QPS: ptr(resource.MustParse("1")), QPSPerNode: ptr(resource.MustParse("0.1"))}),
	}, 1000)
	got := map[string]int64{}
	for _, result := range status.Results {
		got[result.Limit+" "+result.Client] = result.Refused
	}
	// 60 seconds of 50 requests, of which 5 a second and a burst of 10 pass; of 52 a
	// second together 26 pass, shared as they were asked for.
	for key, want := range map[string]int64{"per-client rogue": 2690, "together rogue": 1490, "together steady": 60, "closed steady": 120} {
		if n := got[key]; n < want-2 || n > want+2 {
			t.Errorf("%s: %d refused, want %d", key, n, want)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("others refused: %v", got)
	}
	if status.Results[0].Client != "rogue" || status.Results[0].Requests != 3000 {
		t.Errorf("first %+v", status.Results[0])
	}
}

func TestSimulationSaysWhatItCannotSee(t *testing.T) {
	r, _ := traffic(t)
	status := r.Simulate([]v1alpha1.SimulatedLimit{{Name: "x", Spec: v1alpha1.RateLimitSpec{
		Match:  v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"steady"}, Users: []string{"alice"}}},
		Except: v1alpha1.Match{Requests: []v1alpha1.RequestMatch{{Namespaces: []string{"a"}}}},
		Per:    []v1alpha1.BucketKey{v1alpha1.PerUser},
		QPS:    &resource.Quantity{},
	}}}, 0)
	if len(status.Notes) != 3 || len(status.Results) != 1 || status.Results[0].Refused != 120 {
		t.Errorf("%+v", status)
	}
}

func TestRecommendedLimitsAreValidAndAdmitWhatWasSeen(t *testing.T) {
	r, clock := traffic(t)
	for _, odd := range []string{"", "a*b/1", "a\tb/1", "Übel/2", "-x-/1", strings.Repeat("y", 400)} {
		r.Arrived(attributes(t, "/apis/apps/v1/deployments?limit=5", odd))
	}
	clock.Step(time.Second)
	limits := Recommend(r.List(clock.Now()), 20)
	if len(limits) < 3 || limits[0].Name != "rogue-list-pods-cluster-unbounded" {
		t.Fatalf("recommended %v", limits)
	}
	if first := limits[0].Spec; first.QPS.String() != "75" || *first.Burst != 75 || first.Mode != v1alpha1.ModeDryRun {
		t.Errorf("first %+v", first)
	}
	var simulated []v1alpha1.SimulatedLimit
	for _, limit := range limits {
		v1alpha1.SetDefaults_RateLimit(limit)
		if faults := validation.ValidateRateLimit(limit); len(faults) > 0 {
			t.Errorf("%s: %v", limit.Name, faults)
		}
		if strings.Contains(limit.Name, "leases") {
			t.Errorf("%s: leases get no limit", limit.Name)
		}
		simulated = append(simulated, v1alpha1.SimulatedLimit{Name: limit.Name, Spec: limit.Spec})
	}
	if status := r.Simulate(simulated, 0); len(status.Results) > 0 {
		t.Errorf("would have refused %+v", status.Results)
	}
	if got := Recommend(r.List(clock.Now()), 1); len(got) != 1 {
		t.Errorf("%d of 1", len(got))
	}
}

func ptr[T any](v T) *T { return &v }

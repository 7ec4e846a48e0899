package routing

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func limited(qps string, burst, maxInFlight int32) *v1alpha1.UpstreamGroup {
	g := StaticGroup("main", "https://a")
	if qps != "" {
		g.Spec.QPS = ptr.To(resource.MustParse(qps))
		g.Spec.Burst = &burst
	}
	if maxInFlight > 0 {
		g.Spec.MaxInFlight = &maxInFlight
	}
	return g
}

// admitted is how many of n requests in the same moment pass.
func admitted(g *group, p v1alpha1.Priority, n int, now time.Time) (passed int) {
	for range n {
		if g.admit(p, false, now) == nil {
			passed++
		}
	}
	return passed
}

func TestMaxInFlightLeavesRoomForHigherPriorities(t *testing.T) {
	u, clock := upstream(t, []*v1alpha1.UpstreamGroup{limited("", 0, 100)})
	g := u.table.Load().groups[0]
	for _, step := range []struct {
		priority v1alpha1.Priority
		want     int
	}{{"P4", 60}, {"P3", 15}, {"P2", 15}, {"P1", 10}, {"P0", 200}} {
		if got := admitted(g, step.priority, 200, clock.Now()); got != step.want {
			t.Errorf("%s: %d admitted, want %d", step.priority, got, step.want)
		}
	}
	// Watches neither count nor wait.
	if g.admit("P1", true, clock.Now()) != nil {
		t.Error("a watch was refused for requests under way")
	}
	for range 300 {
		g.release(false)
	}
	if got := admitted(g, "P4", 200, clock.Now()); got != 60 {
		t.Errorf("%d admitted when all are done", got)
	}
}

func TestQPSLeavesBurstForHigherPriorities(t *testing.T) {
	u, clock := upstream(t, []*v1alpha1.UpstreamGroup{limited("10", 101, 0)})
	g := u.table.Load().groups[0]
	for _, step := range []struct {
		priority v1alpha1.Priority
		want     int
	}{{"P4", 61}, {"P3", 15}, {"P2", 15}, {"P1", 10}, {"P0", 50}} {
		if got := admitted(g, step.priority, 300-250*b2i(step.priority == "P0"), clock.Now()); got != step.want {
			t.Errorf("%s: %d admitted, want %d", step.priority, got, step.want)
		}
	}
	// The others wait for what P0 has taken, too: 50 tokens are owed.
	clock.Step(5 * time.Second)
	if got := admitted(g, "P1", 10, clock.Now()); got != 0 {
		t.Errorf("%d admitted while tokens are owed", got)
	}
	clock.Step(time.Second)
	if got := admitted(g, "P1", 20, clock.Now()); got != 10 {
		t.Errorf("%d admitted a second later, want 10", got)
	}
	if got := u.table.Load().groups[0].refused.Load(); got == 0 {
		t.Error("refusals were not counted")
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestLowestPriorityAloneGetsTheWholeRate(t *testing.T) {
	u, clock := upstream(t, []*v1alpha1.UpstreamGroup{limited("10", 20, 0)})
	g := u.table.Load().groups[0]
	admitted(g, "P4", 100, clock.Now())
	passed := 0
	for range 100 {
		clock.Step(100 * time.Millisecond)
		passed += admitted(g, "P4", 3, clock.Now())
	}
	if passed < 99 || passed > 101 {
		t.Errorf("%d passed in 10 s at 10 per second", passed)
	}
}

func TestClosedGroupServesTheControlPlaneOnly(t *testing.T) {
	u, clock := upstream(t, []*v1alpha1.UpstreamGroup{limited("0", 1, 0)})
	g := u.table.Load().groups[0]
	clock.Step(time.Hour)
	if p0, p1 := admitted(g, "P0", 5, clock.Now()), admitted(g, "P1", 5, clock.Now()); p0 != 5 || p1 > 1 {
		t.Errorf("P0 %d, P1 %d", p0, p1)
	}
}

func TestChangingTheRateGivesNoBurst(t *testing.T) {
	o := limited("10", 20, 0)
	u, clock := upstream(t, []*v1alpha1.UpstreamGroup{o})
	g := u.table.Load().groups[0]
	admitted(g, "P1", 100, clock.Now())
	changed := limited("1000", 2000, 0)
	u.Update([]*v1alpha1.UpstreamGroup{changed}, nil, nil)
	if got := admitted(g, "P1", 100, clock.Now()); got != 0 {
		t.Errorf("%d admitted at once after the change", got)
	}
}

func TestSpillTakesWhatALimitRefuses(t *testing.T) {
	closed := limited("0", 1, 0)
	closed.Name = "bypass"
	groups := []*v1alpha1.UpstreamGroup{StaticGroup("main", "https://a"), closed}
	u, _ := upstream(t, groups)
	p3 := attributes(t, "/api/v1/pods", "u", "P3")
	for _, spill := range []string{"", "main"} {
		want := "refused by bypass"
		u.Update(groups, defaultRoutes(), nil)
		if spill != "" {
			want = "main"
			u.Update(groups, defaultRoutes(spill), nil)
		}
		routed(t, u, p3, nil) // the burst of one
		if got := routed(t, u, p3, nil); got != want {
			t.Errorf("spill %q: %s, want %s", spill, got, want)
		}
	}
}

func TestOverloadShedsTheLowestFirst(t *testing.T) {
	var p pressure
	shed := func() v1alpha1.Priority { return p.highest() }
	second := func(answers, overloads int) {
		for i := range answers {
			p.answered(i < overloads)
		}
		p.tick()
	}
	second(1000, 99)
	second(9, 9) // too few to tell
	if shed() != "" {
		t.Fatalf("sheds %s without need", shed())
	}
	for _, want := range []v1alpha1.Priority{"P4", "P3", "P2", "P2"} {
		second(100, 20)
		if shed() != want {
			t.Errorf("sheds %s, want %s", shed(), want)
		}
	}
	if p.sheds("P1") || p.sheds("P0") || !p.sheds("P4") {
		t.Error("sheds the wrong ones")
	}
	for i := range 3 * calmTicks {
		second(100, 0)
		if want := []v1alpha1.Priority{"P2", "P3", "P4", ""}[(i+1)/calmTicks]; shed() != want {
			t.Errorf("after %d good seconds it sheds %q, want %q", i+1, shed(), want)
		}
	}
}

func TestClientsReturnGradually(t *testing.T) {
	groups := mainAndBypass([]string{"https://a"}, []string{"https://c"})
	u, clock := upstream(t, groups)
	u.Update(groups, defaultRoutes(), nil)
	onMain := func() (n int) {
		for i := range 200 {
			if routed(t, u, attributes(t, "/api/v1/pods", string(rune('a'+i%26))+string(rune('a'+i/26)), "P0"), nil) == "main" {
				n++
			}
		}
		return n
	}
	back := func() { u.Endpoints()[0].health.probed(true, "", clock.Now()); u.lookForAbsence() }
	u.lookForAbsence()
	kill(u, "main")
	u.lookForAbsence()
	clock.Step(time.Second)
	back()
	if n := onMain(); n != 200 {
		t.Errorf("%d of 200 clients on main after a second without it: few have left", n)
	}
	kill(u, "main")
	u.lookForAbsence()
	clock.Step(10 * time.Second)
	back()
	for _, step := range []struct{ least, most int }{{0, 0}, {40, 90}, {105, 160}, {200, 200}} {
		if n := onMain(); n < step.least || n > step.most {
			t.Errorf("%d of 200 clients on main, want %d to %d", n, step.least, step.most)
		}
		clock.Step(10 * time.Second)
	}
	// With nobody else to serve them they do not wait.
	kill(u, "main")
	u.lookForAbsence()
	clock.Step(10 * time.Second)
	back()
	kill(u, "bypass")
	if n := onMain(); n != 200 {
		t.Errorf("%d of 200 clients served by main alone", n)
	}
}

// TestLateCallersMakeNoTokens: a request that has looked at the clock before others
// comes behind them now and then.
func TestLateCallersMakeNoTokens(t *testing.T) {
	u, clock := upstream(t, []*v1alpha1.UpstreamGroup{limited("10", 10, 0)})
	g := u.table.Load().groups[0]
	start, passed := clock.Now(), 0
	for i := range 1000 {
		now := start
		if i%2 == 0 {
			now = start.Add(time.Second)
		}
		if g.admit("P1", true, now) == nil {
			passed++
		}
	}
	if passed != 10 {
		t.Errorf("%d passed, want the burst of 10, which was full", passed)
	}
}

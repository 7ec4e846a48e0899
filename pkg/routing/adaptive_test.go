package routing

import (
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// look has n short requests be answered that took so long, and then looks.
func (a *adaptive) look(inFlight int64, n int, took time.Duration) {
	for range n {
		a.answered(200, took)
	}
	a.tick(inFlight)
}

// queueing returns a limit that a group's servers needed when 120 requests were under
// way.
func queueing(t *testing.T) *adaptive {
	t.Helper()
	var a adaptive
	a.look(10, 100, 2*time.Millisecond)
	for range queueTicks {
		if got := a.limit.Load(); got != 0 {
			t.Fatalf("limited to %d too soon", got)
		}
		a.look(120, 100, 200*time.Millisecond)
	}
	// Half of what may be under way of the lowest priority.
	if got := a.limit.Load(); got != 100 {
		t.Fatalf("limited to %d, want 100", got)
	}
	return &a
}

func TestLimitIsCutWhileServersQueue(t *testing.T) {
	a := queueing(t)
	// More is under way than the limit lets in: it has to go first.
	for range 20 {
		a.look(111, 100, 200*time.Millisecond)
	}
	if got := a.limit.Load(); got != 100 {
		t.Errorf("cut to %d before the last cut could have done anything", got)
	}
	a.look(80, 100, 100*time.Millisecond)
	if got := a.limit.Load(); got != 50 {
		t.Errorf("limited to %d at twice the latency that may be, want 50", got)
	}
	a.look(30, 100, 60*time.Millisecond)
	if got := a.limit.Load(); got != 50 {
		t.Errorf("cut to %d at once again", got)
	}
}

func TestLimitGrowsWhenServersAreQuickUntilItIsNone(t *testing.T) {
	a := queueing(t)
	last := a.limit.Load()
	for range 20 {
		a.look(50, 100, 2*time.Millisecond)
		got := a.limit.Load()
		if got <= last || got > last+last/20 {
			t.Fatalf("the limit went from %d to %d in one look", last, got)
		}
		last = got
	}
	for range 200 {
		a.look(5, 100, 2*time.Millisecond)
	}
	if got := a.limit.Load(); got != 0 {
		t.Errorf("still limited to %d long after", got)
	}
}

func TestLimitGrowsWhenHardlyAnybodyAsks(t *testing.T) {
	a := queueing(t)
	for range 20 * 100 {
		a.look(1, 1, time.Second)
	}
	if got := a.limit.Load(); got != 0 {
		t.Errorf("still limited to %d", got)
	}
}

func TestLimitThatDoesNotHelpIsLifted(t *testing.T) {
	a := queueing(t)
	lowest := a.limit.Load()
	for range 100 {
		limit := a.limit.Load()
		if limit == 0 {
			break
		}
		lowest = min(lowest, limit)
		// All take as long as before, so that less is answered.
		a.look(limit*6/10, int(limit)/2, 200*time.Millisecond)
	}
	if got := a.limit.Load(); got != 0 || lowest < 25 {
		t.Errorf("limited to %d, and to %d before, though it is as slow with less under way", got, lowest)
	}
	for range 100 {
		a.look(120, 100, 200*time.Millisecond)
	}
	if got := a.limit.Load(); got != 0 {
		t.Errorf("limited to %d for what is usual by now", got)
	}
	// When it gets better that is what is usual.
	for range 200 {
		a.look(10, 100, 2*time.Millisecond)
	}
	if a.usual > 3*time.Millisecond {
		t.Errorf("what is usual is %s", a.usual)
	}
}

func TestLimitStaysWhileServersAnswerAsMuchWithLessUnderWay(t *testing.T) {
	a := queueing(t)
	for range 100 {
		a.look(a.limit.Load()*6/10, 100, 200*time.Millisecond)
	}
	if got := a.limit.Load(); got != limitLeast {
		t.Errorf("limited to %d, want %d", got, limitLeast)
	}
}

func TestServersThatAnswerNothingAnyMoreAreLimited(t *testing.T) {
	for under, want := range map[int64]bool{stuckLeast - 1: false, 10 * stuckLeast: true} {
		var a adaptive
		a.look(10, 100, 2*time.Millisecond)
		for range 2 * staleTicks {
			a.tick(under)
		}
		if got := a.limit.Load(); (got > 0) != want {
			t.Errorf("with %d under way and no answer the limit is %d", under, got)
		}
	}
}

func TestSlowAnswersThatAreNoQueueSetNoLimit(t *testing.T) {
	for name, second := range map[string]func(a *adaptive){
		"a slow tenant": func(a *adaptive) {
			for range 60 {
				a.answered(200, 3*time.Second)
			}
			a.look(1000, 40, 3*time.Millisecond)
		},
		"a few answers": func(a *adaptive) { a.look(30, 1, 3*time.Second) },
		"all answers of a server that was frozen": func(a *adaptive) {
			a.look(500, 500, 3*time.Second)
			for range 9 {
				a.look(10, 30, 2*time.Millisecond)
			}
		},
		"a little more than usual": func(a *adaptive) { a.look(100, 100, 9*time.Millisecond) },
		"less than what matters":   func(a *adaptive) { a.look(100, 100, 40*time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			var a adaptive
			a.look(10, 100, 2*time.Millisecond)
			for range 30 {
				second(&a)
				if got := a.limit.Load(); got != 0 {
					t.Fatalf("limited to %d", got)
				}
			}
		})
	}
}

// A server that refuses many at once is quick about that.
func TestRefusalsOfServersAreNoQuickAnswers(t *testing.T) {
	var a adaptive
	a.look(10, 100, 2*time.Millisecond)
	for range queueTicks {
		for range 100 {
			a.answered(429, time.Millisecond)
			a.answered(503, time.Millisecond)
		}
		a.look(120, 50, 200*time.Millisecond)
	}
	if a.limit.Load() == 0 {
		t.Error("no limit")
	}
}

func TestAdaptiveLimitLeavesRoomForHigherPriorities(t *testing.T) {
	o := limited("", 0, 0)
	u, clock := upstream(t, []*v1alpha1.UpstreamGroup{o})
	g := u.table.Load().groups[0]
	g.adaptive.limit.Store(100)
	for _, step := range []struct {
		priority v1alpha1.Priority
		want     int
	}{{"P4", 60}, {"P3", 15}, {"P2", 15}, {"P1", 200}, {"P0", 200}} {
		if got := admitted(g, step.priority, 200, clock.Now()); got != step.want {
			t.Errorf("%s: %d admitted, want %d", step.priority, got, step.want)
		}
	}
	if refused := g.admit("P4", false, clock.Now()); refused == nil || refused.reason != Overloaded {
		t.Errorf("refused as %+v", refused)
	}
	if g.admit("P4", true, clock.Now()) != nil {
		t.Error("a watch was refused for requests under way")
	}
	never := o.DeepCopy()
	never.Spec.Shedding = v1alpha1.SheddingNever
	never.Spec.MaxInFlight = ptr.To[int32](2000)
	u.Update([]*v1alpha1.UpstreamGroup{never}, nil, nil)
	if got := admitted(g, "P4", 200, clock.Now()); got != 200 {
		t.Errorf("%d admitted of a group that is to refuse nothing for overload", got)
	}
}

package routing

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// group is an UpstreamGroup. What it has counted outlives changes of its spec.
type group struct {
	name string
	spec atomic.Pointer[groupSpec]

	// inFlight are requests under way that are not long-running.
	inFlight atomic.Int64
	refused  atomic.Int64
	pressure pressure
	adaptive adaptive
	absence  absence

	mu sync.Mutex
	// tokens are of the group's qps, latest is the last time that they have seen: a
	// call with an earlier one would have what has flowed in since flow in again.
	tokens rate.Limiter
	latest time.Time
}

// groupSpec is a compiled spec. It is immutable.
type groupSpec struct {
	members     []member
	qps         float64 // negative: no limit
	burst       int
	maxInFlight int64 // 0: no limit
	shed        bool
	hedge       bool
	slowStart   time.Duration
	failback    time.Duration
}

// reserved is the part of a group's burst, and of its limits for requests under way,
// that is held back from requests of a priority. P0 is never refused.
func reserved(p v1alpha1.Priority) (burst, inFlight float64) {
	switch p {
	case v1alpha1.PriorityP0, v1alpha1.PriorityP1:
		return 0, 0
	case v1alpha1.PriorityP2:
		return 0.1, 0.1
	case v1alpha1.PriorityP3:
		return 0.25, 0.25
	default:
		return 0.4, 0.4
	}
}

// setSpec puts a spec into force. Tokens stay, as far as they fit, so that a
// change gives no burst.
func (g *group) setSpec(s *groupSpec, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.spec.Swap(s)
	if s.qps < 0 || (old != nil && old.qps == s.qps && old.burst == s.burst) {
		return
	}
	now = g.clamp(now)
	g.tokens.SetLimitAt(now, rate.Limit(s.qps))
	g.tokens.SetBurstAt(now, s.burst)
	if old == nil || old.qps < 0 {
		// There was no limit before: it begins with a full bucket.
		g.tokens.AllowN(now, -s.burst)
	}
}

// refusal is why a group does not take a request.
type refusal struct {
	reason     Reason
	retryAfter time.Duration
}

// admit takes a request, or says why not. A request that is taken must be
// released unless it is long-running.
func (g *group) admit(p v1alpha1.Priority, long bool, now time.Time) *refusal {
	refused := g.check(p, long, now, true)
	if refused != nil {
		g.refused.Add(1)
		return refused
	}
	if !long {
		g.inFlight.Add(1)
	}
	return nil
}

func (g *group) release(long bool) {
	if !long {
		g.inFlight.Add(-1)
	}
}

// check says whether the group's limits let a request pass, and takes a token if
// it is to.
func (g *group) check(p v1alpha1.Priority, long bool, now time.Time, take bool) *refusal {
	s := g.spec.Load()
	vital := p == v1alpha1.PriorityP0
	if !vital && s.shed && g.pressure.sheds(p) {
		return &refusal{Overloaded, time.Second}
	}
	keepTokens, keepSlots := reserved(p)
	if !vital && !long {
		underWay := g.inFlight.Load()
		if full(underWay, s.maxInFlight, keepSlots) {
			return &refusal{TooManyInFlight, time.Second}
		}
		if s.shed && keepSlots > 0 && full(underWay, g.adaptive.limit.Load(), keepSlots) {
			return &refusal{Overloaded, time.Second}
		}
	}
	if s.qps < 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now = g.clamp(now)
	tokens := g.tokens.TokensAt(now)
	if vital {
		// It counts, so that others wait for it; but not without end.
		if take && tokens > -float64(s.burst) {
			g.tokens.ReserveN(now, 1)
		}
		return nil
	}
	needed := 1 + keepTokens*float64(s.burst-1)
	if tokens < needed {
		return &refusal{RateExceeded, untilTokens(needed-tokens, s.qps)}
	}
	if take {
		g.tokens.AllowN(now, 1)
	}
	return nil
}

// clamp returns now, or the latest time if that is later.
func (g *group) clamp(now time.Time) time.Time {
	if now.Before(g.latest) {
		return g.latest
	}
	g.latest = now
	return now
}

// full tells whether as much is under way as a limit lets in of a priority from which
// a part of it is held back; a limit of 0 is none.
func full(underWay, limit int64, heldBack float64) bool {
	return limit > 0 && float64(underWay) >= math.Ceil(float64(limit)*(1-heldBack))
}

func untilTokens(missing, qps float64) time.Duration {
	const most = 30 * time.Second
	if qps <= 0 {
		return most
	}
	return min(most, time.Duration(missing/qps*float64(time.Second)))
}

// usable tells whether a server of the group is healthy.
func (g *group) usable(now int64) bool {
	for _, m := range g.spec.Load().members {
		if m.weight > 0 && m.has(healthy, now) {
			return true
		}
	}
	return false
}

func (g *group) longRunning() (n int64) {
	for _, m := range g.spec.Load().members {
		n += m.longRunning.Load()
	}
	return n
}

// shedding is the highest priority that is refused for overload at the moment; empty
// if none is.
func (g *group) shedding() v1alpha1.Priority {
	underWay, limit := g.inFlight.Load(), g.adaptive.limit.Load()
	for i := len(sheddable) - 1; i >= 0; i-- {
		_, heldBack := reserved(sheddable[i])
		if g.pressure.sheds(sheddable[i]) || full(underWay, limit, heldBack) {
			return sheddable[i]
		}
	}
	return ""
}

// state is what people see.
func (g *group) state(now time.Time) v1alpha1.GroupState {
	s := v1alpha1.GroupState{
		ObservedAt: metav1.NewMicroTime(now), InFlight: g.inFlight.Load(), LongRunning: g.longRunning(), Refused: g.refused.Load(),
		Shedding: g.shedding(),
	}
	if part := g.absence.returned(now, g.spec.Load().failback); part < 1 && g.usable(now.UnixNano()) {
		s.Returning = ptr.To(int32(part * 100))
	}
	for _, m := range g.spec.Load().members {
		s.Endpoints = append(s.Endpoints, m.state(now))
	}
	return s
}

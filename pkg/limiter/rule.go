package limiter

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// rule is a compiled RateLimit, part of a snapshot.
type rule struct {
	state  *state
	table  *table
	dryRun bool
}

// state is what a RateLimit has counted. It lives as long as the object.
type state struct {
	name   string
	limits atomic.Pointer[limits]
	// table is the one of the latest snapshot; guarded by Limiter.mu.
	table atomic.Pointer[table]

	// Decisions, and how many of the admitted were taken back because something
	// else refused the request.
	admitted, refused, wouldRefuse, refunded atomic.Int64
	inFlight, overflowing                    atomic.Int64

	history history
}

// table has the buckets of a rule.
type table struct {
	parts keyParts
	// scope is Global only if there are shared counters.
	scope  v1alpha1.Scope
	global *global // nil unless scope is Global
	state  *state

	// single is the bucket of a rule without keys, keyed those of one with keys.
	single *bucket
	keyed  *keyed
	// overflow is for the keys that have no bucket of their own.
	overflow *bucket
	// untouched is a bucket that nobody takes from: new ones start with its tokens.
	// It starts full with a new rule, with one token if what the rule counts by
	// has changed, and gets every change of the limits, so that no change gives a
	// burst to a key just because it has no bucket at the moment.
	untouched *bucket
}

func newTable(s *state, parts keyParts, scope v1alpha1.Scope, g *global, maxKeys int, now time.Time, tokens float64) *table {
	t := &table{parts: parts, scope: scope, state: s, untouched: newBucket(s.limits.Load(), now, tokens)}
	if scope == v1alpha1.ScopeGlobal {
		t.global = g
	}
	if parts == (keyParts{}) {
		t.single = t.newBucket(key{}, now)
		return t
	}
	t.keyed = newKeyed(maxKeys)
	t.overflow = t.newBucket(key{}, now)
	if t.overflow.lease != nil {
		t.overflow.lease.key = t.global.key(t.state.name, "overflow")
	}
	return t
}

func (t *table) newBucket(k key, now time.Time) *bucket {
	lim := t.state.limits.Load()
	if t.global == nil {
		b := newBucket(lim, now, t.untouched.tokensAt(now))
		b.key = k
		return b
	}
	b := newBucket(lim, now, 0)
	b.key = k
	b.lease = newLease(t.global, t.state.name, k)
	return b
}

// take takes a token and a slot from the bucket of the request.
func (t *table) take(a *request.Attributes, now time.Time) (*bucket, verdict) {
	lim := t.state.limits.Load()
	if t.single != nil {
		return t.single, t.single.take(t.global, lim, now)
	}
	k := t.parts.of(a)
	for {
		b := t.keyed.find(k, t, now)
		if b == nil {
			t.state.overflowing.Add(1)
			return t.overflow, t.overflow.take(t.global, lim, now)
		}
		if v := b.take(t.global, lim, now); !v.gone {
			return b, v
		}
	}
}

// each calls do for every bucket.
func (t *table) each(do func(*bucket)) {
	do(t.untouched)
	if t.single != nil {
		do(t.single)
		return
	}
	do(t.overflow)
	t.keyed.each(do)
}

// buckets counts those that requests have made.
func (t *table) buckets() int {
	if t.single != nil {
		return 1
	}
	return t.keyed.len()
}

// limitsOf computes what a spec means in a cluster of so many nodes.
func limitsOf(spec *v1alpha1.RateLimitSpec, nodes int) *limits {
	rate, burst := v1alpha1.EffectiveRate(spec, nodes)
	lim := &limits{rate: rate, burst: max(1, int(min(burst, math.MaxInt32)))}
	if spec.MaxInFlight != nil {
		lim.maxInFlight = max(1, int64(*spec.MaxInFlight))
	}
	switch spec.FailurePolicy {
	case v1alpha1.FailAllow:
		lim.failure = allow
	case v1alpha1.FailRefuse:
		lim.failure = refuse
	}
	return lim
}

func (l *limits) same(other *limits) bool {
	return l.rate == other.rate && l.burst == other.burst && l.maxInFlight == other.maxInFlight && l.failure == other.failure
}

// historySeconds is the period of the rates in LimitCounters.
const historySeconds = 10

// history has the counters of the last seconds. Limiter.Run adds to it.
type history struct {
	mu      sync.Mutex
	samples [historySeconds + 1]sample
	next    int
}

type sample struct {
	at                time.Time
	admitted, refused int64
}

func (h *history) add(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.samples[h.next] = s
	h.next = (h.next + 1) % len(h.samples)
}

// rates returns events per second between the oldest sample, at most ten
// seconds before, and now.
func (h *history) rates(now sample) (admitted, refused float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.samples {
		old := h.samples[(h.next+i)%len(h.samples)]
		age := now.at.Sub(old.at)
		if old.at.IsZero() || age <= 0 || age > (historySeconds+1)*time.Second {
			continue
		}
		return float64(now.admitted-old.admitted) / age.Seconds(), float64(now.refused-old.refused) / age.Seconds()
	}
	return 0, 0
}

package limiter

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// DefaultMaxKeys is how many buckets a rule may have: about 8 MB a rule if all
	// names have 100 bytes, see TestManyKeysStayBounded.
	DefaultMaxKeys = 16384

	// minRetryAfter is what Retry-After can say at least: it is in whole seconds.
	minRetryAfter = time.Second
	// maxPatience bounds how much longer than until the next token refused clients
	// of a contended bucket are told to wait.
	maxPatience = 30 * time.Second
	// closedRetryAfter is for rules that refuse all.
	closedRetryAfter = 10 * time.Second
)

// Config is what a Limiter needs.
type Config struct {
	// Clock is the time of all decisions.
	Clock clock.WithTicker
	// Registry gets the metrics; nil for none.
	Registry prometheus.Registerer
	// Shared are the counters of Global rules. Nil makes them count by replica.
	Shared Shared
	// Replica names this process among those that use the same counters. Default:
	// something random.
	Replica string
	// Jitter returns a number in [0, 1); it spreads RetryAfter. Default: random.
	Jitter func() float64
	// MaxKeys bounds the buckets of each rule. Default: DefaultMaxKeys.
	MaxKeys int
	// Log tells when the shared counters are lost and found.
	Log *zap.Logger
}

// Limiter decides which requests pass. It is safe for concurrent use.
type Limiter struct {
	clock   clock.WithTicker
	jitter  func() float64
	maxKeys int
	global  *global // nil without shared counters

	snapshot atomic.Pointer[snapshot]

	// mu is for Update.
	mu       sync.Mutex
	versions uint64
}

// snapshot is what requests are decided by. It is immutable.
type snapshot struct {
	phases [2]ruleSet
	// states are those of all rules, also of those that are off; uids are of their
	// objects.
	states map[string]*state
	uids   map[string]types.UID
}

// ruleSet are the rules of a phase.
type ruleSet struct {
	index *request.Index
	// rules are in the index's order.
	rules []rule
}

// Phase is when a rule is applied.
type Phase int

const (
	// BeforeAuthentication is for rules that look at nothing that authentication
	// tells.
	BeforeAuthentication Phase = iota
	// AfterAuthentication is for all others.
	AfterAuthentication
)

// Reason is why a request is refused.
type Reason string

const (
	// RateExceeded is no token.
	RateExceeded Reason = "RateExceeded"
	// TooManyInFlight is no slot.
	TooManyInFlight Reason = "TooManyInFlight"
	// Closed is a rule with qps 0.
	Closed Reason = "Closed"
	// NoCounters is a Global rule that refuses without its shared counters.
	NoCounters Reason = "NoCounters"
)

// Decision is what becomes of a request.
type Decision struct {
	Allowed bool
	// Rule is the one that refuses, Reason why.
	Rule   string
	Reason Reason
	// RetryAfter is when it is worth trying again, with jitter.
	RetryAfter time.Duration
	// QPS, Burst and MaxInFlight are the limits of the rule; MaxInFlight is 0 if
	// it has none.
	QPS         float64
	Burst       int
	MaxInFlight int64
}

// New returns a Limiter without rules.
func New(c Config) (*Limiter, error) {
	l := &Limiter{clock: c.Clock, jitter: c.Jitter, maxKeys: cmp.Or(c.MaxKeys, DefaultMaxKeys)}
	if l.jitter == nil {
		l.jitter = mathrand.Float64
	}
	l.snapshot.Store(&snapshot{})
	if c.Shared != nil {
		if c.Replica == "" {
			var id [8]byte
			if _, err := rand.Read(id[:]); err != nil {
				return nil, fmt.Errorf("name of the replica: %w", err)
			}
			c.Replica = hex.EncodeToString(id[:])
		}
		if c.Log == nil {
			c.Log = zap.NewNop()
		}
		l.global = newGlobal(c.Shared, c.Clock, c.Replica, c.Log)
	}
	if c.Registry != nil {
		if err := c.Registry.Register(collector{l}); err != nil {
			return nil, fmt.Errorf("limiter metrics: %w", err)
		}
	}
	return l, nil
}

// Update replaces the rules. The objects must be valid and are not changed. What
// a rule has counted stays as long as there is one of its name; what it counts by
// starts anew, without a burst, if `per` or `scope` change.
func (l *Limiter) Update(objects []*v1alpha1.RateLimit, nodes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	old := l.snapshot.Load()
	next := &snapshot{states: make(map[string]*state, len(objects)), uids: make(map[string]types.UID, len(objects))}
	var entries [2][]request.Entry
	objects = slices.SortedFunc(slices.Values(objects), func(a, b *v1alpha1.RateLimit) int { return cmp.Compare(a.Name, b.Name) })
	for _, o := range objects {
		s := l.updateState(old.states[o.Name], o, nodes, now)
		next.states[o.Name], next.uids[o.Name] = s, o.UID
		if o.Spec.Mode == v1alpha1.ModeOff {
			continue
		}
		phase := phaseOf(&o.Spec)
		entries[phase] = append(entries[phase], request.Entry{
			Match: *o.Spec.Match.DeepCopy(), Except: *o.Spec.Except.DeepCopy(), SpareVital: !request.NamesVital(&o.Spec.Match),
		})
		next.phases[phase].rules = append(next.phases[phase].rules,
			rule{state: s, table: s.table.Load(), dryRun: o.Spec.Mode == v1alpha1.ModeDryRun})
	}
	for phase := range next.phases {
		next.phases[phase].index = request.NewIndex(entries[phase])
	}
	l.snapshot.Store(next)
}

// updateState puts the limits of an object into force.
func (l *Limiter) updateState(s *state, o *v1alpha1.RateLimit, nodes int, now time.Time) *state {
	lim := limitsOf(&o.Spec, nodes)
	l.versions++
	lim.version, lim.since = l.versions, now
	lim.previousRate, lim.previousBurst = lim.rate, lim.room()
	parts, scope := partsOf(o.Spec.Per), v1alpha1.ScopeReplica
	if l.global != nil && o.Spec.Scope == v1alpha1.ScopeGlobal {
		scope = v1alpha1.ScopeGlobal
	}
	if s == nil {
		s = &state{name: o.Name}
		s.limits.Store(lim)
		s.table.Store(newTable(s, parts, scope, l.global, l.maxKeys, now, math.MaxInt32))
		return s
	}
	table := s.table.Load()
	if before := s.limits.Load(); !before.same(lim) {
		lim.previousRate, lim.previousBurst = before.rate, before.room()
		// In this order: a bucket that is made meanwhile has the new limits, one that
		// was made before is among those changed.
		s.limits.Store(lim)
		table.each(func(b *bucket) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.setLimits(lim, now)
		})
	}
	if table.parts != parts || table.scope != scope {
		s.table.Store(newTable(s, parts, scope, l.global, l.maxKeys, now, 1))
	}
	return s
}

// phaseOf returns the earliest phase in which a rule can be decided.
func phaseOf(spec *v1alpha1.RateLimitSpec) Phase {
	if request.NeedsIdentity(&spec.Match) || request.NeedsIdentity(&spec.Except) || slices.Contains(spec.Per, v1alpha1.PerUser) {
		return AfterAuthentication
	}
	return BeforeAuthentication
}

// Admit decides by all rules of a phase. What they grant is noted in t, which is
// used for all phases of a request. If one refuses, everything in t goes back.
func (l *Limiter) Admit(phase Phase, a *request.Attributes, t *Ticket) Decision {
	set := &l.snapshot.Load().phases[phase]
	if len(set.rules) == 0 {
		return Decision{Allowed: true}
	}
	var room [32]int32
	hits := set.index.Find(a, room[:0])
	if len(hits) == 0 {
		return Decision{Allowed: true}
	}
	now := l.clock.Now()
	first := t.n
	for _, id := range hits {
		r := &set.rules[id]
		b, v := r.table.take(a, now)
		if v.pending != nil {
			v = l.wait(b, r.state, v.pending)
			now = l.clock.Now()
		}
		switch {
		case v.ok:
			r.state.inFlight.Add(1)
			t.add(grant{r.state, b, v.source})
			// What is only tried out changes nothing.
			t.scarce = t.scarce || v.scarce && !r.dryRun
		case r.dryRun:
			r.state.wouldRefuse.Add(1)
		default:
			r.state.refused.Add(1)
			t.giveBack(now, first)
			return l.refusal(r.state, v)
		}
	}
	for i := first; i < t.n; i++ {
		t.at(i).state.admitted.Add(1)
	}
	t.limiter = l
	return Decision{Allowed: true}
}

func (l *Limiter) refusal(s *state, v verdict) Decision {
	lim := s.limits.Load()
	return Decision{
		Rule: s.name, Reason: v.reason, RetryAfter: l.retryAfter(v),
		QPS: lim.rate, Burst: lim.burst, MaxInFlight: lim.maxInFlight,
	}
}

// retryAfter tells a refused client when to come back. client-go does so up to
// ten times. Clients that were refused together must not come back together, so
// up to half is added at random; and where many ask for each token, the time
// until the next one is of no use to nearly all of them: the wait doubles as the
// refusals since the last admission square.
func (l *Limiter) retryAfter(v verdict) time.Duration {
	wait := max(minRetryAfter, v.wait)
	switch v.reason {
	case Closed:
		wait = closedRetryAfter
	case RateExceeded:
		patience := time.Duration(float64(minRetryAfter) * (1 + math.Log2(float64(max(1, v.refusals)))))
		wait = max(wait, min(patience, maxPatience))
	}
	if wait > math.MaxInt64/2 {
		return wait
	}
	return wait + time.Duration(l.jitter()*float64(wait/2))
}

// wait takes from a bucket whose tokens are being asked for.
func (l *Limiter) wait(b *bucket, s *state, pending <-chan struct{}) verdict {
	timer := l.clock.NewTimer(maxWait)
	defer timer.Stop()
	for {
		timeout := false
		select {
		case <-pending:
		case <-timer.C():
			timeout = true
		}
		v := b.takeAfterWait(l.global, s.limits.Load(), l.clock.Now(), timeout)
		if v.pending == nil {
			return v
		}
		pending = v.pending
	}
}

// Live returns what has been counted for a rule, without the replica's name.
func (l *Limiter) Live(name string) (v1alpha1.LimitCounters, bool) {
	s, ok := l.snapshot.Load().states[name]
	if !ok {
		return v1alpha1.LimitCounters{}, false
	}
	return l.counters(s), true
}

// LiveAll returns what Live does, for all rules by name.
func (l *Limiter) LiveAll() map[string]v1alpha1.LimitCounters {
	all := map[string]v1alpha1.LimitCounters{}
	for name, s := range l.snapshot.Load().states {
		all[name] = l.counters(s)
	}
	return all
}

// UID returns that of the RateLimit that a rule is made of; empty if there is none.
func (l *Limiter) UID(name string) types.UID { return l.snapshot.Load().uids[name] }

// Tokens returns how many tokens the rule of that name has for a request, and
// makes no bucket for it. For a Global rule these are the tokens that this
// replica has at hand; there may be more in the shared counters.
func (l *Limiter) Tokens(name string, a *request.Attributes) (float64, bool) {
	s, ok := l.snapshot.Load().states[name]
	if !ok {
		return 0, false
	}
	now, table := l.clock.Now(), s.table.Load()
	b := table.single
	if b == nil {
		b = table.keyed.peek(table.parts.of(a))
	}
	switch {
	case b == nil && table.global != nil:
		return 0, true
	case b == nil:
		return table.untouched.tokensAt(now), true
	case b.lease != nil:
		return b.leasedTokens(table.global, now), true
	}
	return b.tokensAt(now), true
}

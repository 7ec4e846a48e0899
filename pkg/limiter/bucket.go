package limiter

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// limits are the numbers of a rule. They are immutable; a change makes new ones
// with a higher version.
type limits struct {
	version uint64
	// since is when they came into force.
	since time.Time
	// rate is in tokens per second; 0 refuses all.
	rate  float64
	burst int
	// maxInFlight is 0 if there is no bound.
	maxInFlight int64
	// previous are the rate and burst that were in force before, for buckets that
	// have not been looked at since; the same ones if there were none.
	previousRate  float64
	previousBurst int
	failure       failure
}

// failure is what a global rule does without the shared counters.
type failure uint8

const (
	share failure = iota
	allow
	refuse
)

// room is how many tokens a bucket can hold. A closed rule holds none, so that
// opening it again gives no burst.
func (l *limits) room() int {
	if l.rate == 0 {
		return 0
	}
	return l.burst
}

// source is where a token came from, and goes back to.
type source uint8

const (
	// free is an admission that took no token.
	free source = iota
	// counted is a token of the bucket's own limiter, also of a share of a global rule.
	counted
	// leased is a token from the shared counters.
	leased
)

// verdict is what a bucket says.
type verdict struct {
	ok     bool
	source source
	reason Reason
	// wait is the time until a token is there, refusals how many requests have
	// asked in vain since the last that was admitted.
	wait     time.Duration
	refusals int
	// scarce tells of what is granted that it was asked for in vain just before.
	scarce bool
	// gone tells that the bucket has been forgotten: look it up again.
	gone bool
	// pending is closed when more is known.
	pending <-chan struct{}
}

// bucket holds the tokens of a rule, or of one key of a rule.
//
// rate.Limiter keeps its bounds on two conditions that mu is there for. Time
// must not go back: a call with an earlier time moves the limiter's own time
// back, and what has flowed in since flows in again. And a refund is AllowN of
// -1, which may leave a token more than the burst; every later call caps
// the tokens before it uses them, SetBurstAt by the old burst (reserveN and
// advance in rate.go; TestRefundKeepsBurst).
type bucket struct {
	mu     sync.Mutex
	tokens rate.Limiter
	// latest is the last time that tokens has seen.
	latest   time.Time
	limits   *limits
	refusals int
	gone     bool

	// inFlight grows under mu only, so that it never passes maxInFlight.
	inFlight atomic.Int64

	key key
	// lease is nil if the rule is not global.
	lease *lease
}

func limit(perSecond float64) rate.Limit { return rate.Limit(perSecond) }

// newBucket returns a bucket with tokens, as far as they fit.
func newBucket(lim *limits, now time.Time, tokens float64) *bucket {
	b := &bucket{limits: lim, latest: now}
	tokens = min(tokens, float64(lim.room()))
	start := now
	if whole := math.Floor(tokens); tokens > whole {
		// A part of a token is one that has been flowing in for a while.
		start = now.Add(-seconds((tokens - whole) / lim.rate))
	}
	// The zero Limiter is empty and at rate 0, so this makes no tokens.
	b.tokens.SetLimitAt(start, limit(lim.rate))
	b.tokens.SetBurstAt(start, lim.room())
	if whole := int(tokens); whole > 0 {
		b.tokens.AllowN(start, -whole)
	}
	return b
}

// clamp returns now, or the latest time if that is later.
func (b *bucket) clamp(now time.Time) time.Time {
	if now.Before(b.latest) {
		return b.latest
	}
	b.latest = now
	return now
}

// setLimits puts newer limits into force. The tokens stay, as far as they fit.
func (b *bucket) setLimits(lim *limits, now time.Time) {
	if lim.version <= b.limits.version {
		return
	}
	b.limits = lim
	if b.lease != nil {
		// Its tokens are in Redis, and its share looks by itself.
		if lim.rate == 0 {
			b.lease.pool = 0
		}
		return
	}
	now = b.clamp(now)
	b.tokens.SetLimitAt(now, limit(lim.rate))
	b.tokens.SetBurstAt(now, lim.room())
}

// take takes a token and a slot.
func (b *bucket) take(g *global, lim *limits, now time.Time) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return verdict{gone: true}
	}
	b.setLimits(lim, now)
	lim = b.limits
	if lim.rate == 0 {
		return verdict{reason: Closed}
	}
	if lim.maxInFlight > 0 && b.inFlight.Load() >= lim.maxInFlight {
		return verdict{reason: TooManyInFlight}
	}
	var v verdict
	if b.lease != nil {
		b.lease.arrivals++
		b.lease.recent++
		v = b.takeGlobal(g, now)
	} else {
		v = b.takeLocal(now)
	}
	b.count(&v)
	return v
}

// count counts a verdict, unless more will be known.
func (b *bucket) count(v *verdict) {
	switch {
	case v.ok:
		v.scarce = b.refusals > 0
		b.refusals = 0
		b.inFlight.Add(1)
	case v.pending == nil:
		b.refusals++
		v.refusals = b.refusals
	}
}

func (b *bucket) takeLocal(now time.Time) verdict {
	now = b.clamp(now)
	if b.tokens.AllowN(now, 1) {
		return verdict{ok: true, source: counted}
	}
	missing := 1 - b.tokens.TokensAt(now)
	return verdict{reason: RateExceeded, wait: seconds(missing / float64(b.tokens.Limit()))}
}

// refund gives back a token; its slot stays taken.
func (b *bucket) refund(from source, now time.Time) {
	if from == free {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if from == leased {
		b.lease.pool++
		b.hold()
		return
	}
	b.tokens.AllowN(b.clamp(now), -1)
	if b.lease != nil {
		b.lease.spent = max(0, b.lease.spent-1)
	}
}

func (b *bucket) tokensAt(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.latest) {
		now = b.latest
	}
	return b.tokens.TokensAt(now)
}

// seconds converts without overflow.
func seconds(s float64) time.Duration {
	if s >= math.MaxInt64/float64(time.Second) || math.IsNaN(s) {
		return math.MaxInt64
	}
	return time.Duration(s * float64(time.Second))
}

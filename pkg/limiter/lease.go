package limiter

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// lease is a bucket's part in the shared counters. The bucket's lock guards it.
// The bucket's own limiter is its share while the counters are away.
type lease struct {
	global *global
	key    string
	// pool are leased tokens.
	pool int
	// held tells that the bucket is in global.holders.
	held bool

	// asking is set while a call is queued or under way, for which waiting requests
	// wait; done is closed at its end.
	asking  bool
	waiting int
	done    chan struct{}
	// askAfter is until when there is nothing.
	askAfter time.Time
	seen     int64

	// arrivals since askedAt give demand, a decaying mean per second, and with it
	// the size of leases. recent are those since the last sweep.
	arrivals, recent int
	askedAt          time.Time
	demand           float64
	want             int

	// outage is the one that the share belongs to, settled the last one that the
	// counters have been told of.
	outage, settled uint64
	shareRate       float64
	shareBurst      int
	// spent are tokens of the share since the present probe, spentBefore since the
	// one before.
	probe              uint64
	spent, spentBefore int
	// debt is what was owed after an earlier outage, if the next one came before
	// the counters could be told.
	debt int
}

func newLease(g *global, name string, k key) *lease {
	l := &lease{global: g, key: g.key(name, "")}
	if k != (key{}) {
		sum := sha256.Sum256([]byte(k.client + "\x00" + k.user + "\x00" + k.namespace + "\x00" + string(k.source[:])))
		l.key = g.key(name, hex.EncodeToString(sum[:16]))
	}
	return l
}

// takeGlobal takes a leased token, or a share of the counters are away. The
// bucket is locked.
func (b *bucket) takeGlobal(g *global, now time.Time) verdict {
	le := b.lease
	if le.pool > 0 {
		le.pool--
		if le.want > 1 && le.pool < le.want/2 && !le.asking && !now.Before(le.askAfter) && !g.status.Load().away {
			b.ask(g)
		}
		return verdict{ok: true, source: leased}
	}
	if st := g.status.Load(); st.away {
		return b.takeShare(st, now)
	}
	if !le.asking {
		if wait := le.askAfter.Sub(now); wait > 0 {
			return verdict{reason: RateExceeded, wait: wait}
		}
		if !b.ask(g) {
			return verdict{reason: RateExceeded}
		}
	}
	// Those who could not all be served do not wait.
	if le.waiting >= b.limits.burst {
		return verdict{reason: RateExceeded}
	}
	le.waiting++
	return verdict{reason: RateExceeded, pending: le.done}
}

// ask queues a call; false if there are too many.
func (b *bucket) ask(g *global) bool {
	select {
	case g.asks <- b:
		b.lease.asking, b.lease.done = true, make(chan struct{})
		return true
	default:
		return false
	}
}

// takeAfterWait is take for a request that has waited for a lease. If that has
// taken too long it is decided with what there is.
func (b *bucket) takeAfterWait(g *global, lim *limits, now time.Time, timeout bool) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return verdict{reason: RateExceeded}
	}
	b.setLimits(lim, now)
	var v verdict
	switch lim = b.limits; {
	case lim.rate == 0:
		v.reason = Closed
	case lim.maxInFlight > 0 && b.inFlight.Load() >= lim.maxInFlight:
		v.reason = TooManyInFlight
	default:
		v = b.takeGlobal(g, now)
	}
	if v.pending != nil && timeout {
		b.lease.waiting = max(0, b.lease.waiting-1)
		v.pending = nil
		v.ok = b.limits.failure == allow
	}
	b.count(&v)
	return v
}

// takeShare decides without the counters.
func (b *bucket) takeShare(st *status, now time.Time) verdict {
	switch b.limits.failure {
	case allow:
		return verdict{ok: true}
	case refuse:
		return verdict{reason: NoCounters}
	}
	b.share(st, now)
	v := b.takeLocal(now)
	if v.ok {
		b.rotate(st)
		b.lease.spent++
	}
	return v
}

// share makes the bucket's own limiter its share of the rule. It starts empty
// when the outage was noticed.
func (b *bucket) share(st *status, now time.Time) {
	le, n := b.lease, float64(st.replicas)
	perSecond, burst := b.limits.rate/n, max(1, b.limits.burst/st.replicas)
	if le.outage != st.outage {
		if le.settled < le.outage {
			le.debt += le.spent + le.spentBefore
		}
		le.outage, le.probe, le.spent, le.spentBefore = st.outage, st.probe, 0, 0
		b.latest = st.noticed
		b.tokens.SetBurstAt(b.latest, 0)
		le.shareRate, le.shareBurst = 0, 0
		now = b.latest
	}
	if le.shareRate != perSecond || le.shareBurst != burst {
		le.shareRate, le.shareBurst = perSecond, burst
		now = b.clamp(now)
		b.tokens.SetLimitAt(now, limit(perSecond))
		b.tokens.SetBurstAt(now, burst)
	}
}

// rotate brings spent up to the present probe.
func (b *bucket) rotate(st *status) {
	le := b.lease
	switch st.probe - le.probe {
	case 0:
	case 1:
		le.spentBefore, le.spent = le.spent, 0
	default:
		le.spentBefore, le.spent = 0, 0
	}
	le.probe = st.probe
}

// idle tells whether the shared counters know everything about the bucket. It
// is locked.
func (b *bucket) idle(g *global, now time.Time) bool {
	le, st := b.lease, g.status.Load()
	if le.pool > 0 || le.asking || le.debt > 0 || now.Before(le.askAfter) {
		return false
	}
	if le.outage != st.outage {
		return true
	}
	if st.away {
		return b.tokens.TokensAt(b.clamp(now)) >= float64(le.shareBurst)
	}
	return le.settled == st.outage || le.spent+le.spentBefore == 0
}

func (b *bucket) leasedTokens(g *global, now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	tokens := float64(b.lease.pool)
	if st := g.status.Load(); st.away && b.limits.failure == share && b.limits.rate > 0 {
		b.share(st, now)
		tokens += b.tokens.TokensAt(b.clamp(now))
	}
	return tokens
}

// leaseRequest says what the bucket needs.
func (b *bucket) leaseRequest(g *global, st *status, now time.Time) LeaseRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	le, lim := b.lease, b.limits
	elapsed := max(now.Sub(le.askedAt), time.Millisecond)
	le.demand = (le.demand + float64(le.arrivals)/elapsed.Seconds()) / 2
	le.arrivals, le.askedAt = 0, now
	ahead := min(int(le.demand*leaseAhead.Seconds()), lim.burst/leaseShare)
	le.want = max(1, ahead)
	r := LeaseRequest{
		Key: le.key, Tokens: min(max(le.want, le.waiting), lim.burst), Rate: lim.rate, Burst: lim.room(),
		Age: now.Sub(lim.since), PreviousRate: lim.previousRate, PreviousBurst: lim.previousBurst,
		Seen: le.seen,
	}
	if le.settled != st.outage {
		r.Outage, r.Failed, r.OutageTo = true, now.Sub(st.failed), now.Sub(st.to)
		r.OutageFrom = now.Sub(g.outagesSince(le.settled + 1))
		if le.outage == st.outage {
			b.rotate(st)
		}
		r.Debt = le.debt
		if le.settled < le.outage {
			r.Owed = le.spent + le.spentBefore
		}
	}
	return r
}

// leaseDone takes what the call has brought, and wakes those who wait for it.
func (b *bucket) leaseDone(st *status, asked LeaseRequest, result LeaseResult, err error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	le := b.lease
	le.asking, le.waiting = false, 0
	close(le.done)
	if err != nil {
		return
	}
	le.seen, le.settled, le.debt = result.Now, st.outage, 0
	le.pool += result.Tokens
	le.askAfter = time.Time{}
	if result.Tokens < asked.Tokens {
		// Not longer than the bucket takes to fill by a quarter, so that nothing
		// overflows meanwhile.
		pace := min(minPace, seconds(float64(asked.Burst)/asked.Rate/4))
		le.askAfter = now.Add(max(result.Wait, pace))
	}
	b.hold()
}

// hold notes a bucket that has leased tokens. It is locked.
func (b *bucket) hold() {
	if le := b.lease; le.pool > 0 && !le.held {
		le.held = true
		le.global.holdersMu.Lock()
		defer le.global.holdersMu.Unlock()
		le.global.holders = append(le.global.holders, b)
	}
}

package cache

import (
	"sync/atomic"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// freshness says how new the state must be for a read that asks for the newest.
//
// By default it holds everything that was acknowledged before the read. Clients of
// a class with Relaxed reads get one that is up to maxStaleness older, but never one
// from before their own last write. With a ServeStale switch everybody gets what
// there is while upstream is away.
//
// A client that a limit refuses more than it lets pass does not get what passes
// sooner than a proof can be shared: its strict reads cost upstream next to nothing.
func (c *Cache) freshness(s *stream, a *request.Attributes, p point) point {
	now := c.config.Clock.Now()
	if c.config.ServeStale(a) && s.away(now) {
		p.kind = anyState
		return p
	}
	p.need.since = now
	p.need.patient = p.need.patient || a.Scarce()
	if a.Reads.Mode != v1alpha1.ReadRelaxed || a.Reads.MaxStaleness == nil {
		return p
	}
	staleness := a.Reads.MaxStaleness.Duration
	s.relaxed.asked(p.need.since, staleness)
	wrote, writing := c.writes.last(a)
	if writing {
		return p
	}
	if since := p.need.since.Add(-staleness); since.After(wrote) {
		p.need.since = since
	} else {
		p.need.since = wrote
	}
	return p
}

// relaxedFor is how long a state is kept proved for clients with Relaxed reads
// after the last one has come.
const relaxedFor = 30 * time.Second

// relaxed keeps a state proved while there are clients whose reads may be a little
// stale, so that they need not wait for that. The zero value is ready.
type relaxed struct {
	// until is in Unix nanoseconds, staleness the least that was asked for until then.
	until, staleness atomic.Int64
	proving          atomic.Bool
}

// asked notes a read.
func (x *relaxed) asked(now time.Time, staleness time.Duration) {
	if least := x.staleness.Load(); now.UnixNano() > x.until.Load() || int64(staleness) < least {
		x.staleness.Store(int64(staleness))
	}
	x.until.Store(now.Add(relaxedFor).UnixNano())
}

// due tells whether a proof is to be made; done must follow.
func (x *relaxed) due(now time.Time, known *proof) bool {
	if now.UnixNano() > x.until.Load() {
		return false
	}
	if known != nil && now.Sub(known.at) < time.Duration(x.staleness.Load())/2 {
		return false
	}
	return x.proving.CompareAndSwap(false, true)
}

func (x *relaxed) done() { x.proving.Store(false) }

// outageAfter is how long changes are not followed before upstream counts as away: a
// watch that ends is opened again sooner.
const outageAfter = 3 * time.Second

// away tells that changes have not been followed for a while.
func (s *stream) away(now time.Time) bool {
	since := s.disconnected.Load()
	return since != 0 && now.Sub(time.Unix(0, since)) >= outageAfter
}

// outage returns the warning of answers that nobody knows to be current; empty
// while changes are followed.
func (s *stream) outage(now time.Time) string {
	if !s.away(now) {
		return ""
	}
	since := time.Unix(0, s.disconnected.Load())
	return `299 - "answered by the gateway from memory: it has not heard from a kube-apiserver since ` + since.UTC().Format(time.RFC3339) + `"`
}

package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// proof is that the state holds everything that was acknowledged before a moment.
type proof struct {
	at time.Time
	// rv is a resource version that the state has reached since.
	rv uint64
}

const (
	// patience is how long a read waits for the state to reach what upstream has
	// told: the event that makes the difference is on its way, or the resource is
	// quiet and it will not come.
	patience = 20 * time.Millisecond
	// despair is after how many misses in a row probes are given up, but for one
	// in sample, which finds out when they help again.
	despair = 3
	sample  = 32
	// stormAbove is how many reads of a second have to be proved in another way than
	// by a probe for that to be worth a fence, which takes about a second; hugeAbove
	// is the size of a list for which it is always, in bytes: an apiserver takes longer
	// to write as much.
	stormAbove = 50
	hugeAbove  = 128 << 20
	// fenceWithin bounds the wait for a fence: that of others, and then the own.
	fenceWithin = 6 * time.Second
)

// proofs finds out whether the state is new enough for a read, and remembers.
type proofs struct {
	newest atomic.Pointer[proof]
	misses atomic.Int32
	asked  atomic.Uint32
	// vain is how many waits in a row for a resource version were.
	vain atomic.Int32
	// unproved are the reads of this second and of the one before that a probe did
	// not help; forlorn those that were given up before anybody knew whether they are
	// allowed.
	unproved, unprovedBefore, forlorn atomic.Int32
}

// note remembers a proof.
func (p *proofs) note(at time.Time, rv uint64) {
	fresh := &proof{at, rv}
	for {
		known := p.newest.Load()
		if known != nil && !known.at.Before(at) {
			return
		}
		if p.newest.CompareAndSwap(known, fresh) {
			return
		}
	}
}

// noteOther remembers a proof that is not by a probe. The state is where upstream is:
// the next read finds out whether a probe shows that, which costs less.
func (p *proofs) noteOther(at time.Time, rv uint64) {
	p.note(at, rv)
	p.misses.Store(min(p.misses.Load(), despair-1))
}

// tick begins a new second.
func (p *proofs) tick() {
	p.unprovedBefore.Store(p.unproved.Swap(0))
	p.forlorn.Store(0)
}

// need is how new a state must be, and what it is worth to show that it is.
type need struct {
	// since is the moment before which everything must be in it.
	since time.Time
	// patient is for reads that are better served in a second than forwarded now:
	// watches that begin with the state, whose clients make hundreds of requests more
	// if they are turned away; and what comes from clients that ask more often than
	// their limits allow.
	patient bool
	// bytes is the size of what is to be answered.
	bytes int64
}

// prove waits until the state is known to be as new as is needed, and returns a
// resource version that it has reached; false if that cannot be shown soon.
func (s *stream) prove(ctx context.Context, n need) (rv uint64, ok bool) {
	if skipProof {
		return 1, true
	}
	if known := s.proofs.newest.Load(); known != nil && known.at.After(n.since) {
		return known.rv, true
	}
	if s.disconnected.Load() != 0 {
		return 0, false
	}
	if s.proofs.misses.Load() < despair || s.proofs.asked.Add(1)%sample == 0 {
		if rv, ok := s.proveByProbe(ctx, n.patient); ok {
			return rv, true
		}
	}
	// Who is patient makes no storm: others would have to wait, too.
	if n.patient || n.bytes > hugeAbove || s.proofs.unproved.Add(1) > stormAbove || s.proofs.unprovedBefore.Load() > stormAbove {
		return s.proveByFence(ctx)
	}
	s.behind()
	return 0, false
}

// forlorn tells, and counts, that a GET would not be proved by prove, which need not
// be called then: to ask whether a client may have the object costs as much as to
// forward its request. Many of them may be a storm, of which those count that are
// allowed: nobody can have all wait for fences by asking for what he must not see.
func (s *stream) forlorn(n need) bool {
	p := &s.proofs
	if skipProof || n.patient || s.disconnected.Load() != 0 || p.misses.Load() < despair || (p.asked.Load()+1)%sample == 0 {
		return false
	}
	if known := p.newest.Load(); known != nil && known.at.After(n.since) {
		return false
	}
	if p.unprovedBefore.Load() > stormAbove || p.forlorn.Add(1) > stormAbove {
		return false
	}
	p.asked.Add(1)
	s.behind()
	return true
}

// proveByProbe asks upstream how far it is, and waits for the state to get there.
func (s *stream) proveByProbe(ctx context.Context, patient bool) (rv uint64, ok bool) {
	before := s.hub.Snapshot().ResourceVersion()
	told, err := s.probe.now(ctx, patient)
	if err != nil {
		return 0, false
	}
	if told.value < before {
		s.restart(restored(told.value, before))
		return 0, false
	}
	if !s.reach(ctx, told.value, patience) {
		s.proofs.misses.Add(1)
		return 0, false
	}
	s.proofs.misses.Store(0)
	s.proofs.vain.Store(0)
	s.lift.helped()
	s.proofs.note(told.at, told.value)
	return told.value, true
}

func restored(now, before uint64) error {
	return fmt.Errorf("upstream is at resource version %d after %d: its store was restored", now, before)
}

func (s *stream) proveByFence(ctx context.Context) (rv uint64, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, fenceWithin)
	defer cancel()
	told, err := s.fence.now(ctx, true)
	if err != nil {
		return 0, false
	}
	s.proofs.noteOther(told.at, told.value)
	return told.value, true
}

// arrives waits until the state has reached a resource version that a client knows.
// If it does not come soon, the resource is quiet, and it will not come at all; or it
// is the future to upstream, too. After a few such waits there are no more of them,
// as with probes.
func (s *stream) arrives(ctx context.Context, rv uint64) bool {
	if s.hub.Snapshot().ResourceVersion() >= rv {
		return true
	}
	if s.proofs.vain.Load() >= despair && s.proofs.asked.Add(1)%sample != 0 {
		return false
	}
	if !s.reach(ctx, rv, patience) {
		s.proofs.vain.Add(1)
		return false
	}
	s.proofs.vain.Store(0)
	return true
}

// reach waits until the state has reached a resource version.
func (s *stream) reach(ctx context.Context, rv uint64, within time.Duration) bool {
	reached := s.hub.Reached(rv)
	if reached == nil {
		return true
	}
	timer := s.clock.NewTimer(within)
	defer timer.Stop()
	select {
	case <-reached:
		return true
	case <-timer.C():
	case <-ctx.Done():
	}
	s.hub.Forget(reached)
	return false
}

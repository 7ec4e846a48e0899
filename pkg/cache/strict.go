package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// patience is how long a strict read waits for the state to reach what upstream
	// has told: the event that makes the difference is on its way, or the resource
	// is quiet and it will not come.
	patience = 20 * time.Millisecond
	// despair is after how many misses in a row strict reads are forwarded at once,
	// but for one in sample, which finds out when it works again.
	despair = 3
	sample  = 32
)

// strictness remembers how often it worked to prove that the state is the newest.
type strictness struct {
	misses atomic.Int32
	asked  atomic.Uint32
}

// newest waits until the state is at least as new as everything that was
// acknowledged before the call, and returns its resource version at the least;
// false if that cannot be proved soon.
func (s *stream) newest(ctx context.Context) (rv uint64, ok bool) {
	if s.disconnected.Load() != 0 {
		return 0, false
	}
	if s.strict.misses.Load() >= despair && s.strict.asked.Add(1)%sample != 0 {
		return 0, false
	}
	before := s.hub.Snapshot().ResourceVersion()
	rv, err := s.probe.now(ctx)
	if err != nil {
		return 0, false
	}
	if rv < before {
		s.restart(fmt.Errorf("upstream is at resource version %d after %d: its store was restored", rv, before))
		return 0, false
	}
	if !s.reach(ctx, rv, patience) {
		s.strict.misses.Add(1)
		return 0, false
	}
	s.strict.misses.Store(0)
	return rv, true
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

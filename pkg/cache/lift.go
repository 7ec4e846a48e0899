package cache

import (
	"context"
	"sync"
	"time"
)

// liftPause is how far apart lifts are at least, and liftPauseMax at most, where one
// after another has been in vain.
const (
	liftPause    = time.Second
	liftPauseMax = time.Minute
)

// lift raises a quiet resource to where upstream is, by a fence in the background,
// so that the reads after those that found it behind are proved by a probe again.
// One write to another resource is enough to leave it behind, and every apiserver
// makes one each ten seconds, to its lease. Where others are written all the time a
// lift is in vain, and the next one comes later. The zero value is ready.
type lift struct {
	mu      sync.Mutex
	running bool
	last    time.Time
	pause   time.Duration
}

// due tells whether it is time for one; done must follow.
func (l *lift) due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running || now.Before(l.last.Add(l.pause)) {
		return false
	}
	l.running = true
	return true
}

func (l *lift) done(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running, l.last, l.pause = false, now, min(max(2*l.pause, liftPause), liftPauseMax)
}

// helped notes that a read was proved by a probe. Where others are written all the time
// the first one behind a lift may be, now and then; where many are, the pause is soon
// the shortest again.
func (l *lift) helped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pause = min(l.pause, max(l.pause/2, liftPause/2))
}

// behind notes that a read could not be proved.
func (s *stream) behind() {
	if !s.lift.due(s.clock.Now()) {
		return
	}
	go func() {
		_, _ = s.proveByFence(context.Background())
		s.lift.done(s.clock.Now())
	}()
}

package cache

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// together asks a question for all who want to know.
//
// Who comes joins the next question, not the one that is under way: that may have
// been answered before, and what was written between would be missed. So one
// question is under way at a time, and one gathers who comes meanwhile.
type together struct {
	// ask is the question. It ends by itself.
	ask   func() (uint64, error)
	clock clock.WithTicker
	// pace is how far apart questions are while nobody is in a hurry.
	pace time.Duration

	mu      sync.Mutex
	running bool
	asked   time.Time
	next    *gathering
}

// gathering is who waits for a question, and its answer.
type gathering struct {
	// members is how many they are.
	members  int
	hurry    chan struct{}
	hurried  bool
	answered chan struct{}
	told     proof
	err      error
}

// now returns the answer to a question that was asked after the call, and when.
func (t *together) now(ctx context.Context, patient bool) (proof, error) {
	t.mu.Lock()
	if t.next == nil {
		t.next = &gathering{hurry: make(chan struct{}), answered: make(chan struct{})}
		if !t.running {
			t.running = true
			go t.run()
		}
	}
	mine := t.next
	mine.members++
	if !patient && !mine.hurried {
		mine.hurried = true
		close(mine.hurry)
	}
	t.mu.Unlock()
	select {
	case <-mine.answered:
		return mine.told, mine.err
	case <-ctx.Done():
		return proof{}, ctx.Err()
	}
}

// run asks as long as somebody waits.
func (t *together) run() {
	for {
		t.mu.Lock()
		mine, wait := t.next, t.pace-t.clock.Since(t.asked)
		if mine == nil {
			t.running = false
			t.mu.Unlock()
			return
		}
		if wait > 0 && !mine.hurried {
			t.mu.Unlock()
			timer := t.clock.NewTimer(wait)
			select {
			case <-mine.hurry:
			case <-timer.C():
			}
			timer.Stop()
			t.mu.Lock()
		}
		t.next = nil
		// A moment before the question, and after the last one has joined.
		now := t.clock.Now()
		t.asked = now
		t.mu.Unlock()
		mine.told.at = now
		mine.told.rv, mine.err = t.ask()
		close(mine.answered)
	}
}

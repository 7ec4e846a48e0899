package cache

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// together asks a question for all who want to know. T is an answer.
//
// Who comes joins the next question, not the one that is under way: that may have
// been answered before, and what was written between would be missed. So one
// question is under way at a time, and one gathers who comes meanwhile.
type together[T any] struct {
	// ask is the question. It ends by itself.
	ask   func() (T, error)
	clock clock.WithTicker
	// pace is how far apart questions are while nobody is in a hurry.
	pace time.Duration

	mu      sync.Mutex
	running bool
	asked   time.Time
	next    *gathering[T]
}

// gathering is who waits for a question, and its answer.
type gathering[T any] struct {
	// members is how many they are.
	members  int
	hurry    chan struct{}
	hurried  bool
	answered chan struct{}
	told     told[T]
	err      error
}

// told is an answer to a question that was asked at a moment.
type told[T any] struct {
	at    time.Time
	value T
}

// now returns the answer to a question that was asked after the call, and when.
func (t *together[T]) now(ctx context.Context, patient bool) (told[T], error) {
	t.mu.Lock()
	if t.next == nil {
		t.next = &gathering[T]{hurry: make(chan struct{}), answered: make(chan struct{})}
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
		return told[T]{}, ctx.Err()
	}
}

// run asks as long as somebody waits.
func (t *together[T]) run() {
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
		mine.told.value, mine.err = t.ask()
		close(mine.answered)
	}
}

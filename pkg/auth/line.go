package auth

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// lines are where tokens wait for their review. Together they bound the TokenReviews
// under way, whatever clients send: a flood of random tokens must not become a flood
// at the apiservers. Each has its own places, so that such a flood keeps waiting those
// alone who come as it does.
type lines struct {
	// known is for tokens that have been good: who has one does not wait for strangers,
	// and a flood of those is not the outage in which an old answer holds. It has no
	// bound of its own: there are no more of them than the cache has, each once.
	known line
	// spared is for requests that no limit bounds before they are authenticated.
	spared line
	others line
}

func newLines() lines {
	return lines{
		known:  newLine('k', 64, 0),
		spared: newLine('s', 32, 1024),
		others: newLine('o', 64, 1024),
	}
}

// line has places for reviews under way, and bounds how many wait for one.
type line struct {
	// name tells its reviews from those of another line.
	name    byte
	places  *semaphore.Weighted
	waiting *atomic.Int64
	most    int64 // 0: no bound
}

func newLine(name byte, places, most int64) line {
	return line{name: name, places: semaphore.NewWeighted(places), waiting: new(atomic.Int64), most: most}
}

// enter waits for a place, which leave gives back. Errors are ErrUnavailable.
func (l *line) enter(ctx context.Context) error {
	waiting := l.waiting.Add(1)
	defer l.waiting.Add(-1)
	if l.most > 0 && waiting > l.most {
		return fmt.Errorf("%w: %w: %d wait already", ErrUnavailable, ErrBusy, l.most)
	}
	if err := l.places.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrBusy, err)
	}
	return nil
}

func (l *line) leave() { l.places.Release(1) }

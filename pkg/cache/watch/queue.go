package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

var (
	// ErrSlow ends a watcher that has not kept up.
	ErrSlow = errors.New("the watcher has not kept up")
	// ErrGap ends watchers when upstream's history was lost.
	ErrGap = errors.New("the history of changes was lost")
	// ErrDeadline ends a watcher whose time is over.
	ErrDeadline = errors.New("the watch has lasted as long as was asked for")
	// ErrExpired is for a watch from before the history.
	ErrExpired = errors.New("the resource version is older than the history")
)

// maxQueue is how many events a watcher may be behind. A thousand changes of 8 KB
// are 8 MB that its client has not read; kube-apiserver's own bound is a channel of
// at most a thousand, too (cacher.chanSize).
const maxQueue = 1000

// Item is what a watcher gets: an event and what it is to this watcher, or a
// bookmark.
type Item struct {
	Event *Event
	As    wire.EventType
	// ResourceVersion is that of a bookmark, for which Event is nil.
	ResourceVersion uint64
}

// Watcher is one watch. Next is for one goroutine at a time.
type Watcher struct {
	hub       *Hub
	selection *selection.Selection
	bookmarks bool
	deadline  time.Time
	// after is where it begins: it is told of nothing up to there.
	after uint64
	// index and values are where the hub has it listed.
	index  key
	values []string
	// marked is the sequence of the last event it was told, by the hub: one with two
	// values of an index is found twice.
	marked uint64
	// nextBookmark is when one is due, in Unix seconds; of the hub.
	nextBookmark int64
	// backlog is the sequence of the event where the history goes on that is still to be
	// looked through, up to and with upTo; 0 if there is none. Of Next alone. The event
	// itself is not held here: a client that does not read must not keep the history.
	backlog, upTo uint64

	mu    sync.Mutex
	queue []Item
	err   error
	// wake has a message when queue or err have changed.
	wake chan struct{}
}

// push adds an item; false if the watcher does not keep up.
func (w *Watcher) push(item Item) bool {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return true
	}
	if len(w.queue) >= maxQueue {
		w.err = ErrSlow
		w.queue = nil
		w.mu.Unlock()
		w.signal()
		return false
	}
	first := len(w.queue) == 0
	w.queue = append(w.queue, item)
	w.mu.Unlock()
	if first {
		w.signal()
	}
	return true
}

func (w *Watcher) end(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Next returns the next items, in order, at least one; it waits until there are
// any. The error is that of ctx, or one of ErrSlow, ErrGap and ErrDeadline: what
// was queued before has been returned then, unless the watcher was slow.
func (w *Watcher) Next(ctx context.Context) ([]Item, error) {
	if items, err := w.fromHistory(); len(items) > 0 || err != nil {
		return items, err
	}
	for {
		w.mu.Lock()
		items, err := w.queue, w.err
		w.queue = nil
		w.mu.Unlock()
		if len(items) > 0 {
			return items, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// historyBatch bounds how much of the history is looked through at a time.
const historyBatch = 256

// overtaken ends a watcher whose part of the history is not there any more.
func (w *Watcher) overtaken() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = ErrSlow
	}
	w.queue = nil
	return w.err
}

// fromHistory returns what is seen of the next part of the history in which there is
// anything. It fails if the history has gone on without the watcher.
func (w *Watcher) fromHistory() (items []Item, err error) {
	if w.backlog == 0 {
		return nil, nil
	}
	var room [historyBatch]*Event
	for w.backlog != 0 && len(items) == 0 {
		events, ok := w.hub.between(room[:0], w.backlog, w.upTo)
		if !ok {
			return nil, w.overtaken()
		}
		for _, e := range events {
			if as, seen := e.Seen(w.selection.Matches); seen {
				items = append(items, Item{Event: e, As: as})
			}
		}
		if w.backlog += uint64(len(events)); w.backlog > w.upTo {
			w.backlog = 0
		}
	}
	return items, nil
}

// Stop ends the watch. Next must not be called afterwards.
func (w *Watcher) Stop() { w.hub.remove(w) }

package watch

import (
	"iter"
	"math/rand/v2"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

const (
	// freshEvents is for how many of the last events frames are kept.
	freshEvents = 64
	// maxPast bounds what the history keeps that the state does not need, in bytes:
	// somebody may change objects of a megabyte all the time.
	maxPast = 64 << 20
	// bookmarkEvery is how often a watcher that wants bookmarks gets one, and
	// bookmarkBefore how long before its deadline: as kube-apiserver has it.
	bookmarkEvery  = 60 * time.Second
	bookmarkBefore = 2 * time.Second
)

// Hub is the state of one resource in one encoding, its history, and who watches
// it. One goroutine writes (Reset, Apply, Progress); everything else is safe for
// concurrent use.
type Hub struct {
	formats *Formats
	store   *store.Store
	random  func() float64

	mu       sync.Mutex
	watchers registry
	// ring holds the last events, oldest at ring[first%len]; since is the resource
	// version that the oldest is next to.
	ring  []*Event
	first uint64
	// sequence is that of the newest event; those of the ring are first+1 to sequence.
	sequence uint64
	since    uint64
	// past is how much memory the history takes beside the state, in bytes.
	past int64
	// epoch counts the times that everything was replaced.
	epoch uint64
	// highest is the highest resource version that was ever reached.
	highest uint64
	// waiting are who waits for a resource version.
	waiting []waiter
	// over is why there are no watchers any more.
	over error
}

type waiter struct {
	rv      uint64
	reached chan struct{}
}

// NewHub returns a hub without state. History is how many events it keeps.
func NewHub(formats *Formats, history int, indexes ...store.Index) *Hub {
	return &Hub{
		formats: formats, store: store.New(history, indexes...), random: rand.Float64,
		ring: make([]*Event, history), watchers: newRegistry(),
	}
}

// Formats is how events are written.
func (h *Hub) Formats() *Formats { return h.formats }

// Snapshot is the newest state.
func (h *Hub) Snapshot() *store.Snapshot { return h.store.Snapshot() }

// At is the state at a resource version, if it is still held.
func (h *Hub) At(rv uint64) (*store.Snapshot, bool) { return h.store.At(rv) }

// Reset replaces everything. Watchers are ended: what happened between is not
// known.
func (h *Hub) Reset(rv uint64, objects iter.Seq[*store.Object]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store.Replace(rv, objects)
	h.epoch++
	clear(h.ring)
	h.first, h.since, h.past = h.sequence, rv, 0
	h.watchers.all(func(w *Watcher) { w.end(ErrGap) })
	h.watchers = newRegistry()
	h.reached(rv)
}

// Apply makes a change. Errors are store.ErrBackwards: the change is older than
// the state, and nothing was done.
func (h *Hub) Apply(t wire.EventType, o *store.Object) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &Event{Type: t, ResourceVersion: o.ResourceVersion, Object: o}
	var err error
	if t == wire.Deleted {
		e.Previous, err = h.store.Delete(o.Key, o.ResourceVersion)
	} else {
		e.Previous, err = h.store.Put(o, o.ResourceVersion)
	}
	if err != nil {
		return err
	}
	h.remember(e)
	h.watchers.interested(e, func(w *Watcher) {
		if w.marked == e.sequence || e.ResourceVersion <= w.after {
			return
		}
		w.marked = e.sequence
		as, seen := e.Seen(w.selection.Matches)
		if seen && !w.push(Item{Event: e, As: as}) {
			h.watchers.remove(w)
		}
	})
	h.reached(e.ResourceVersion)
	return nil
}

// remember adds an event to the history.
func (h *Hub) remember(e *Event) {
	n := uint64(len(h.ring))
	h.sequence++
	e.sequence = h.sequence
	if h.sequence-h.first > n {
		h.dropOldest()
	}
	h.ring[h.sequence%n] = e
	if e.Previous != nil {
		e.past = e.Previous.Memory()
	}
	if e.Type == wire.Deleted {
		e.past += e.Object.Memory()
	}
	h.past += e.past
	if h.past > maxPast {
		h.trim(maxPast)
	}
	if h.sequence-h.first > freshEvents {
		h.ring[(h.sequence-freshEvents)%n].forget()
	}
}

// dropOldest has the history begin one event later.
func (h *Hub) dropOldest() {
	h.first++
	slot := &h.ring[h.first%uint64(len(h.ring))]
	h.since = (*slot).ResourceVersion
	h.past -= (*slot).past
	*slot = nil
}

// trim shortens the history until it takes no more than a number of bytes.
func (h *Hub) trim(bytes int64) {
	for h.past > bytes && h.first < h.sequence {
		h.dropOldest()
	}
	h.store.Forget(h.since)
}

// Trim shortens the history until it takes no more than a number of bytes beside the
// state. Who still reads what is dropped is ended.
func (h *Hub) Trim(bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.past > bytes {
		h.trim(bytes)
	}
}

// Past is how much memory the history takes beside the state, in bytes.
func (h *Hub) Past() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.past
}

// Progress tells that nothing has changed up to a resource version.
func (h *Hub) Progress(rv uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.store.Progress(rv); err != nil {
		return err
	}
	h.reached(rv)
	return nil
}

// Where is the resource version that has been reached, and the epoch, for Pass.
func (h *Hub) Where() (rv, epoch uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.store.Snapshot().ResourceVersion(), h.epoch
}

// Pass tells that, in an epoch, the change at resource version last is the last one
// up to another: Progress for who does not write. It fails with ErrGap if everything
// has been replaced since, or the state has not come to the change.
func (h *Hub) Pass(epoch, last, upTo uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	rv := h.store.Snapshot().ResourceVersion()
	if epoch != h.epoch || rv < last {
		return ErrGap
	}
	if rv >= upTo {
		return nil
	}
	if err := h.store.Progress(upTo); err != nil {
		return err
	}
	h.reached(upTo)
	return nil
}

// AddIndex has objects found by an index from now on.
func (h *Hub) AddIndex(i store.Index) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store.AddIndex(i)
}

// Options are what a watcher asks for.
type Options struct {
	Selection *selection.Selection
	// Bookmarks asks for one now and then.
	Bookmarks bool
	// Deadline ends the watch; zero for none.
	Deadline time.Time
}

// WatchFrom begins a watch after the resource version. One that the state has not
// come to yet is no error, as it is none to kube-apiserver: nothing is told until it
// has. Errors are ErrExpired, also for a version that the state had come to before
// everything was dropped.
func (h *Hub) WatchFrom(rv uint64, o Options, now time.Time) (*Watcher, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	state := h.store.Snapshot().ResourceVersion()
	if rv < h.since || state == 0 || (rv > state && rv <= h.highest) {
		return nil, ErrExpired
	}
	w := h.add(o, now)
	w.after = rv
	n := h.sequence - h.first
	// The first event of a higher version.
	i := sort.Search(int(n), func(i int) bool { return h.event(i).ResourceVersion > rv })
	if uint64(i) < n {
		w.backlog, w.upTo = h.event(i).sequence, h.sequence
	}
	return w, nil
}

// between appends the events of sequences from and up to, as many as fit; false if the
// history does not go back that far any more.
func (h *Hub) between(events []*Event, from, upTo uint64) ([]*Event, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from <= h.first {
		return nil, false
	}
	for ; from <= upTo && len(events) < cap(events); from++ {
		events = append(events, h.ring[from%uint64(len(h.ring))])
	}
	return events, true
}

// event is the i-th of the history, 0 being the oldest.
func (h *Hub) event(i int) *Event { return h.ring[(h.first+1+uint64(i))%uint64(len(h.ring))] }

// WatchNow begins a watch at the state that it returns.
func (h *Hub) WatchNow(o Options, now time.Time) (*Watcher, *store.Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.add(o, now), h.store.Snapshot()
}

func (h *Hub) add(o Options, now time.Time) *Watcher {
	w := &Watcher{hub: h, selection: o.Selection, bookmarks: o.Bookmarks, deadline: o.Deadline, wake: make(chan struct{}, 1)}
	w.nextBookmark = h.bookmarkAfter(w, now)
	if h.over != nil {
		w.end(h.over)
		return w
	}
	h.watchers.add(w)
	return w
}

// bookmarkAfter is when the next bookmark is due.
func (h *Hub) bookmarkAfter(w *Watcher, now time.Time) int64 {
	// Spread, so that those who came together are not served together for ever.
	next := now.Add(bookmarkEvery + time.Duration(h.random()*float64(bookmarkEvery)/8))
	if !w.deadline.IsZero() {
		if last := w.deadline.Add(-bookmarkBefore); last.After(now) && next.After(last) {
			next = last
		}
	}
	return next.Unix()
}

func (h *Hub) remove(w *Watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers.remove(w)
}

// Tick sends the bookmarks that are due and ends the watchers whose time is over.
// It is to be called once a second.
func (h *Hub) Tick(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rv := h.store.Snapshot().ResourceVersion()
	var over []*Watcher
	h.watchers.all(func(w *Watcher) {
		if !w.deadline.IsZero() && !now.Before(w.deadline) {
			w.end(ErrDeadline)
			over = append(over, w)
			return
		}
		if w.bookmarks && now.Unix() >= w.nextBookmark && rv >= w.after {
			w.nextBookmark = h.bookmarkAfter(w, now)
			if !w.push(Item{ResourceVersion: rv}) {
				over = append(over, w)
			}
		}
	})
	for _, w := range over {
		h.watchers.remove(w)
	}
}

// End ends all watchers, with an error that says why, and so those to come: they get
// what they begin with, and nothing more.
func (h *Hub) End(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = err
	h.watchers.all(func(w *Watcher) { w.end(err) })
	h.watchers = newRegistry()
}

// Watchers is how many there are.
func (h *Hub) Watchers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.watchers.count
}

// Reached returns a channel that is closed once the state has reached a resource
// version, and nil if it has. Forget it when it is not waited for any more.
func (h *Hub) Reached(rv uint64) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.store.Snapshot().ResourceVersion() >= rv {
		return nil
	}
	w := waiter{rv, make(chan struct{})}
	h.waiting = append(h.waiting, w)
	return w.reached
}

// Forget takes back what Reached returned.
func (h *Hub) Forget(reached <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.waiting {
		if h.waiting[i].reached == reached {
			h.waiting[i] = h.waiting[len(h.waiting)-1]
			h.waiting = h.waiting[:len(h.waiting)-1]
			return
		}
	}
}

// reached wakes who waits for what has been reached.
func (h *Hub) reached(rv uint64) {
	h.highest = max(h.highest, rv)
	kept := h.waiting[:0]
	for _, w := range h.waiting {
		if w.rv <= rv {
			close(w.reached)
		} else {
			kept = append(kept, w)
		}
	}
	clear(h.waiting[len(kept):])
	h.waiting = kept
}

func formatRV(rv uint64) string { return strconv.FormatUint(rv, 10) }

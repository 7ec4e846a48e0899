package consistency

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// history is every change of every object of one resource, as etcd tells it.
type history struct {
	mu sync.Mutex
	// changes are in the order of their revisions. The first ones are those by which
	// the objects of the beginning came to be as they were, without what was before.
	changes []change
	// now are the objects that there are, by key.
	now map[string]*object
	// byKey are the changes of each object.
	byKey map[string][]change
	err   error
}

// change is what a revision has made of an object; nil where it was not there.
type change struct {
	rv            uint64
	before, after *object
}

func newHistory() *history {
	return &history{now: map[string]*object{}, byKey: map[string][]change{}}
}

// put is a new object, or a new version of one.
func (h *history) put(o *object) {
	h.note(o.key, change{rv: o.rv, before: h.now[o.key], after: o})
	h.now[o.key] = o
}

func (h *history) remove(key string, rv uint64) {
	h.note(key, change{rv: rv, before: h.now[key]})
	delete(h.now, key)
}

func (h *history) note(key string, c change) {
	h.changes = append(h.changes, c)
	h.byKey[key] = append(h.byKey[key], c)
}

// end is the revision of the last change.
func (h *history) end() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.changes) == 0 {
		return 0
	}
	return h.changes[len(h.changes)-1].rv
}

// reached returns an error until the change of a revision is known.
func (h *history) reached(rv uint64) error {
	if end := h.end(); end < rv {
		h.mu.Lock()
		defer h.mu.Unlock()
		return fmt.Errorf("etcd's history is known up to %d, not yet to %d: %w", end, rv, cmp.Or(h.err, errBehind))
	}
	return nil
}

// has tells whether something has changed at a revision.
func (h *history) has(rv uint64) bool {
	_, found := slices.BinarySearchFunc(h.changes, rv, func(c change, rv uint64) int { return cmp.Compare(c.rv, rv) })
	return found
}

// deleted returns the revision of the last deletion of an object, 0 if there is none.
func (h *history) deleted(key string) uint64 {
	for _, c := range slices.Backward(h.byKey[key]) {
		if c.after == nil {
			return c.rv
		}
	}
	return 0
}

// replay goes through a history from the beginning.
type replay struct {
	history *history
	next    int
	state   map[string]*object
}

// to goes on to a revision, which is not below the one of the call before, and returns
// the objects there are then, in the order of their keys.
func (r *replay) to(rv uint64, s selection) (selected []identity) {
	if r.state == nil {
		r.state = map[string]*object{}
	}
	for ; r.next < len(r.history.changes) && r.history.changes[r.next].rv <= rv; r.next++ {
		c := r.history.changes[r.next]
		if c.after != nil {
			r.state[c.after.key] = c.after
		} else if c.before != nil {
			delete(r.state, c.before.key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.state)) {
		if s.matches(r.state[key]) {
			selected = append(selected, r.state[key].identity)
		}
	}
	return selected
}

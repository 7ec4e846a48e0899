package store

import (
	"sort"
	"sync"
	"sync/atomic"
)

// history is the newest snapshot and the last states. Of each state the ring has the
// first snapshot: when only the resource version goes on nothing is added, so
// that bookmarks push nothing out, and every resource version from a snapshot's own
// to the next one's finds it.
type history struct {
	// newest is set under mu, so that who holds mu sees it and the ring as they
	// belong together.
	newest atomic.Pointer[Snapshot]

	mu sync.RWMutex
	// ring has held snapshots from first on.
	ring        []*Snapshot
	first, held int
}

// nth returns where the ring has the nth oldest snapshot.
func (h *history) nth(n int) **Snapshot { return &h.ring[(h.first+n)%len(h.ring)] }

// at returns the state at a resource version.
func (h *history) at(rv uint64) (*Snapshot, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	newest := h.newest.Load()
	if h.held == 0 || rv > newest.rv {
		return nil, false
	}
	if rv == newest.rv {
		return newest, true
	}
	later := sort.Search(h.held, func(n int) bool { return (*h.nth(n)).rv > rv })
	if later == 0 {
		return nil, false
	}
	return (*h.nth(later - 1)).as(rv), true
}

// add adds a state, in place of the oldest if there is no room.
func (h *history) add(s *Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == len(h.ring) {
		h.first = (h.first + 1) % len(h.ring)
		h.held--
	}
	*h.nth(h.held) = s
	h.held++
	h.newest.Store(s)
}

// progress goes on to a resource version with the same state.
func (h *history) progress(rv uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest.Store(h.newest.Load().as(rv))
}

// amend gives the newest state other indexes.
func (h *history) amend(indexes []Index, postings []postings) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest.Store(h.newest.Load().with(indexes, postings))
	if h.held > 0 {
		last := h.nth(h.held - 1)
		*last = (*last).with(indexes, postings)
	}
}

// forget drops the states that were over before a resource version.
func (h *history) forget(before uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.held > 1 && (*h.nth(1)).rv <= before {
		*h.nth(0) = nil
		h.first = (h.first + 1) % len(h.ring)
		h.held--
	}
}

// restart forgets all states but s.
func (h *history) restart(s *Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.ring)
	h.ring[0], h.first, h.held = s, 0, 1
	h.newest.Store(s)
}

package consistency

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// record is what all clients have done and seen. Times are since its beginning.
type record struct {
	began time.Time
	// finished counts reads and writes that are over, whatever came of them.
	finished atomic.Int64

	mu sync.Mutex
	// operations are those on registers.
	operations []porcupine.Operation
	gets       []getting
	// lists and sightings are by resource, and so are deletions that were
	// acknowledged, whose resource version only etcd's history tells.
	lists     map[string][]listing
	sightings map[string][]sighting
	deletions map[string][]deletion
	writes    [outcomes]int
	// pages counts requests for what follows the first page of a list, and unanswered
	// reads that failed.
	pages, unanswered int
}

// deletion is one that was acknowledged.
type deletion struct {
	at  time.Duration
	key string
}

func newRecord() *record {
	return &record{
		began: time.Now(), lists: map[string][]listing{}, sightings: map[string][]sighting{}, deletions: map[string][]deletion{},
	}
}

func (r *record) now() time.Duration { return time.Since(r.began) }

// saw notes that a resource version is known from now on.
func (r *record) saw(resource string, rv uint64) {
	at := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sightings[resource] = append(r.sightings[resource], sighting{at, rv})
}

// wrote notes what came of a write to a register.
func (r *record) wrote(register, value string, call time.Duration, o outcome) {
	if o == denied || o == refused {
		return
	}
	operation := porcupine.Operation{Input: access{register, value, true}, Call: int64(call), Return: int64(r.now())}
	if o == unknown {
		operation.Return = never
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operations = append(r.operations, operation)
}

// read notes what a strict read of a register has shown.
func (r *record) read(g getting, value string) {
	operation := porcupine.Operation{Input: access{register: g.key}, Output: value, Call: int64(g.call), Return: int64(r.now())}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operations = append(r.operations, operation)
	r.gets = append(r.gets, g)
}

func (r *record) listed(resource string, l listing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lists[resource] = append(r.lists[resource], l)
}

func (r *record) failed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unanswered++
}

// known is what was known of a resource, by the clients and by its history.
func (r *record) known(resource string, h *history) known {
	all := r.sightings[resource]
	for _, d := range r.deletions[resource] {
		if rv := h.deleted(d.key); rv != 0 {
			all = append(all, sighting{d.at, rv})
		}
	}
	return newKnown(all)
}

// await returns when n more reads and writes are over.
func (r *record) await(t *testing.T, n int64) {
	t.Helper()
	n += r.finished.Load()
	eventually(t, 2*time.Minute, func(context.Context) error {
		if got := r.finished.Load(); got < n {
			return fmt.Errorf("%d of %d reads and writes are over", got, n)
		}
		return nil
	})
}

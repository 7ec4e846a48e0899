package cache

import (
	"fmt"
	"sync"

	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
)

// budget bounds how much memory the objects of all streams take.
type budget struct {
	// limit is in bytes; 0 for none.
	limit int64

	mu   sync.Mutex
	used int64
}

// share is the part of a budget that one stream has.
type share struct {
	of *budget
	// size and closed are under the budget's lock.
	size   int64
	closed bool
}

// resize has the share be of another size. An error, with which it stays as it was, has
// the stream given up for a while, and tells an operator what to do.
func (h *share) resize(size int64) error {
	b := h.of
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.closed {
		return nil
	}
	used := b.used + size - h.size
	if size > h.size && b.limit > 0 && used > b.limit {
		return fmt.Errorf("%w: the objects in the cache would take %d MiB, and --cache-memory-limit allows %d MiB; raise it, or cache fewer resources",
			upstream.ErrGiveUp, used>>20, b.limit>>20)
	}
	b.used, h.size = used, size
	return nil
}

// giveBack ends the share.
func (h *share) giveBack() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if !h.closed {
		h.of.used -= h.size
		h.closed = true
	}
}

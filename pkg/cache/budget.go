package cache

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
)

// budget bounds how much memory the objects of all streams take.
type budget struct {
	// limit is in bytes; 0 for none.
	limit int64
	used  atomic.Int64
}

// share is the part of a budget that one stream has.
type share struct {
	of *budget

	mu     sync.Mutex
	size   int64
	closed bool
}

// resize has the share be of another size. An error has the stream given up for a
// while, and tells an operator what to do.
func (h *share) resize(size int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	used := h.of.used.Add(size - h.size)
	grows := size > h.size
	h.size = size
	if grows && h.of.limit > 0 && used > h.of.limit {
		return fmt.Errorf("%w: the objects in the cache would take %d MiB, and --cache-memory-limit allows %d MiB; raise it, or cache fewer resources",
			upstream.ErrGiveUp, used>>20, h.of.limit>>20)
	}
	return nil
}

// giveBack ends the share.
func (h *share) giveBack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.of.used.Add(-h.size)
		h.closed = true
	}
}

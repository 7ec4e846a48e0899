package cache

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// maxWriters bounds whose last writes are remembered.
const maxWriters = 16384

// writes remembers when users wrote last, through this gateway: what they read
// is never from before.
type writes struct {
	mu sync.Mutex
	// under way are writes by user, and ended when the last one did.
	underWay map[string]int
	ended    *lru.LRU[string, time.Time]
	// forgotten is when the last of those that are not remembered ended.
	forgotten time.Time
}

func newWrites() *writes {
	w := &writes{underWay: map[string]int{}}
	w.ended, _ = lru.NewLRU(maxWriters, func(_ string, at time.Time) {
		if at.After(w.forgotten) {
			w.forgotten = at
		}
	})
	return w
}

// Writing notes that a client writes; what is returned is to be called when the
// write has been answered, or has failed.
func (c *Cache) Writing(a *request.Attributes) (done func()) {
	user := a.Identity.GetName()
	w := c.writes
	w.mu.Lock()
	w.underWay[user]++
	w.mu.Unlock()
	return func() {
		now := c.config.Clock.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.underWay[user]--; w.underWay[user] == 0 {
			delete(w.underWay, user)
		}
		w.ended.Add(user, now)
	}
}

// last returns when a client's last write ended, and whether one is under way.
func (w *writes) last(a *request.Attributes) (ended time.Time, underWay bool) {
	user := a.Identity.GetName()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.underWay[user] > 0 {
		return time.Time{}, true
	}
	if ended, ok := w.ended.Get(user); ok {
		return ended, false
	}
	return w.forgotten, false
}

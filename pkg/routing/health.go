package routing

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	// patience is how many probes in a row may have no answer before a server
	// counts as not ready. An answer that says so counts at once.
	patience = 2
	// lossesToEject is how many requests in a row may be lost.
	lossesToEject = 5
	// ejectFor is for how long a server is ejected the first time; it grows with
	// every time up to maxEject, and shrinks while the server behaves.
	ejectFor = 5 * time.Second
	maxEject = time.Minute
	// warmAfter is how long a server must have been away to need a slow start: a
	// lost probe has not cost it its caches.
	warmAfter = 3 * time.Second
)

// condition is what is known of a server. The order is that of preference.
type condition uint32

const (
	unknown condition = iota
	ready
	notReady
	down
)

// health is what is known of a server's state. Events come from probes and from
// requests; it does no I/O and has no clock.
type health struct {
	// current, ejectedUntil (Unix ns), warmSince (Unix ns) and quiet are read without
	// the lock when a server is chosen.
	current      atomic.Uint32
	ejectedUntil atomic.Int64
	warmSince    atomic.Int64
	// quiet tells that the server has not been heard for maxQuiet. It is no condition:
	// the next byte ends it. Live servers that nobody asks anything answer pings.
	quiet atomic.Bool

	// losses is how many requests in a row had no answer.
	losses atomic.Int32

	mu        sync.Mutex
	reason    string
	since     time.Time
	lastReady time.Time
	// unanswered is how many probes in a row had no answer.
	unanswered int
	ejections  int
}

func (h *health) condition() condition { return condition(h.current.Load()) }

// enter must be called with the lock held.
func (h *health) enter(c condition, reason string, now time.Time) {
	was := h.condition()
	if was == ready {
		h.lastReady = now
	}
	if c == ready && was != ready && !h.lastReady.IsZero() && now.Sub(h.lastReady) >= warmAfter {
		h.warmSince.Store(now.UnixNano())
	}
	if c != was {
		h.since = now
	}
	h.reason = reason
	h.current.Store(uint32(c))
}

// probed takes a server's own word.
func (h *health) probed(isReady bool, reason string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unanswered = 0
	if isReady {
		h.enter(ready, "", now)
	} else {
		h.enter(notReady, reason, now)
	}
}

// unreached is a connection that could not be made. A refused one proves that
// nobody listens; others may be bad luck, unless it was a request's: that has
// been waiting for it.
func (h *health) unreached(err error, certain bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unanswered++
	if certain || h.unanswered >= patience || errors.Is(err, syscall.ECONNREFUSED) {
		h.enter(down, shorten(err.Error()), now)
	}
}

// noAnswer is a probe that was sent and not answered.
func (h *health) noAnswer(err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unanswered++; h.unanswered >= patience && h.condition() != down {
		h.enter(notReady, shorten(err.Error()), now)
	}
}

// silent is a server that shows no sign of life.
func (h *health) silent(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.enter(down, "no sign of life for "+maxSilence.String(), now)
}

// answered is a request that had an answer.
func (h *health) answered() {
	if h.losses.Load() != 0 {
		h.losses.Store(0)
	}
}

// lost is a request that was sent and had no answer. It tells whether that was
// one too many, if the server may be ejected.
func (h *health) lost(mayEject bool, now time.Time) (ejected bool) {
	if h.losses.Add(1) < lossesToEject || !mayEject {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.condition() == down || h.ejected(now.UnixNano()) {
		// All that was under way is lost together: that is one failure, and known.
		h.losses.Store(0)
		return false
	}
	if until := h.ejectedUntil.Load(); until != 0 && now.Sub(time.Unix(0, until)) > maxEject {
		// It has behaved since.
		h.ejections = 0
	}
	h.losses.Store(0)
	h.ejections++
	h.ejectedUntil.Store(now.Add(min(ejectFor*time.Duration(h.ejections), maxEject)).UnixNano())
	return true
}

// ejected tells whether the server is to be left alone. Nobody is for longer than
// maxEject, but for a machine's clock that was set back.
func (h *health) ejected(now int64) bool {
	left := time.Duration(h.ejectedUntil.Load() - now)
	return left > 0 && left <= maxEject
}

// warmth is the part of its requests that a server gets after it has come back.
// It is never 0: only requests warm it up.
func (h *health) warmth(now int64, slowStart time.Duration) float64 {
	since := h.warmSince.Load()
	if since == 0 || slowStart <= 0 || now < since {
		return 1
	}
	return min(1, max(0.05, float64(now-since)/float64(slowStart)))
}

// describe is for people.
func (h *health) describe(now time.Time) (v1alpha1.EndpointHealth, string, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.condition()
	if until := h.ejectedUntil.Load(); (c == ready || c == unknown) && h.ejected(now.UnixNano()) {
		began := time.Unix(0, until).Add(-min(ejectFor*time.Duration(h.ejections), maxEject))
		return v1alpha1.EndpointEjected, "lost several requests in a row", began
	}
	names := [...]v1alpha1.EndpointHealth{
		unknown: v1alpha1.EndpointUnknown, ready: v1alpha1.EndpointReady, notReady: v1alpha1.EndpointNotReady, down: v1alpha1.EndpointDown,
	}
	return names[c], h.reason, h.since
}

// shorten keeps reasons short whatever a server has answered.
func shorten(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

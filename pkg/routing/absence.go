package routing

import (
	"sync/atomic"
	"time"
)

// longAbsence is from when on a group that was gone gets its clients back
// gradually. Before, few have left.
const longAbsence = 3 * time.Second

// absence remembers when a group was gone, so that its clients do not all come
// back in the same moment: to caches that are cold, with lists that none of them
// has asked for in one second before.
type absence struct {
	// since and until are Unix ns; until is 0 while the group is gone, and both are
	// if it never was.
	since, until atomic.Int64
}

// look takes note of whether the group is usable. It is called by one goroutine.
func (a *absence) look(usable bool, now time.Time) {
	since, until := a.since.Load(), a.until.Load()
	gone := since != 0 && until == 0
	switch {
	case !usable && !gone:
		a.until.Store(0)
		a.since.Store(now.UnixNano())
	case usable && gone && now.Sub(time.Unix(0, since)) < longAbsence:
		a.since.Store(0)
	case usable && gone:
		a.until.Store(now.UnixNano())
	}
}

// returned is the part of the clients that is back.
func (a *absence) returned(now time.Time, failback time.Duration) float64 {
	until := a.until.Load()
	if until == 0 || failback <= 0 {
		// Present, or just back and not looked at yet, or gone: then it is not chosen.
		if a.since.Load() != 0 && failback > 0 {
			return 0
		}
		return 1
	}
	passed := now.UnixNano() - until
	if passed < 0 {
		// The machine's clock was set back.
		return 1
	}
	return min(1, float64(passed)/float64(failback))
}

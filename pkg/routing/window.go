package routing

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// perDoubling is how many sizes of durations are told apart from one to twice as
	// long: what is read of a window is right to within an eighth.
	perDoubling = 4
	// windowSizes reach to two minutes. What takes longer counts as that.
	windowSizes = 108
)

// window counts durations by size until it is read. It is safe for concurrent use,
// by one reader.
type window struct{ counts [windowSizes]atomic.Int32 }

// sizeOf numbers the sizes: the microseconds themselves up to 7, and above that the
// upper three bits of them.
func sizeOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	doublings := max(0, bits.Len64(us)-3)
	return min(windowSizes-1, perDoubling*doublings+int(us>>doublings))
}

// middleOf is a duration in the middle of those of a size.
func middleOf(size int) time.Duration {
	doublings := max(0, size/perDoubling-1)
	least := time.Duration(size-perDoubling*doublings) << doublings
	return least*time.Microsecond + time.Microsecond<<doublings/2
}

func (w *window) add(d time.Duration) { w.counts[sizeOf(d)].Add(1) }

// take returns what a part of the durations do not exceed, and how many there are, and
// empties the window. If there are fewer than least it does nothing, and n is 0.
func (w *window) take(part float64, least int) (d time.Duration, n int) {
	for i := range w.counts {
		n += int(w.counts[i].Load())
	}
	if n < least {
		return 0, 0
	}
	below := 0
	for i := range w.counts {
		was := below
		below += int(w.counts[i].Swap(0))
		if wanted := part * float64(n); float64(was) < wanted && wanted <= float64(below) {
			d = middleOf(i)
		}
	}
	return d, n
}

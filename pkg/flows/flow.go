package flows

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	hour    = 3600
	minutes = 60
)

// Flow is the requests of one key. All methods are safe for concurrent use.
type Flow struct {
	Key Key

	// newest is the second of the last request.
	newest atomic.Int64
	// chunks has one minute each, at its number modulo 60.
	chunks [minutes]atomic.Pointer[chunk]

	mu sync.Mutex
	// halves are the answers of the running half hour and of the one before.
	halves [2]answers
	half   int64
}

// chunk is the requests of each second of a minute. It is replaced, not cleared,
// when its place is needed for another minute.
type chunk struct {
	minute  int64
	seconds [60]atomic.Uint32
}

// answers is what became of requests.
type answers struct {
	count, refused uint64
	bytes          uint64
	// took counts durations by their power of two, in units of 64 us: up to 64 us,
	// 128 us, ... 150 h.
	took [buckets]uint32
}

const buckets = 24

func (f *Flow) arrived(second int64) {
	minute := second / 60
	place := &f.chunks[minute%minutes]
	c := place.Load()
	if c == nil || c.minute != minute {
		fresh := &chunk{minute: minute}
		if place.CompareAndSwap(c, fresh) {
			c = fresh
		} else {
			c = place.Load()
		}
	}
	c.seconds[second%60].Add(1)
	f.newest.Store(second)
}

// Finished notes what became of a request: how many bytes it was answered, how
// long that took, and whether a limit refused it. The duration of long-running
// requests says nothing and should be negative.
func (f *Flow) Finished(now time.Time, took time.Duration, bytes int64, refused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if half := now.Unix() / (hour / 2); half != f.half {
		previous := answers{}
		if half == f.half+1 {
			previous = f.halves[0]
		}
		f.halves, f.half = [2]answers{{}, previous}, half
	}
	a := &f.halves[0]
	a.count++
	a.bytes += uint64(max(bytes, 0))
	if refused {
		a.refused++
	} else if took >= 0 {
		a.took[min(bits.Len64(uint64(took/(64*time.Microsecond))), buckets-1)]++
	}
}

// Seconds returns how many requests came in each second of the hour before now,
// oldest first.
func (f *Flow) Seconds(now time.Time) []uint32 {
	end := now.Unix()
	counts := make([]uint32, hour)
	for i := range f.chunks {
		c := f.chunks[i].Load()
		if c == nil {
			continue
		}
		for second := range c.seconds {
			if at := c.minute*60 + int64(second) - (end - hour); at >= 0 && at < hour {
				counts[at] = c.seconds[second].Load()
			}
		}
	}
	return counts
}

// Stats sums a flow up.
type Stats struct {
	// Requests came in the last hour, Refused of them were refused by limits.
	Requests, Refused uint64
	// PerSecond is the mean over the last ten full seconds, Peak the most in one
	// second of the hour, Sustained the most in any ten seconds, a second.
	PerSecond, Peak, Sustained float64
	// BytesPerRequest is the mean size of answers.
	BytesPerRequest float64
	// P99 is the duration within which 99% were answered, to a factor of two; 0 if
	// none was.
	P99 time.Duration
}

const window = 10

// Stats returns the sums as of now.
func (f *Flow) Stats(now time.Time) Stats {
	var s Stats
	counts := f.Seconds(now)
	sum := uint64(0)
	for i, n := range counts {
		s.Requests += uint64(n)
		s.Peak = max(s.Peak, float64(n))
		sum += uint64(n)
		if i >= window {
			sum -= uint64(counts[i-window])
		}
		s.Sustained = max(s.Sustained, float64(sum)/window)
	}
	s.PerSecond = float64(sum) / window

	f.mu.Lock()
	defer f.mu.Unlock()
	var all answers
	for i, a := range f.halves {
		if f.half-int64(i) < now.Unix()/(hour/2)-1 {
			continue
		}
		all.count += a.count
		all.refused += a.refused
		all.bytes += a.bytes
		for b, n := range a.took {
			all.took[b] += n
		}
	}
	s.Refused = all.refused
	if all.count > 0 {
		s.BytesPerRequest = float64(all.bytes) / float64(all.count)
	}
	s.P99 = quantile(&all.took, 0.99)
	return s
}

// quantile returns the upper bound of the bucket in which it lies.
func quantile(took *[buckets]uint32, q float64) time.Duration {
	total := uint64(0)
	for _, n := range took {
		total += uint64(n)
	}
	if total == 0 {
		return 0
	}
	rank, seen := uint64(math.Ceil(q*float64(total))), uint64(0)
	for b, n := range took {
		if seen += uint64(n); seen >= rank {
			return 64 * time.Microsecond << b
		}
	}
	return 64 * time.Microsecond << (buckets - 1)
}

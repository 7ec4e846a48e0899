package routing

import "sync/atomic"

const (
	// retryPart of the requests may be sent again: when everything fails, retries
	// would only double the load.
	retryPart = 0.2
	// retryReserve is how many may be at once: what is under way on a server that
	// dies.
	retryReserve = 1000
)

// budget bounds retries. It counts in thousandths.
type budget struct{ left atomic.Int64 }

func newBudget() *budget {
	b := &budget{}
	b.left.Store(retryReserve * 1000)
	return b
}

// earn is called with every request.
func (b *budget) earn() {
	if left := b.left.Load(); left < retryReserve*1000 {
		b.left.Add(int64(retryPart * 1000))
	}
}

// spend tells whether a request may be sent again.
func (b *budget) spend() bool {
	for {
		left := b.left.Load()
		if left < 1000 {
			return false
		}
		if b.left.CompareAndSwap(left, left-1000) {
			return true
		}
	}
}

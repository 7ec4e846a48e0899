package routing

import (
	"crypto/tls"
	"sync"
)

// For every 4 KiB that it has read net/http tells an HTTP/2 server that it may send as
// many more: a frame in a packet of its own, for every third small answer, though the
// server is far from having to wait, and the next request is about to go the same way.
// So on connections for small answers it is held until there is something to send it
// with, silenceTick to twice that at most.

const (
	// smallRecord is what TLS 1.3 makes of a WINDOW_UPDATE, in bytes: 13, the record's
	// header, the content type and the tag. RST_STREAM is as long, and can wait as well;
	// so is a body of 4 bytes, which is no object of Kubernetes.
	smallRecord = 13 + 5 + 1 + 16
	// joinUpTo is up to which size a write goes together with what is held. A request
	// without a body is smaller.
	joinUpTo = 2 << 10
)

// held is a small record that waits for the next write. The zero value holds nothing.
type held struct {
	mu    sync.Mutex
	bytes []byte
	// old tells that it was there at the last look.
	old bool
}

// Write implements net.Conn. What is held counts as written; if that fails later, so
// does the write behind it.
func (c *conn) Write(b []byte) (int, error) {
	if !c.holds.Load() {
		return c.Conn.Write(b)
	}
	c.held.mu.Lock()
	defer c.held.mu.Unlock()
	before := len(c.held.bytes)
	switch {
	case before == 0 && len(b) == smallRecord:
		c.held.bytes, c.held.old = append(c.held.bytes, b...), false
		return len(b), nil
	case before == 0:
		return c.Conn.Write(b)
	case len(b) > joinUpTo:
		if err := c.release(); err != nil {
			return 0, err
		}
		return c.Conn.Write(b)
	}
	joined := append(c.held.bytes, b...)
	n, err := c.Conn.Write(joined)
	// The room is used again.
	c.held.bytes = joined[:0]
	return max(n-before, 0), err
}

// release writes what is held.
func (c *conn) release() error {
	if len(c.held.bytes) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.held.bytes)
	c.held.bytes = c.held.bytes[:0]
	return err
}

// flush writes what has been held since the last look, each connection by itself: a
// server that does not read keeps nobody from looking.
func (c *conns) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if conn.holds.Load() && conn.overdue() {
			go func() {
				conn.held.mu.Lock()
				defer conn.held.mu.Unlock()
				// The next write tells of the error, as does whoever reads.
				_ = conn.release()
			}()
		}
	}
}

// overdue tells whether something is held for the second time.
func (c *conn) overdue() bool {
	if !c.held.mu.TryLock() {
		return false
	}
	defer c.held.mu.Unlock()
	old := c.held.old
	c.held.old = true
	return old && len(c.held.bytes) > 0
}

// holdSmall is said when it is known how the connection is used: frames of HTTP/2, in
// records whose size tells what is in them.
func (c *conn) holdSmall(state tls.ConnectionState) {
	c.holds.Store(state.NegotiatedProtocol == "h2" && state.Version == tls.VersionTLS13)
}

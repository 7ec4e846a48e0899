package routing

import (
	"net"
	"sync"
	"sync/atomic"

	"k8s.io/utils/clock"
)

// conns are the open connections to one server, of all lanes and credentials.
type conns struct {
	clock clock.PassiveClock
	// heard is when a byte came from the server last, on any of them, in Unix ns.
	heard atomic.Int64

	mu   sync.Mutex
	open map[*conn]struct{}
}

// conn notes when it hears something. It lies under TLS, so that a handshake
// counts as well.
type conn struct {
	net.Conn
	of *conns

	// holds tells that small records wait for others.
	holds atomic.Bool
	held  held
}

func (c *conns) add(raw net.Conn) *conn {
	added := &conn{Conn: raw, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[*conn]struct{}{}
	}
	c.open[added] = struct{}{}
	return added
}

// reset closes all connections: whoever waits for an answer on one gets an error.
func (c *conns) reset() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close()
	}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.of.heard.Store(c.of.clock.Now().UnixNano())
	}
	return n, err
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

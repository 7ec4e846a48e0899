package proxy

import (
	"net"
	"sync"
	"time"
)

const (
	// deadlineSlack is how much later than asked for a write may end, so that deadlines
	// a moment apart are one for the runtime.
	deadlineSlack = time.Second
	// deadlineFar is from which distance on a second more or less is none.
	deadlineFar = 16 * deadlineSlack
)

// lazyConn is a connection to which deadlines for writes cost nothing that come to
// nothing. For HTTP/2 net/http sets one around whatever it writes and takes it back,
// though most pieces of an answer are held (see corkedConn): 1.2% of what forwarding
// costs went into timers (CPU profile). Here a deadline counts once there is a write, and
// one that stands already may be a little late.
type lazyConn struct {
	net.Conn

	mu sync.Mutex
	// asked is the deadline for writes, set that of Conn; zero is none.
	asked, set time.Time
	writing    int
}

// Write implements net.Conn.
func (c *lazyConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writing++
	err := c.apply()
	c.mu.Unlock()
	n := 0
	if err == nil {
		n, err = c.Conn.Write(b)
	}
	c.mu.Lock()
	c.writing--
	c.mu.Unlock()
	return n, err
}

// SetWriteDeadline implements net.Conn.
func (c *lazyConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = t
	if c.writing == 0 {
		return nil
	}
	return c.apply()
}

// SetDeadline implements net.Conn.
func (c *lazyConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// apply has Conn keep what was asked for.
func (c *lazyConn) apply() error {
	by := c.asked
	if late := c.set.Sub(by); late == 0 || (late > 0 && late <= deadlineSlack && !by.IsZero()) {
		return nil
	}
	if !by.IsZero() && time.Until(by) >= deadlineFar {
		by = by.Add(deadlineSlack)
	}
	c.set = by
	return c.Conn.SetWriteDeadline(by)
}

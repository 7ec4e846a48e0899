package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// net/http writes an HTTP/2 answer to the connection piece by piece: the header, before
// it looks whether there is a body; each 16 KiB of the body, of which TLS makes two
// records; and an empty frame that says that this was all. Each is a system call and a
// packet, and clients can make nothing of most without the next. So what a handler
// writes at a time is held, below TLS, until it is all there (corkedConn.begin and end):
// BenchmarkCork takes 10 to 25% less CPU time for client and server together.

const (
	// corkFor is how long something is held at least before it is given up that more
	// follows, and twice of it at most: a handler that is in the middle of a write does
	// not take that long, unless its client does not read.
	corkFor = 2 * time.Millisecond
	// corkBuffer is how much is held at most, in bytes: 64 KiB of a body with what
	// HTTP/2 and TLS put around. corkEnough is not held any longer.
	corkBuffer = 66 << 10
	corkEnough = 32 << 10
	// closeWithin bounds the write of what is held when a connection is closed.
	closeWithin = time.Second
	// withEnd is up to which size net/http writes a body together with its end, and
	// not before that, in bytes.
	withEnd = 4 << 10
)

// corkListener makes connections that can be corked.
type corkListener struct {
	net.Listener
	corks *corks
	// stall bounds a write to a client that does not read.
	stall time.Duration
}

// Accept implements net.Listener.
func (l corkListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &corkedConn{Conn: &lazyConn{Conn: conn}, corks: l.corks, stall: l.stall}, nil
}

// corks looks after connections that hold something. A timer for each of them would
// cost as much as it saves: to set one wakes another thread.
type corks struct {
	hold time.Duration

	mu      sync.Mutex
	holding []*corkedConn
	running bool
}

func (k *corks) watch(c *corkedConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holding = append(k.holding, c)
	if !k.running {
		k.running = true
		go k.run()
	}
}

// run sweeps as long as there is something to look after.
func (k *corks) run() {
	ticker := time.NewTicker(k.hold)
	defer ticker.Stop()
	for range ticker.C {
		k.mu.Lock()
		if k.holding = slices.DeleteFunc(k.holding, (*corkedConn).settled); len(k.holding) == 0 {
			k.running = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
	}
}

// corkedConn is a connection, below TLS, whose writes can be held until others follow.
type corkedConn struct {
	net.Conn
	corks *corks
	stall time.Duration

	// writing is how many handlers are in the middle of a write; stuck tells that it
	// was in vain to wait for one of them. Rest is how many pieces are to come of an
	// answer that has been written but for these.
	writing atomic.Int32
	stuck   atomic.Bool
	rest    atomic.Int32

	mu   sync.Mutex
	held *corkedBytes
	// watched tells that corks has it, old that what is held was there at the last look.
	watched, old bool
	// err is why what was held could not be written.
	err error

	// deadline is that of net/http for writes; bound tells that a release has its own
	// at the moment, which is not to be lifted.
	deadline struct {
		sync.Mutex
		time.Time
		bound bool
	}
}

type corkedBytes struct {
	bytes [corkBuffer]byte
	n     int
}

var corkedBuffers = sync.Pool{New: func() any { return new(corkedBytes) }}

// begin is said by a handler that is about to write a part of an answer.
func (c *corkedConn) begin() {
	if c != nil {
		c.stuck.Store(false)
		c.rest.Store(0)
		c.writing.Add(1)
	}
}

// end is said when it is written, and how many pieces are still to come.
func (c *corkedConn) end(rest int32) {
	if c == nil {
		return
	}
	c.writing.Add(-1)
	c.rest.Store(rest)
	// Who writes at the moment takes what is held along.
	if c.mu.TryLock() {
		if c.held != nil && (rest == 0 || c.held.n >= corkEnough) {
			c.release(c.stall)
		}
		c.mu.Unlock()
	}
}

// Write implements net.Conn. What is held counts as written; if that fails later, so
// does the write behind it.
func (c *corkedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil && c.held.n+len(b) > corkBuffer {
		c.release(c.stall)
	}
	if c.err != nil {
		return 0, c.err
	}
	rest := c.rest.Load()
	if rest > 0 {
		// If it has changed meanwhile, another answer is that far.
		c.rest.CompareAndSwap(rest, rest-1)
	}
	// The last piece of an answer does not wait for another answer.
	more := rest > 1 || (rest == 0 && c.writing.Load() > 0 && !c.stuck.Load())
	switch {
	case more && len(b) <= corkBuffer:
		c.keep(b)
		return len(b), nil
	case c.held == nil:
		return c.Conn.Write(b)
	}
	before := c.held.n
	c.held.add(b)
	held := c.take()
	n, err := c.Conn.Write(held.bytes[:held.n])
	corkedBuffers.Put(held)
	return max(n-before, 0), err
}

func (h *corkedBytes) add(b []byte) { h.n += copy(h.bytes[h.n:], b) }

// keep holds what there is room for.
func (c *corkedConn) keep(b []byte) {
	if c.held == nil {
		c.held = corkedBuffers.Get().(*corkedBytes)
		c.held.n, c.old = 0, false
		if !c.watched {
			c.watched = true
			c.corks.watch(c)
		}
	}
	c.held.add(b)
}

// settled tells that the connection need not be looked after any more. What it holds
// for the second time is written.
func (c *corkedConn) settled() bool {
	if !c.mu.TryLock() {
		return false
	}
	defer c.mu.Unlock()
	switch {
	case c.held == nil:
		c.watched = false
		return true
	case c.old:
		// That can take as long as the client likes.
		go c.expire()
	}
	c.old = true
	return false
}

func (c *corkedConn) take() *corkedBytes {
	held := c.held
	c.held = nil
	return held
}

// release writes what is held while net/http does not write, and has set no deadline.
func (c *corkedConn) release(within time.Duration) {
	held := c.take()
	defer corkedBuffers.Put(held)
	if c.err = c.bindDeadline(within); c.err == nil {
		_, c.err = c.Conn.Write(held.bytes[:held.n])
	}
	c.restoreDeadline()
}

// expire writes what has been held for too long: a client does not read.
func (c *corkedConn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck.Store(true)
	if c.held != nil {
		c.release(c.stall)
	}
}

// SetWriteDeadline implements net.Conn.
func (c *corkedConn) SetWriteDeadline(t time.Time) error {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	c.deadline.Time = t
	if c.deadline.bound && t.IsZero() {
		// net/http is done with a write of its own, which was held.
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *corkedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *corkedConn) bindDeadline(within time.Duration) error {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	c.deadline.bound = true
	return c.Conn.SetWriteDeadline(time.Now().Add(within))
}

func (c *corkedConn) restoreDeadline() {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	c.deadline.bound = false
	// It fails for a connection that is gone.
	_ = c.Conn.SetWriteDeadline(c.deadline.Time)
}

// Close implements net.Conn. It does not wait for a write that is under way.
func (c *corkedConn) Close() error {
	if c.mu.TryLock() {
		if c.held != nil {
			// TLS says goodbye within five seconds; who is that slow does not hear it.
			c.release(closeWithin)
		}
		c.mu.Unlock()
	}
	return c.Conn.Close()
}

type corkKey struct{}

// withCork remembers a client's connection in the context of its requests.
func withCork(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		if c, ok := t.NetConn().(*corkedConn); ok {
			return context.WithValue(ctx, corkKey{}, c)
		}
	}
	return ctx
}

// corkOf returns the connection of a request, nil if it is not to be corked: over
// HTTP/1.1 net/http writes header and body together.
func corkOf(r *http.Request) *corkedConn {
	if r.ProtoMajor != 2 {
		return nil
	}
	c, _ := r.Context().Value(corkKey{}).(*corkedConn)
	return c
}

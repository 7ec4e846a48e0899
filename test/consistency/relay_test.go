package consistency

import (
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
)

// relay passes bytes between a gateway and an apiserver. It can sever connections,
// and stall them: what the apiserver says is kept back.
type relay struct {
	listener net.Listener
	target   string

	mu sync.Mutex
	// open are the connections, and whether they are stalled; changed wakes who waits
	// for the end of that.
	open    map[*connection]bool
	changed *sync.Cond
}

type connection struct {
	gateway, apiserver net.Conn
	of                 *relay
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	target, err := url.Parse(server)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{listener: listener, target: target.Host, open: map[*connection]bool{}}
	r.changed = sync.NewCond(&r.mu)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.sever()
		serving.Wait()
	})
	return r
}

func (r *relay) url() string { return "https://" + r.listener.Addr().String() }

func (r *relay) serve(gateway net.Conn) {
	defer gateway.Close()
	apiserver, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer apiserver.Close()
	c := &connection{gateway, apiserver, r}
	r.mu.Lock()
	r.open[c] = false
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(apiserver, gateway)
		apiserver.Close()
		r.forget(c)
	})
	both.Go(func() {
		_, _ = io.Copy(c, apiserver)
		gateway.Close()
		r.forget(c)
	})
	both.Wait()
}

// forget ends also what waits in a stall.
func (r *relay) forget(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	r.changed.Broadcast()
}

// Write passes on what the apiserver has said.
func (c *connection) Write(b []byte) (int, error) {
	c.of.mu.Lock()
	for c.of.open[c] {
		c.of.changed.Wait()
	}
	c.of.mu.Unlock()
	return c.gateway.Write(b)
}

// sever closes all connections; what was kept back is lost.
func (r *relay) sever() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		c.gateway.Close()
		c.apiserver.Close()
	}
	clear(r.open)
	r.changed.Broadcast()
}

// stall keeps back what comes on a part of the connections that there are. New ones
// are as usual.
func (r *relay) stall(random *rand.Rand, part float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		if random.Float64() < part {
			r.open[c] = true
		}
	}
}

// release passes on what was kept back.
func (r *relay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		r.open[c] = false
	}
	r.changed.Broadcast()
}

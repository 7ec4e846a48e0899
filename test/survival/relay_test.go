package survival

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// relay passes bytes to an apiserver and back, and can keep the answers to itself.
type relay struct {
	listener net.Listener
	target   string

	mu sync.Mutex
	// holding keeps all answers back; changed wakes those who wait for its end.
	holding bool
	changed *sync.Cond
	open    map[net.Conn]struct{}
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	target, err := url.Parse(server)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{listener: listener, target: target.Host, open: map[net.Conn]struct{}{}}
	r.changed = sync.NewCond(&r.mu)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.cut()
		serving.Wait()
	})
	return r
}

func (r *relay) url() string { return "https://" + r.listener.Addr().String() }

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	r.mu.Lock()
	r.open[client], r.open[server] = struct{}{}, struct{}{}
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(answers{client, r}, server)
		client.Close()
	})
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, client)
	delete(r.open, server)
}

// answers are on their way to a client.
type answers struct {
	net.Conn
	of *relay
}

func (a answers) Write(b []byte) (int, error) {
	a.of.mu.Lock()
	for a.of.holding {
		a.of.changed.Wait()
	}
	a.of.mu.Unlock()
	return a.Conn.Write(b)
}

// hold keeps answers back from now on.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = true
}

// cut closes all connections, whose answers are lost, and holds no more back.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		conn.Close()
	}
	r.holding = false
	r.changed.Broadcast()
}

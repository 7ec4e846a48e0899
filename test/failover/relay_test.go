package failover

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// relay is a longer way to an apiserver: it passes bytes there at once, and what
// comes back with a delay, however much is under way.
type relay struct {
	listener net.Listener
	target   string
	delay    time.Duration

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// delayed is what a relay holds back until it is due.
type delayed struct {
	due   time.Time
	bytes []byte
}

// chunksUnderWay of up to chunkBytes are more than there are answers at once.
const chunksUnderWay, chunkBytes = 1024, 32 << 10

func newRelay(t *testing.T, server string, delay time.Duration) *relay {
	t.Helper()
	target, err := url.Parse(server)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{listener: listener, target: target.Host, delay: delay, open: map[net.Conn]struct{}{}}
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

func (r *relay) url() string { return "https://" + r.host() }

// host is its address, as metrics call it.
func (r *relay) host() string { return r.listener.Addr().String() }

// serve carries one connection until either side ends it.
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
	answers := make(chan delayed, chunksUnderWay)
	var all sync.WaitGroup
	all.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	all.Go(func() {
		defer close(answers)
		r.read(server, answers)
	})
	all.Go(func() {
		write(client, answers)
		client.Close()
	})
	all.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, client)
	delete(r.open, server)
}

// read takes what the server says, and when that is due.
func (r *relay) read(server net.Conn, answers chan<- delayed) {
	for {
		chunk := make([]byte, chunkBytes)
		n, err := server.Read(chunk)
		if n > 0 {
			answers <- delayed{time.Now().Add(r.delay), chunk[:n]}
		}
		if err != nil {
			return
		}
	}
}

// write passes it on when it is due. It takes all, so that read never waits for a
// client that is gone.
func write(client net.Conn, answers <-chan delayed) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var err error
	for a := range answers {
		if err != nil {
			continue
		}
		timer.Reset(time.Until(a.due))
		<-timer.C
		_, err = client.Write(a.bytes)
	}
}

// cut closes all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		conn.Close()
	}
}

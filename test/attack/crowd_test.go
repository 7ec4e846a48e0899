package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is many connections that are held at once.
type crowd struct {
	conns []net.Conn
	// shut are closed by the server so far.
	shut   atomic.Int64
	reader sync.WaitGroup
}

// gather opens connections, a few at a time. What it returns is closed by the
// end of the test.
func gather(t *testing.T, n int, open func(ctx context.Context) (net.Conn, error)) *crowd {
	t.Helper()
	c := &crowd{conns: make([]net.Conn, n)}
	t.Cleanup(func() {
		for _, conn := range c.conns {
			if conn != nil {
				conn.Close()
			}
		}
		c.reader.Wait()
	})
	places := make(chan struct{}, 16)
	failed := make(chan error, n)
	for i := range n {
		places <- struct{}{}
		go func() {
			defer func() { <-places }()
			var err error
			c.conns[i], err = open(t.Context())
			failed <- err
		}()
	}
	for range n {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// listen notes when the server closes connections. What it says before is
// thrown away.
func (c *crowd) listen() {
	for _, conn := range c.conns {
		c.reader.Go(func() {
			_, _ = io.Copy(io.Discard, conn)
			c.shut.Add(1)
		})
	}
}

// dribble writes the next byte of text, or its last one again, to every
// connection once in a while, until all are closed by the server.
func (c *crowd) dribble(t *testing.T, text string, every, within time.Duration, meanwhile func()) {
	t.Helper()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	start := time.Now()
	for i := 0; int(c.shut.Load()) < len(c.conns); i++ {
		if time.Since(start) > within {
			t.Errorf("%d of %d connections are still open after %s", len(c.conns)-int(c.shut.Load()), len(c.conns), within)
			return
		}
		for _, conn := range c.conns {
			// The server may have closed it, or not read for a while.
			_ = conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			_, _ = io.WriteString(conn, text[min(i, len(text)-1):min(i, len(text)-1)+1])
		}
		if i%4 == 0 {
			meanwhile()
		}
		<-ticker.C
	}
	t.Logf("%d connections were closed within %s", len(c.conns), time.Since(start).Round(time.Second))
}

// dialTCP connects without a word.
func (s *side) dialTCP(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: answerTimeout}
	return dialer.DialContext(ctx, "tcp", s.host)
}

// endsWithin waits until the server closes the connection, however much it says
// before, and returns how many bytes that was.
func endsWithin(conn net.Conn, d time.Duration) (int64, error) {
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, fmt.Errorf("the connection is still open after %s", d)
	}
	return n, nil
}

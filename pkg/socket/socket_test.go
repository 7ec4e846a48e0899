package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair is a connection and its other end.
func pair(tb testing.TB, listening func(net.Listener) net.Listener, dialled func(net.Conn) net.Conn) (server, client net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := listening(l).Accept()
		if err != nil {
			tb.Error(err)
		}
		accepted <- c
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	server, client = <-accepted, dialled(raw)
	tb.Cleanup(func() {
		server.Close()
		client.Close()
	})
	return server, client
}

func direct(l net.Listener) net.Listener  { return Listener{l} }
func asItIs(l net.Listener) net.Listener  { return l }
func same(c net.Conn) net.Conn            { return c }
func both(tb testing.TB) (a, b net.Conn)  { return pair(tb, direct, Direct) }
func plain(tb testing.TB) (a, b net.Conn) { return pair(tb, asItIs, same) }

// TestBytesArrive in both directions at once, more of them than fit into buffers.
func TestBytesArrive(t *testing.T) {
	a, b := both(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	var all sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		all.Go(func() {
			if n, err := way[0].Write(sent); n != len(sent) || err != nil {
				t.Errorf("wrote %d: %v", n, err)
			}
		})
		all.Go(func() {
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("not what was sent: %v", err)
			}
		})
	}
	all.Wait()
	a.Close()
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

// TestErrorsAreThoseOfNet compares what goes wrong with what package net says.
func TestErrorsAreThoseOfNet(t *testing.T) {
	for name, fail := range map[string]func(a, b net.Conn) error{
		"read, deadline": func(a, _ net.Conn) error {
			_ = a.SetReadDeadline(time.Unix(1, 0))
			_, err := a.Read(make([]byte, 1))
			return err
		},
		"read, deadline while it waits": func(a, _ net.Conn) error {
			_ = a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := a.Read(make([]byte, 1))
			return err
		},
		"write, deadline while it waits": func(a, _ net.Conn) error {
			_ = a.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := a.Write(make([]byte, 64<<20))
			return err
		},
		"read, closed": func(a, _ net.Conn) error {
			a.Close()
			_, err := a.Read(make([]byte, 1))
			return err
		},
		"read, closed while it waits": func(a, _ net.Conn) error {
			time.AfterFunc(20*time.Millisecond, func() { a.Close() })
			_, err := a.Read(make([]byte, 1))
			return err
		},
		"write, closed": func(a, _ net.Conn) error {
			a.Close()
			_, err := a.Write([]byte("x"))
			return err
		},
		"read, reset": func(a, b net.Conn) error {
			reset(t, b)
			_, err := a.Read(make([]byte, 1))
			return err
		},
		"write, reset": func(a, b net.Conn) error {
			reset(t, b)
			_, _ = a.Read(make([]byte, 1))
			_, err := a.Write([]byte("x"))
			return err
		},
		"nothing to read": func(a, _ net.Conn) error { _, err := a.Read(nil); return err },
		"nothing to write": func(a, _ net.Conn) error {
			_, err := a.Write(nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := plain(t)
			want := fail(a, b)
			c, d := both(t)
			got := fail(c, d)
			if told(got, c) != told(want, a) {
				t.Errorf("%q, want %q", told(got, c), told(want, a))
			}
			for _, is := range []error{os.ErrDeadlineExceeded, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
				if errors.Is(got, is) != errors.Is(want, is) {
					t.Errorf("%v: is %v: %v", got, is, errors.Is(got, is))
				}
			}
			var of, wanted net.Error
			if errors.As(want, &wanted) && (!errors.As(got, &of) || of.Timeout() != wanted.Timeout()) {
				t.Errorf("%v: not a timeout like %v", got, want)
			}
		})
	}
}

func reset(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
		t.Error(err)
	}
	c.Close()
}

// told is an error without the ports, which differ.
func told(err error, of net.Conn) string {
	if err == nil {
		return ""
	}
	return strings.NewReplacer(of.LocalAddr().String(), "here", of.RemoteAddr().String(), "there").Replace(err.Error())
}

func TestOtherConnectionsStayAsTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Direct(a) != a {
		t.Error("a pipe is taken for a TCP connection")
	}
}

// BenchmarkRoundTrip sends a byte there and back.
func BenchmarkRoundTrip(b *testing.B) {
	for name, connect := range map[string]func(testing.TB) (net.Conn, net.Conn){"net": plain, "direct": both} {
		b.Run(name, func(b *testing.B) {
			server, client := connect(b)
			go func() {
				_, _ = io.Copy(struct{ io.Writer }{server}, struct{ io.Reader }{server})
			}()
			buffer := make([]byte, 1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(buffer); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTransfersMakeNoGarbage holds an allocation budget of none.
func TestTransfersMakeNoGarbage(t *testing.T) {
	server, client := both(t)
	buffer := make([]byte, 1)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := client.Write(buffer); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(buffer); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}

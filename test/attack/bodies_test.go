package attack

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// endless is a body that counts what is taken of it.
type endless struct {
	left  atomic.Int64
	taken atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := min(int64(len(p)), e.left.Load())
	if n <= 0 {
		return 0, io.EOF
	}
	e.left.Add(-n)
	e.taken.Add(n)
	for i := range p[:n] {
		p[i] = ' '
	}
	return int(n), nil
}

// TestHugeBodiesAreRefused offers 3 GB, with their length stated and in chunks.
// The apiserver takes 3 MB; nobody may take it all.
func TestHugeBodiesAreRefused(t *testing.T) {
	const size = 3 << 30
	s := theStage(t)
	for _, side := range s.sides() {
		for name, tc := range map[string]struct {
			as      string
			http1   bool
			chunked bool
			want    int
		}{
			"HTTP/1.1 with a length":           {"admin", true, false, http.StatusRequestEntityTooLarge},
			"HTTP/1.1 in chunks":               {"admin", true, true, http.StatusRequestEntityTooLarge},
			"HTTP/2 with a length":             {"admin", false, false, http.StatusRequestEntityTooLarge},
			"HTTP/2 without":                   {"admin", false, true, http.StatusRequestEntityTooLarge},
			"HTTP/1.1 by someone who may not":  {"mallory", true, false, refused},
			"HTTP/1.1 chunks by nobody at all": {"nobody", true, true, refused},
		} {
			t.Run(side.name+" "+name, func(t *testing.T) {
				body := &endless{}
				body.left.Store(size)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+side.host+"/api/v1/namespaces/"+namespace+"/configmaps", body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				r.ContentLength = size
				if tc.chunked {
					r.ContentLength = -1
				}
				protocols := new(http.Protocols)
				protocols.SetHTTP1(tc.http1)
				protocols.SetHTTP2(!tc.http1)
				alpn := map[bool]string{true: "http/1.1", false: "h2"}[tc.http1]
				transport := &http.Transport{TLSClientConfig: side.tlsConfig(tc.as, alpn), Protocols: protocols}
				defer transport.CloseIdleConnections()
				stop := func() int { return 0 }
				var baseline map[string]float64
				if side.gateway != nil {
					baseline = side.baseline(t)
					stop = side.watchMemory(t)
				}
				response, err := transport.RoundTrip(r)
				if err != nil {
					t.Errorf("cut after %d bytes: %v", body.taken.Load(), err)
				} else {
					response.Body.Close()
					t.Logf("answered %d after %d KiB", response.StatusCode, body.taken.Load()>>10)
					if response.StatusCode != tc.want {
						t.Errorf("answered %d; want %d", response.StatusCode, tc.want)
					}
				}
				if taken := body.taken.Load(); taken > 64<<20 {
					t.Errorf("%d MiB were taken", taken>>20)
				}
				if side.gateway != nil {
					side.settles(t, baseline)
					memoryStays(t, side, stop(), 64)
				}
			})
		}
	}
}

// TestClientsThatDisappearLeaveNothing ends watches in all the ways there are.
func TestClientsThatDisappearLeaveNothing(t *testing.T) {
	const watches = 20
	s := theStage(t)
	path := "/api/v1/namespaces/" + namespace + "/configmaps?watch=1"
	for _, side := range s.through {
		for name, tc := range map[string]struct {
			http2 bool
			leave func(conn net.Conn) error
		}{
			"by RST": {false, func(conn net.Conn) error {
				tcp := tcpOf(conn)
				if err := tcp.SetLinger(0); err != nil {
					return err
				}
				return tcp.Close()
			}},
			"by RST over HTTP/2": {true, func(conn net.Conn) error {
				tcp := tcpOf(conn)
				if err := tcp.SetLinger(0); err != nil {
					return err
				}
				return tcp.Close()
			}},
			"by FIN without a goodbye of TLS": {false, func(conn net.Conn) error { return tcpOf(conn).CloseWrite() }},
			"by a goodbye of TLS alone":       {false, func(conn net.Conn) error { return tlsOf(conn).CloseWrite() }},
			"by FIN over HTTP/2":              {true, func(conn net.Conn) error { return tcpOf(conn).CloseWrite() }},
			"by RST_STREAM":                   {true, func(conn net.Conn) error { return conn.(*h2conn).framer.WriteRSTStream(1, 8) }},
		} {
			t.Run(side.name+" "+name, func(t *testing.T) {
				baseline := side.baseline(t)
				c := gather(t, watches, side.deaf(path, tc.http2))
				eventually(t, 20*time.Second, func() error {
					now, err := side.gauges(t.Context())
					if err == nil && now[inFlight] < baseline[inFlight]+watches {
						return errNotYet("not all watches are open")
					}
					return err
				})
				for _, conn := range c.conns {
					if err := tc.leave(conn); err != nil {
						t.Error(err)
					}
				}
				start := time.Now()
				eventually(t, 20*time.Second, func() error {
					now, err := side.gauges(t.Context())
					if err == nil && now[inFlight] > baseline[inFlight] {
						return errNotYet("watches are still open")
					}
					return err
				})
				t.Logf("%d watches were gone after %s", watches, time.Since(start).Round(time.Millisecond))
				for _, conn := range c.conns {
					conn.Close()
				}
				side.settles(t, baseline)
			})
		}
	}
}

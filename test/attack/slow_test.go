package attack

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

const (
	// headerTimeout is the gateway's bound for a TLS handshake and the headers of
	// a request, idleTimeout that for a connection without a whole request.
	headerTimeout = 10 * time.Second
	idleTimeout   = 90 * time.Second
	// slack is for a machine with other things to do.
	slack = 20 * time.Second
)

// TestSlowClientsAreClosed holds 200 connections of each kind, on which a byte
// comes now and then, while an ordinary client is served.
func TestSlowClientsAreClosed(t *testing.T) {
	t.Parallel()
	s := theStage(t)
	side := s.through[1]
	baseline := side.baseline(t)
	tlsOpen := func(protocol, first string) func(ctx context.Context) (net.Conn, error) {
		return func(ctx context.Context) (net.Conn, error) {
			conn, err := side.dial(ctx, "nobody", protocol)
			if err != nil {
				return nil, err
			}
			_, err = io.WriteString(conn, first)
			return conn, err
		}
	}
	// A HEADERS frame that promises 16 KiB.
	partial := http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x40\x00\x01\x04\x00\x00\x00\x01"
	t.Run("kinds", func(t *testing.T) {
		for name, kind := range map[string]struct {
			open   func(ctx context.Context) (net.Conn, error)
			text   string
			every  time.Duration
			within time.Duration
		}{
			"headers of HTTP/1.1":     {tlsOpen("http/1.1", ""), "GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: " + strings.Repeat("a", 1000), 500 * time.Millisecond, headerTimeout + slack},
			"a TLS handshake":         {side.dialTCP, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("a", 400), 500 * time.Millisecond, headerTimeout + slack},
			"the preface of HTTP/2":   {tlsOpen("h2", ""), http2.ClientPreface, time.Second, headerTimeout + slack},
			"a HEADERS frame":         {tlsOpen("h2", partial), strings.Repeat("\x00", 1000), time.Second, idleTimeout + slack},
			"nothing behind TLS":      {tlsOpen("http/1.1", ""), "G", time.Minute, headerTimeout + slack},
			"a first line and no end": {tlsOpen("http/1.1", "GET /"), strings.Repeat("a", 1000), 500 * time.Millisecond, headerTimeout + slack},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := 200
				if kind.every == time.Minute || strings.HasPrefix(name, "a first") {
					n = 20
				}
				c := gather(t, n, kind.open)
				c.listen()
				every := min(kind.every, time.Second)
				c.dribble(t, kind.text, every, kind.within, func() { side.serves(t, slack) })
			})
		}
	})
	side.settles(t, baseline)
}

// TestSlowBodiesAreEnded sends bodies a byte at a time: to the apiserver, and to
// the gateway which refuses the request without a look at its body.
func TestSlowBodiesAreEnded(t *testing.T) {
	t.Parallel()
	s := theStage(t)
	side := s.through[0]
	baseline := side.baseline(t)
	post := head("", "POST /api/v1/namespaces/"+namespace+"/configmaps HTTP/1.1", host, "Content-Type: application/json", "Content-Length: 100000")
	chunked := head("", "POST /api/v1/namespaces/"+namespace+"/configmaps HTTP/1.1", host, "Content-Type: application/json", te) + "186a0\r\n"
	tests := map[string]struct {
		as, text string
	}{
		"that the apiserver waits for":        {"admin", post},
		"in a chunk":                          {"admin", chunked},
		"of a request that is forbidden":      {"mallory", post},
		"of a request with a wrong token":     {"nobody", strings.Replace(post, host, host+"\r\nAuthorization: Bearer "+secret("slow"), 1)},
		"of a request for an upgrade":         {"mallory", strings.Replace(post, host, host+"\r\nConnection: Upgrade\r\nUpgrade: websocket", 1)},
		"of a watch":                          {"admin", strings.Replace(strings.Replace(post, "POST", "GET", 1), " HTTP/1.1", "?watch=1 HTTP/1.1", 1)},
		"of a large request":                  {"admin", strings.Replace(post, "100000", "1000000", 1)},
		"of a small request":                  {"admin", strings.Replace(post, "100000", "1000", 1)},
		"of a small watch":                    {"admin", strings.Replace(strings.Replace(strings.Replace(post, "POST", "GET", 1), " HTTP/1.1", "?watch=1 HTTP/1.1", 1), "100000", "1000", 1)},
		"of a request for the gateway itself": {"nobody", strings.Replace(strings.Replace(post, "POST", "GET", 1), "/api/v1/namespaces/"+namespace+"/configmaps", "/livez", 1)},
	}
	t.Run("kinds", func(t *testing.T) {
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := gather(t, 5, func(ctx context.Context) (net.Conn, error) {
					conn, err := side.dial(ctx, tc.as, "http/1.1")
					if err != nil {
						return nil, err
					}
					_, err = io.WriteString(conn, tc.text+"{")
					return conn, err
				})
				c.listen()
				c.dribble(t, " ", 250*time.Millisecond, requestTimeout+stallTimeout+slack, func() {})
			})
		}
		for _, path := range []string{"configmaps", "configmaps?watch=1"} {
			t.Run("of HTTP/2 for "+path, func(t *testing.T) {
				t.Parallel()
				c, err := side.openH2(t.Context(), "admin")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.headers(1, false, field{":method", "POST"}, field{":scheme", "https"}, field{":authority", "x"}, field{":path", "/api/v1/namespaces/" + namespace + "/" + path}, field{"content-length", "1000"}); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				o, err := c.await(1)
				t.Logf("%s after %s: %v", o, time.Since(start).Round(100*time.Millisecond), err)
				if err != nil || o.status/100 == 2 {
					t.Errorf("%s, %v; want an error or an end", o, err)
				}
			})
		}
	})
	side.settles(t, baseline)
}

// TestFrozenApiserverIsAnsweredFor has an apiserver that accepts requests and says
// nothing: every client is told so, at the request timeout at the latest.
func TestFrozenApiserverIsAnsweredFor(t *testing.T) {
	s := theStage(t)
	for _, side := range s.through {
		// The connection to the apiserver is there.
		baseline := side.baseline(t)
		apiserver := s.cluster.Process("main-0")
		if err := apiserver.Pause(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if apiserver.Paused() {
				if err := apiserver.Resume(); err != nil {
					t.Error(err)
				}
			}
		})
		t.Run(side.name, func(t *testing.T) {
			for name, text := range map[string]string{
				"without a body": head("", "GET /version HTTP/1.1", host),
				"with a body":    strings.ReplaceAll(selfRequest(), closing+"\r\n", ""),
			} {
				for i := range 10 {
					t.Run(fmt.Sprintf("%s %d", name, i), func(t *testing.T) {
						t.Parallel()
						got, err := side.one(t.Context(), "mallory", text)
						// 503 where no connection was open that could be frozen, 502 for a
						// write on one that was given up.
						if err != nil || got.status < http.StatusBadGateway || got.status > http.StatusGatewayTimeout {
							t.Errorf("answered %s, %v; want 504, 503 or 502", got, err)
						}
					})
				}
			}
		})
		if err := apiserver.Resume(); err != nil {
			t.Fatal(err)
		}
		eventually(t, slack, func() error {
			a, err := side.one(t.Context(), "mallory", selfRequest())
			if err == nil && a.status != accepted {
				return errNotYet(a.String())
			}
			return err
		})
		// New connections to the apiserver may stay, requests may not.
		eventually(t, slack, func() error {
			now, err := side.gauges(t.Context())
			if err == nil && now[inFlight] > baseline[inFlight] {
				return errNotYet(fmt.Sprintf("%v requests in flight", now[inFlight]))
			}
			return err
		})
	}
}

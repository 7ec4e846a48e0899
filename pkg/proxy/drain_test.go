package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// TestDrainAnswersEveryConnectionItAccepted has connections send their first
// request in each phase of the drain. None may be dropped, as net/http does with
// what it reads after Shutdown was called.
func TestDrainAnswersEveryConnectionItAccepted(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, apiserver := serverBefore(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
		o.Clock = clock
		o.ShutdownDelay, o.ShutdownGrace = 8*time.Second, time.Minute
	})
	server.options.TLS = &tls.Config{Certificates: apiserver.TLS.Certificates}
	ctx, drain := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, listener) }()

	connect := func() net.Conn {
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: rootsOf(apiserver), ServerName: "example.com"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	get := func(conn net.Conn, path string, status int, closes bool) {
		t.Helper()
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: gateway\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer response.Body.Close()
		if response.StatusCode != status || response.Close != closes {
			t.Fatalf("%s answered %s, closes: %t; want %d, %t", path, response.Status, response.Close, status, closes)
		}
	}
	// wait steps over the wait that the drain is in; the sweeper has one, too.
	wait := func(d time.Duration) {
		waitFor(t, func() bool { return clock.Waiters() == 2 })
		clock.Step(d)
	}

	served, unwell, left, late := connect(), connect(), connect(), connect()
	get(served, "/api", http.StatusOK, false)
	get(unwell, "/readyz", http.StatusOK, false)
	drain()
	waitFor(t, func() bool { return server.drain.reached(unready) })
	get(unwell, "/readyz", http.StatusServiceUnavailable, false)
	get(served, "/api", http.StatusOK, false)
	wait(4 * time.Second)
	waitFor(t, func() bool { return server.drain.reached(leaving) })
	get(left, "/api", http.StatusOK, true)
	get(connect(), "/api", http.StatusOK, true)
	wait(4 * time.Second)
	// The listener is closed, and one second has begun for those it accepted.
	waitFor(t, func() bool {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	get(late, "/api", http.StatusOK, true)
	wait(time.Second)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := served.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle connection ended with %v", err)
	}
}

// TestDrainHasNothingSentTwice ends requests that an apiserver has, and has not
// answered: client-go sends again whatever is told when to come back.
func TestDrainHasNothingSentTwice(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		code         int
		retryAfter   string
	}{
		{http.MethodPost, "/api/v1/namespaces/a/services/b/proxy/jobs", http.StatusBadGateway, ""},
		{http.MethodGet, "/api/v1/namespaces/a/services/b/proxy/jobs", http.StatusBadGateway, ""},
		{http.MethodGet, "/api/v1/namespaces/a/pods/b/log?follow=true", http.StatusServiceUnavailable, "1"},
		{http.MethodGet, "/api/v1/pods?watch=true", http.StatusServiceUnavailable, "1"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			arrived := make(chan struct{})
			server, _ := serverBefore(t, func(_ http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-r.Context().Done()
			}, nil)
			gateway := serveChain(t, server)
			go func() {
				<-arrived
				server.flights.drain(t.Context(), 0)
			}()
			response, body, err := send(t, gateway, tc.method, tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tc.code || response.Header.Get("Retry-After") != tc.retryAfter {
				t.Errorf("%d with Retry-After %q: %s", response.StatusCode, response.Header.Get("Retry-After"), body)
			}
		})
	}
}

// TestDrainEndsCleanWhatIsResumed ends answers that have begun. Whoever reads a log or
// a file must not take the part for the whole.
func TestDrainEndsCleanWhatIsResumed(t *testing.T) {
	for name, tc := range map[string]struct {
		path, sent string
		clean      bool
	}{
		"watch between events": {"/api/v1/pods?watch=true", `{"type":"ADDED"}` + "\n", true},
		"watch in an event":    {"/api/v1/pods?watch=true", `{"type":"ADD`, false},
		"log":                  {"/api/v1/namespaces/a/pods/b/log?follow=true", "a line\n", false},
		"download":             {"/api/v1/namespaces/a/services/b/proxy/file", "half of it", false},
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := serverBefore(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, tc.sent)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}, nil)
			gateway := serveChain(t, server)
			response, err := gateway.Client().Get(gateway.URL + tc.path)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := io.ReadFull(response.Body, make([]byte, len(tc.sent))); err != nil {
				t.Fatal(err)
			}
			server.flights.drain(t.Context(), 0)
			if rest, err := io.ReadAll(response.Body); (err == nil) != tc.clean || len(rest) > 0 {
				t.Errorf("it ended with %q, %v; want a clean end: %t", rest, err, tc.clean)
			}
		})
	}
}

func rootsOf(server *httptest.Server) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return roots
}

package routing

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"k8s.io/utils/clock"
)

// wire is a connection that notes what is written to it.
type wire struct {
	net.Conn
	mu     sync.Mutex
	writes []string
	err    error
	full   chan struct{}
}

func (w *wire) Write(b []byte) (int, error) {
	if w.full != nil {
		<-w.full
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.writes = append(w.writes, string(b))
	return len(b), nil
}

func (w *wire) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.writes, "|")
}

var (
	windowUpdate = strings.Repeat("u", smallRecord)
	smallRequest = strings.Repeat("r", 200)
	largeBody    = strings.Repeat("b", joinUpTo+1)
)

func holding(to net.Conn) (*conns, *conn) {
	all := &conns{clock: clock.RealClock{}}
	c := all.add(to)
	c.holdSmall(tls.ConnectionState{NegotiatedProtocol: "h2", Version: tls.VersionTLS13})
	return all, c
}

func mustSay(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(c, text); n != len(text) || err != nil {
		t.Errorf("wrote %d of %d bytes: %v", n, len(text), err)
	}
}

func TestWindowUpdatesGoWithWhatFollows(t *testing.T) {
	for name, want := range map[string]struct{ says, wrote []string }{
		"a request":           {[]string{windowUpdate, smallRequest}, []string{windowUpdate + smallRequest}},
		"another update":      {[]string{windowUpdate, windowUpdate}, []string{windowUpdate + windowUpdate}},
		"a large body":        {[]string{windowUpdate, largeBody}, []string{windowUpdate, largeBody}},
		"nothing":             {[]string{smallRequest, windowUpdate}, []string{smallRequest}},
		"what is as small":    {[]string{windowUpdate[1:], windowUpdate + "u"}, []string{windowUpdate[1:], windowUpdate + "u"}},
		"requests in between": {[]string{windowUpdate, smallRequest, smallRequest, windowUpdate, smallRequest}, []string{windowUpdate + smallRequest, smallRequest, windowUpdate + smallRequest}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{}
			_, c := holding(w)
			for _, text := range want.says {
				mustSay(t, c, text)
			}
			if got := strings.Join(want.wrote, "|"); w.said() != got {
				t.Errorf("wrote %s, want %s", w.said(), got)
			}
		})
	}
}

func TestOnlyWhatIsKnownToBeAnUpdateIsHeld(t *testing.T) {
	for name, state := range map[string]tls.ConnectionState{
		"HTTP/1.1": {NegotiatedProtocol: "http/1.1", Version: tls.VersionTLS13},
		"TLS 1.2":  {NegotiatedProtocol: "h2", Version: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{}
			_, c := holding(w)
			c.holdSmall(state)
			mustSay(t, c, windowUpdate)
			if w.said() != windowUpdate {
				t.Errorf("wrote %q", w.said())
			}
		})
	}
}

func TestAnUpdateIsHeldForTwoLooksAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		all, c := holding(w)
		mustSay(t, c, windowUpdate)
		all.flush()
		synctest.Wait()
		if w.said() != "" {
			t.Errorf("wrote %q at the first look", w.said())
		}
		all.flush()
		synctest.Wait()
		if w.said() != windowUpdate {
			t.Errorf("wrote %q at the second look", w.said())
		}
		all.flush()
		synctest.Wait()
		if w.said() != windowUpdate {
			t.Errorf("wrote %q when there was nothing", w.said())
		}
	})
}

// TestLookingDoesNotWaitForAServerThatDoesNotRead: it is found out by looking.
func TestLookingDoesNotWaitForAServerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{full: make(chan struct{})}
		all, c := holding(w)
		mustSay(t, c, windowUpdate)
		for range 3 {
			all.flush()
			synctest.Wait()
		}
		close(w.full)
		synctest.Wait()
		if w.said() != windowUpdate {
			t.Errorf("wrote %q", w.said())
		}
	})
}

func TestAnUpdateThatCannotBeWrittenIsTold(t *testing.T) {
	broken := errors.New("broken pipe")
	for name, text := range map[string]string{"with a request": smallRequest, "with a large body": largeBody} {
		t.Run(name, func(t *testing.T) {
			w := &wire{err: broken}
			_, c := holding(w)
			mustSay(t, c, windowUpdate)
			if n, err := io.WriteString(c, text); n != 0 || !errors.Is(err, broken) {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// TestSmallRecordIsAWindowUpdate asks net/http and crypto/tls: many small answers over
// one connection, of which every third is followed by an update. If either changes, each
// is a write of its own again.
func TestSmallRecordIsAWindowUpdate(t *testing.T) {
	const requests, size = 300, 1400
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, size))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	writes := func(lane Lane) int64 {
		var count atomic.Int64
		all := &conns{clock: clock.RealClock{}}
		config := server.Client().Transport.(*http.Transport).TLSClientConfig
		transport := newTransport(all, Client{TLS: config}, Asserting, lane).(*http.Transport)
		defer transport.CloseIdleConnections()
		dial := transport.DialTLSContext
		transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled, err := dial(ctx, network, address)
			if err == nil {
				raw := dialled.(*tls.Conn).NetConn().(*conn)
				raw.Conn = countingConn{raw.Conn, &count}
			}
			return dialled, err
		}
		for range requests {
			target, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			response, err := transport.RoundTrip(&http.Request{Method: http.MethodGet, URL: target, Header: http.Header{}})
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil || response.ProtoMajor != 2 {
				t.Fatalf("%d bytes by %s: %v", n, response.Proto, err)
			}
			response.Body.Close()
		}
		return count.Load()
	}
	if held, not := writes(Short), writes(Bulk); held > requests+10 || not < requests+requests/4 {
		t.Errorf("%d writes for %d requests, %d when nothing is held", held, requests, not)
	}
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

package routing

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestHTTP1SendsNothingAgain has a server read requests over a connection that has
// carried one before, and die: what may not be repeated must have been seen once,
// by all servers together.
func TestHTTP1SendsNothingAgain(t *testing.T) {
	proxied := attributes(t, "/api/v1/namespaces/a/pods/b/proxy/x", "", "P0")
	for _, test := range []struct {
		name, method, header, body string
		call                       Call
	}{
		{"write with Idempotency-Key", http.MethodPost, "Idempotency-Key", "pod", Call{As: Anonymous}},
		{"write with X-Idempotency-Key", http.MethodPatch, "X-Idempotency-Key", "pod", Call{As: Anonymous}},
		{"write without a body", http.MethodPost, "Idempotency-Key", "", Call{As: Anonymous}},
		{"exec by SPDY", http.MethodPost, "Idempotency-Key", "", Call{Lane: Upgrade}},
		{"exec by WebSocket", http.MethodGet, "X-Any", "", Call{Lane: Upgrade}},
		{"what a pod makes of it", http.MethodGet, "X-Any", "", Call{As: Anonymous, Attributes: proxied}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen atomic.Int64
			var protocol, header, body atomic.Value
			start := func() *httptest.Server {
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/warm" {
						return
					}
					b, _ := io.ReadAll(r.Body)
					protocol.Store(r.Proto)
					header.Store(r.Header.Get(test.header))
					body.Store(string(b))
					seen.Add(1)
					panic(http.ErrAbortHandler)
				}))
				s.EnableHTTP2 = true
				s.StartTLS()
				t.Cleanup(s.Close)
				return s
			}
			main, bypass := start(), start()
			u, _ := upstream(t, mainAndBypass([]string{main.URL}, []string{bypass.URL}), main, bypass)
			r := newWrite(t, test.method, "/warm", "")
			response, _, err := u.RoundTrip(r, Call{As: test.call.As, Lane: test.call.Lane})
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()

			r = newWrite(t, test.method, "/", test.body)
			r.Header.Set(test.header, "key")
			if _, _, err := u.RoundTrip(r, test.call); err == nil || errors.Is(err, ErrUnreachable) {
				t.Errorf("error %v", err)
			}
			if n := seen.Load(); n != 1 {
				t.Errorf("servers have seen it %d times", n)
			}
			if protocol.Load() != "HTTP/1.1" || header.Load() != "key" || body.Load() != test.body {
				t.Errorf("it came by %v with header %q and body %q", protocol.Load(), header.Load(), body.Load())
			}
		})
	}
}

// newWrite is a request as it comes from a client: with a body in memory or none.
func newWrite(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWriteIsWholeAfterServerWentAway has a server refuse a write unseen (GOAWAY) and
// be gone when it is dialled again, as it is when it is restarted: the next server
// must get the body from its beginning.
func TestWriteIsWholeAfterServerWentAway(t *testing.T) {
	other := server(t, "other")
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: other.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	refused := make(chan error, 1)
	go func() { refused <- goAway(listener) }()
	u, _ := upstream(t, mainAndBypass([]string{"https://" + listener.Addr().String()}, []string{other.URL}), other)
	response, _, err := u.RoundTrip(newWrite(t, http.MethodPost, "/", "pod"), Call{})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "otherpod" {
		t.Errorf("answer %q, error %v", body, err)
	}
	if err := <-refused; err != nil {
		t.Errorf("the first server has not refused it: %v", err)
	}
}

// onceHTTP2 accepts a connection and listens no more, reads a request to its end, and
// has it answered.
func onceHTTP2(listener net.Listener, answer func(conn net.Conn, framer *http2.Framer, stream uint32) error) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	listener.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		if f, ok := frame.(interface{ StreamEnded() bool }); ok && f.StreamEnded() {
			err := answer(conn, framer, frame.Header().StreamID)
			// Until the client closes: a reset could overtake the answer.
			_, _ = io.Copy(io.Discard, conn)
			return err
		}
	}
}

// goAway says of a request that it has not looked at it.
func goAway(listener net.Listener) error {
	return onceHTTP2(listener, func(_ net.Conn, framer *http2.Framer, _ uint32) error {
		return framer.WriteGoAway(0, http2.ErrCodeNo, nil)
	})
}

// TestLostWriteGivesItsPlaceBack has a group limit what is under way.
func TestLostWriteGivesItsPlaceBack(t *testing.T) {
	s, _ := breaking(t)
	u, _ := upstream(t, mainAndBypass([]string{s.URL}, nil), s)
	call := Call{Attributes: attributes(t, "/api/v1/namespaces/a/pods", "", "P1")}
	if _, _, err := send(t, u, http.MethodPost, "pod", call); err == nil {
		t.Fatal("the write was not lost")
	}
	if n := u.LiveGroups()["main"].InFlight; n != 0 {
		t.Errorf("%d requests are under way", n)
	}
}

// TestWriteWhoseStreamIsRefusedIsSentOnceMore has a server refuse the first stream
// of a write (REFUSED_STREAM), as one does that has too many: nothing of it has been
// looked at, so it is sent again, once and whole.
func TestWriteWhoseStreamIsRefusedIsSentOnceMore(t *testing.T) {
	certificate := server(t, "certificate")
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificate.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	bodies := make(chan string, 10)
	served := make(chan error, 1)
	go func() { served <- refuseFirst(listener, bodies) }()
	u, _ := upstream(t, mainAndBypass([]string{"https://" + listener.Addr().String()}, nil), certificate)
	response, e, err := u.RoundTrip(newWrite(t, http.MethodPost, "/", "pod"), Call{})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Errorf("answered %d", response.StatusCode)
	}
	if failed := e.failed.Load(); failed != 0 {
		t.Errorf("a stream that was refused counts as %d lost requests", failed)
	}
	// The connection ends with the test, and so does the server.
	u.Close()
	if err := <-served; err != nil && !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	close(bodies)
	var seen []string
	for body := range bodies {
		seen = append(seen, body)
	}
	if !slices.Equal(seen, []string{"pod", "pod"}) {
		t.Errorf("the server was sent %q", seen)
	}
}

// refuseFirst serves one connection: it refuses the first stream, and answers the
// others with 201. Bodies gets what was sent, in the order of the streams' ends.
func refuseFirst(listener net.Listener, bodies chan<- string) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	refused := false
	body := map[uint32]string{}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		data, ok := frame.(*http2.DataFrame)
		if !ok {
			continue
		}
		body[data.StreamID] += string(data.Data())
		if !data.StreamEnded() {
			continue
		}
		bodies <- body[data.StreamID]
		if !refused {
			refused = true
			err = framer.WriteRSTStream(data.StreamID, http2.ErrCodeRefusedStream)
		} else {
			var block bytes.Buffer
			if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "201"}); err != nil {
				return err
			}
			err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: data.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
		}
		if err != nil {
			return err
		}
	}
}

// TestServerThatIsLostBehindItsHeadersHasNotAnswered has a server send the headers of
// an answer and die: the client has seen nothing of it.
func TestServerThatIsLostBehindItsHeadersHasNotAnswered(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for lane, name := range map[Lane]string{Short: "short", Bulk: "bulk", Watch: "watch"} {
			t.Run(method+" "+name, func(t *testing.T) {
				other := server(t, "other")
				listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: other.TLS.Certificates, NextProtos: []string{"h2"}})
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				served := make(chan error, 1)
				go func() { served <- headersOnly(listener) }()
				u, _ := upstream(t, mainAndBypass([]string{"https://" + listener.Addr().String()}, []string{other.URL}), other)
				text := ""
				if method == http.MethodPost {
					text = "pod"
				}
				response, _, err := u.RoundTrip(newWrite(t, method, "/api/v1/pods", text), Call{Lane: lane})
				if served := <-served; served != nil {
					t.Fatal(served)
				}
				switch {
				case lane == Watch:
					// Its headers are an answer: what follows may take as long as it likes.
					if err != nil {
						t.Fatal(err)
					}
					response.Body.Close()
				case method == http.MethodGet:
					if err != nil {
						t.Fatal(err)
					}
					defer response.Body.Close()
					if body, err := io.ReadAll(response.Body); err != nil || string(body) != "other" {
						t.Errorf("answer %q, error %v", body, err)
					}
				case err == nil || errors.Is(err, ErrUnreachable):
					t.Errorf("a write that may have been applied: error %v", err)
				}
				if n := u.Endpoints()[0].inFlight.Load(); n != 0 {
					t.Errorf("%d requests are under way on the server that is gone", n)
				}
			})
		}
	}
}

// headersOnly answers a request with headers only.
func headersOnly(listener net.Listener) error {
	return onceHTTP2(listener, func(conn net.Conn, framer *http2.Framer, stream uint32) error {
		var block bytes.Buffer
		if err := hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"}); err != nil {
			return err
		}
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
			return err
		}
		return conn.(*tls.Conn).CloseWrite()
	})
}

package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/net/http2"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

// TestRequestsWithoutABodyHaveNone: for an empty one the transport starts a goroutine.
func TestRequestsWithoutABodyHaveNone(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	if _, _, err := newClientBody(r, &replays{}); err != nil || r.Body != nil {
		t.Errorf("body %v, %v", r.Body, err)
	}
}

// TestWriteBehindGoAwayIsSentAgain has an apiserver that is being restarted: it
// refuses the stream of a write by a GOAWAY, and takes it on the next connection.
func TestWriteBehindGoAwayIsSentAgain(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificate.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	bodies := make(chan string, 2)
	server := &http.Server{
		TLSConfig: &tls.Config{NextProtos: []string{"h2"}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			bodies <- string(body)
			w.WriteHeader(http.StatusCreated)
		}),
	}
	defer server.Close()
	go func() {
		refuseStream(listener)
		_ = server.Serve(listener)
	}()

	roots := x509.NewCertPool()
	roots.AddCert(certificate.Certificate())
	client := routing.Client{TLS: &tls.Config{RootCAs: roots}}
	upstream, err := routing.New(routing.Config{
		Groups:    []*v1alpha1.UpstreamGroup{routing.StaticGroup("main", "https://"+listener.Addr().String())},
		Asserting: client, Own: client, Anonymous: client, Clock: clock.RealClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("pod"))
	if err != nil {
		t.Fatal(err)
	}
	r.GetBody = nil // as it comes from a server
	if body, _, err := newClientBody(r, &replays{}); body != nil || err != nil {
		t.Fatalf("a small body was not taken into memory: %v", err)
	}
	response, _, err := upstream.RoundTrip(r, routing.Call{As: routing.Asserting, Lane: routing.Short})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if body := <-bodies; response.StatusCode != http.StatusCreated || body != "pod" {
		t.Errorf("%d for %q", response.StatusCode, body)
	}
}

// refuseStream accepts a connection, and answers its first request by a GOAWAY
// that says that no stream was looked at.
func refuseStream(listener net.Listener) {
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		if data, ok := frame.(*http2.DataFrame); ok && data.StreamEnded() {
			_ = framer.WriteGoAway(0, http2.ErrCodeNo, nil)
			// Until the client closes: a reset could overtake the frame.
			_, _ = io.Copy(io.Discard, conn)
			return
		}
	}
}

func TestBodyThatBreaksOffIsTheClientsFault(t *testing.T) {
	broken := errors.New("connection reset by peer")
	for name, length := range map[string]int64{"small": 10, "large": smallBytes + 1, "too large": replayBytes + 1, "of unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(broken))
			r.ContentLength = length
			body, release, err := newClientBody(r, &replays{})
			defer release()
			if err == nil {
				_, err = io.ReadAll(r.Body)
				err = body.blame(err)
			}
			if !errors.As(err, &clientError{}) || !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
		})
	}
	var inMemory *clientBody
	if err := inMemory.blame(broken); errors.As(err, &clientError{}) {
		t.Error("a failure upstream was blamed on the client")
	}
}

func TestMemoryForLargeBodiesIsBounded(t *testing.T) {
	memory := &replays{}
	inMemory := 0
	var releases []func()
	for range 2 * replayMemory / replayBytes {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, replayBytes)))
		body, release, err := newClientBody(r, memory)
		if err != nil {
			t.Fatal(err)
		}
		if body == nil {
			inMemory++
		}
		releases = append(releases, release)
	}
	if inMemory != replayMemory/replayBytes {
		t.Errorf("%d bodies of 3 MiB in memory, want %d", inMemory, replayMemory/replayBytes)
	}
	for _, release := range releases {
		release()
	}
	if used := memory.used.Load(); used != 0 {
		t.Errorf("%d bytes are never given back", used)
	}
}

package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"testing"
)

func TestGoawayTakesItsChance(t *testing.T) {
	draws := []float64{0, 0.0009, 0.001, 0.5, 0.999}
	for _, tc := range []struct {
		chance  float64
		major   int
		goaways int
	}{{0.001, 2, 2}, {0, 2, 0}, {1, 2, len(draws)}, {1, 1, 0}} {
		next := 0
		handler := WithGoaway(http.NotFoundHandler(), tc.chance, func() float64 {
			next++
			return draws[next-1]
		})
		got := 0
		for range draws {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.ProtoMajor = tc.major
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Header().Get("Connection") == "close" {
				got++
			}
		}
		if got != tc.goaways {
			t.Errorf("chance %g, HTTP/%d: %d of %d were sent away, want %d", tc.chance, tc.major, got, len(draws), tc.goaways)
		}
	}
}

// TestGoawayMovesRequestsAndNoWatches sends requests beside a watch: over new
// connections if the chance says so, while events go on coming over the old one.
func TestGoawayMovesRequestsAndNoWatches(t *testing.T) {
	const requests = 20
	for _, tc := range []struct {
		protocol string
		chance   float64
		moves    bool
	}{{"h2", 1, true}, {"h2", 0, false}, {"http/1.1", 1, false}} {
		t.Run(fmt.Sprintf("%s with chance %g", tc.protocol, tc.chance), func(t *testing.T) {
			events := make(chan string)
			end := sync.OnceFunc(func() { close(events) })
			defer end()
			server, _ := serverBefore(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("watch") == "" {
					return
				}
				_ = http.NewResponseController(w).Flush()
				for event := range events {
					_, _ = io.WriteString(w, event+"\n")
					_ = http.NewResponseController(w).Flush()
				}
			}, func(o *Options) { o.GoawayChance = tc.chance })
			gateway := serveChain(t, server)
			transport := gateway.Client().Transport.(*http.Transport).Clone()
			if tc.protocol == "http/1.1" {
				transport.ForceAttemptHTTP2, transport.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
				transport.TLSClientConfig.NextProtos = nil
			}
			defer transport.CloseIdleConnections()

			connections := map[string]bool{}
			get := func(path string) *http.Response {
				t.Helper()
				used := ""
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
					used = info.Conn.LocalAddr().String()
				}})
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != http.StatusOK || response.Close || (response.ProtoMajor == 2) != (tc.protocol == "h2") {
					t.Fatalf("%s: %s %s, closes: %t", path, response.Proto, response.Status, response.Close)
				}
				connections[used] = true
				return response
			}
			watch := get("/api/v1/pods?watch=1")
			defer watch.Body.Close()
			in := bufio.NewReader(watch.Body)
			clear(connections)
			for i := range requests {
				response := get("/api/v1/pods")
				if _, err := io.Copy(io.Discard, response.Body); err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				events <- fmt.Sprint("event ", i)
				if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("event %d\n", i) {
					t.Fatalf("the watch got %q, %v", line, err)
				}
			}
			end()
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				t.Errorf("the watch ended with %q, %v", rest, err)
			}
			if moved := len(connections) > 1; moved != tc.moves {
				t.Errorf("%d requests went over %d connections", requests, len(connections))
			}
		})
	}
}

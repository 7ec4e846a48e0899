package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a connection that notes what is written to it.
type sink struct {
	net.Conn
	mu     sync.Mutex
	writes []string
	err    error
	closed bool
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.writes = append(s.writes, string(b))
	return len(b), nil
}

func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.writes, "|")
}

// corked runs a test with a clock of its own, up to when nobody looks after
// connections any more.
func corked(t *testing.T, test func(*testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		test(t)
		<-time.After(4 * corkFor)
	})
}

func mustWrite(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Errorf("wrote %d of %d bytes: %v", n, len(text), err)
	}
}

func TestAnAnswerIsOneWrite(t *testing.T) {
	corked(t, func(t *testing.T) {
		s := &sink{}
		c := &corkedConn{Conn: s, corks: &corks{hold: corkFor}}
		mustWrite(t, c, "before")
		c.begin()
		mustWrite(t, c, "header ")
		mustWrite(t, c, "body ")
		c.end(1)
		if got := s.text(); got != "before" {
			t.Errorf("without an end wrote %s", got)
		}
		mustWrite(t, c, "end")
		mustWrite(t, c, "after")
		c.begin()
		c.end(2)
		mustWrite(t, c, "header ")
		mustWrite(t, c, "body with end")
		mustWrite(t, c, "after")
		if got, want := s.text(), "before|header body end|after|header body with end|after"; got != want {
			t.Errorf("wrote %s, want %s", got, want)
		}
	})
}

// slowConn is a connection whose client reads when it is told to.
type slowConn struct {
	net.Conn
	reads    chan struct{}
	deadline atomic.Pointer[time.Time]
}

func (s *slowConn) Write(b []byte) (int, error) {
	<-s.reads
	return len(b), nil
}

func (s *slowConn) SetWriteDeadline(t time.Time) error {
	s.deadline.Store(&t)
	return nil
}

// TestWhatIsReleasedIsBound: net/http takes its deadline away when a write is done,
// which it is for net/http as soon as it is held.
func TestWhatIsReleasedIsBound(t *testing.T) {
	corked(t, func(t *testing.T) {
		s := &slowConn{reads: make(chan struct{})}
		c := &corkedConn{Conn: s, corks: &corks{hold: time.Hour}, stall: time.Minute}
		start := time.Now()
		c.begin()
		if err := c.SetWriteDeadline(start.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, c, "held")
		go c.end(0)
		synctest.Wait()
		if err := c.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if got := s.deadline.Load(); !got.Equal(start.Add(time.Minute)) {
			t.Errorf("the write has to end by %s, want %s", got, start.Add(time.Minute))
		}
		close(s.reads)
		synctest.Wait()
		if got := s.deadline.Load(); !got.IsZero() {
			t.Errorf("the next write has to end by %s, and net/http has set no deadline", got)
		}
		<-time.After(2 * time.Hour)
	})
}

func TestNothingIsHeldForLong(t *testing.T) {
	corked(t, func(t *testing.T) {
		s := &sink{}
		c := &corkedConn{Conn: s, corks: &corks{hold: corkFor}}
		for _, want := range []string{"header body|more", "header body|more|header body|more"} {
			c.begin()
			mustWrite(t, c, "header ")
			<-time.After(corkFor - 1)
			mustWrite(t, c, "body")
			if got := s.text(); strings.HasSuffix(got, "body") {
				t.Error("not held")
			}
			<-time.After(corkFor + 1)
			synctest.Wait()
			// Whose client does not read is not waited for again.
			mustWrite(t, c, "more")
			if got := s.text(); got != want {
				t.Errorf("wrote %s, want %s", got, want)
			}
			c.end(0)
		}
	})
}

// TestAConnectionThatIsInUseAllTheTimeIsNotTakenForOneThatIsStuck: what it holds is
// never what it held at the last look.
func TestAConnectionThatIsInUseAllTheTimeIsNotTakenForOneThatIsStuck(t *testing.T) {
	corked(t, func(t *testing.T) {
		s := &sink{}
		c := &corkedConn{Conn: s, corks: &corks{hold: corkFor}}
		want := ""
		for range 10 {
			c.begin()
			mustWrite(t, c, "header ")
			<-time.After(corkFor)
			synctest.Wait()
			mustWrite(t, c, "body ")
			c.end(1)
			mustWrite(t, c, "end")
			want += "|header body end"
		}
		if got := s.text(); got != want[1:] {
			t.Errorf("wrote %s", got)
		}
	})
}

func TestAnAnswerDoesNotWaitForAnotherThatIsStuck(t *testing.T) {
	corked(t, func(t *testing.T) {
		s := &sink{}
		c := &corkedConn{Conn: s, corks: &corks{hold: corkFor}}
		c.begin()
		mustWrite(t, c, "part of a list")
		<-time.After(2 * corkFor)
		synctest.Wait()
		c.begin()
		mustWrite(t, c, "header ")
		mustWrite(t, c, "body ")
		c.end(1)
		mustWrite(t, c, "end")
		if got, want := s.text(), "part of a list|header body end"; got != want {
			t.Errorf("wrote %s, want %s", got, want)
		}
	})
}

func TestMuchIsWrittenAtOnce(t *testing.T) {
	corked(t, func(t *testing.T) {
		s := &sink{}
		c := &corkedConn{Conn: s, corks: &corks{hold: corkFor}}
		piece := strings.Repeat("x", corkEnough/2)
		c.begin()
		for range 6 {
			mustWrite(t, c, piece)
		}
		if got, want := s.text(), strings.Repeat(piece, 4); got != want {
			t.Errorf("wrote %d bytes while more is written, want %d", len(got), len(want))
		}
		c.end(1)
		if got, want := s.text(), strings.Repeat(piece, 4)+"|"+strings.Repeat(piece, 2); got != want {
			t.Errorf("wrote %d bytes, want %d", len(got), len(want))
		}
		huge := strings.Repeat("x", corkBuffer+1)
		c.begin()
		mustWrite(t, c, "header")
		mustWrite(t, c, huge)
		c.end(0)
		if !strings.HasSuffix(s.text(), "|header|"+huge) {
			t.Error("what does not fit was held")
		}
	})
}

func TestCloseWritesWhatIsHeld(t *testing.T) {
	corked(t, func(t *testing.T) {
		s := &sink{}
		c := &corkedConn{Conn: s, corks: &corks{hold: corkFor}}
		c.begin()
		mustWrite(t, c, "farewell")
		if err := c.Close(); err != nil || s.text() != "farewell" || !s.closed {
			t.Errorf("%v, wrote %s, closed: %t", err, s.text(), s.closed)
		}
	})
}

func TestWhatCannotBeWrittenLaterIsTold(t *testing.T) {
	broken := errors.New("broken pipe")
	for name, release := range map[string]func(*corkedConn){
		"with what follows": func(*corkedConn) {},
		"at the end":        func(c *corkedConn) { c.end(0) },
		"by itself": func(*corkedConn) {
			<-time.After(2 * corkFor)
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			corked(t, func(t *testing.T) {
				c := &corkedConn{Conn: &sink{err: broken}, corks: &corks{hold: corkFor}}
				c.begin()
				mustWrite(t, c, "header")
				release(c)
				c.rest.Store(1)
				if n, err := c.Write([]byte("body")); n != 0 || !errors.Is(err, broken) {
					t.Errorf("%d, %v", n, err)
				}
			})
		})
	}
}

// TestClientThatDoesNotReadIsGivenUp is about what is written while net/http does not
// write, and has set no deadline.
func TestClientThatDoesNotReadIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := corkListener{listener, &corks{hold: time.Minute}, 100 * time.Millisecond}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := conn.(*corkedConn)
	piece := make([]byte, corkEnough)
	for c.err == nil {
		c.begin()
		if _, err := c.Write(piece); err != nil {
			break
		}
		c.end(0)
	}
	if !errors.Is(c.err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v", c.err)
	}
}

// countingListener counts the writes to its connections.
type countingListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, l.writes}, err
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// corkServer answers GETs over TLS and HTTP/2 with a body; /corked has it corked.
func corkServer(t testing.TB, body []byte, hold time.Duration) (server *httptest.Server, writes *atomic.Int64) {
	writes = &atomic.Int64{}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Length"] = []string{fmt.Sprint(len(body))}
		if r.URL.Path != "/corked" {
			_, _ = w.Write(body)
			return
		}
		fl := &flight{conn: corkOf(r)}
		_, _ = fl.writeTo(w, body)
	}))
	server.Listener = corkListener{countingListener{server.Listener, writes}, &corks{hold: hold}, time.Minute}
	server.EnableHTTP2 = true
	server.Config.ConnContext = withCork
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, writes
}

func get(t testing.TB, server *httptest.Server, path string) []byte {
	response, err := server.Client().Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatalf("over %s", response.Proto)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestCorkSavesWrites compares with what net/http does by itself. If it did better,
// there would be no need for corks.
func TestCorkSavesWrites(t *testing.T) {
	for _, tc := range []struct {
		size          int
		plain, corked float64
	}{{100, 2, 1}, {withEnd, 2, 1}, {withEnd + 1, 3, 1}, {8 << 10, 3, 1}, {30 << 10, 5, 1}, {60 << 10, 9, 2}} {
		t.Run(fmt.Sprint(tc.size), func(t *testing.T) {
			body := bytes.Repeat([]byte("x"), tc.size)
			server, writes := corkServer(t, body, time.Minute)
			const n = 100
			perAnswer := func(path string) float64 {
				get(t, server, path)
				before := writes.Load()
				for range n {
					if got := get(t, server, path); !bytes.Equal(got, body) {
						t.Fatalf("got %d bytes", len(got))
					}
				}
				return float64(writes.Load()-before) / n
			}
			// The client acknowledges bodies now and then, and the server its settings.
			plain, corked := perAnswer("/"), perAnswer("/corked")
			if plain < tc.plain || corked > tc.corked+0.5 {
				t.Errorf("%.2f writes an answer, %.2f if corked; want %.0f and %.0f", plain, corked, tc.plain, tc.corked)
			}
		})
	}
}

// TestCorkedAnswersAreWhole has many answers share a connection, written in parts of
// any size, one of them to a client that hardly reads.
func TestCorkedAnswersAreWhole(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seed, _ := strconv.ParseUint(r.URL.Query().Get("seed"), 10, 64)
		random := rand.New(rand.NewPCG(seed, 0))
		fl := &flight{conn: corkOf(r), longRunning: seed%5 == 0}
		for range random.IntN(6) {
			if _, err := fl.writeTo(w, textOf(random)); err != nil {
				return
			}
		}
	}))
	server.Listener = corkListener{server.Listener, &corks{hold: corkFor}, time.Minute}
	server.EnableHTTP2 = true
	server.Config.ConnContext = withCork
	server.StartTLS()
	defer server.Close()
	client := server.Client()

	slow, err := client.Get(server.URL + "/?seed=3")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 50 {
				seed := uint64(worker*1000 + i)
				random := rand.New(rand.NewPCG(seed, 0))
				var want []byte
				for range random.IntN(6) {
					want = append(want, textOf(random)...)
				}
				response, err := client.Get(fmt.Sprintf("%s/?seed=%d", server.URL, seed))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("seed %d: got %d bytes, want %d; %v", seed, len(got), len(want), err)
				}
			}
		})
	}
	all.Wait()
}

// textOf is a part of an answer: most are small, some are larger than what is held.
func textOf(random *rand.Rand) []byte {
	b := make([]byte, 1+random.IntN(1<<(4+random.IntN(15))))
	for i := range b {
		b[i] = byte('a' + random.IntN(26))
	}
	return b
}

func TestHTTP1IsNotCorked(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), corkKey{}, &corkedConn{}))
	if corkOf(r) != nil {
		t.Error("corked")
	}
	r.ProtoMajor = 2
	if corkOf(r) == nil {
		t.Error("HTTP/2 is not corked")
	}
}

func BenchmarkCork(b *testing.B) {
	for _, size := range []int{1 << 10, 8 << 10, 64 << 10} {
		for _, path := range []string{"/plain", "/corked"} {
			b.Run(fmt.Sprintf("%s/bytes=%d", path[1:], size), func(b *testing.B) {
				server, _ := corkServer(b, make([]byte, size), corkFor)
				get(b, server, path)
				b.ReportAllocs()
				for b.Loop() {
					get(b, server, path)
				}
			})
		}
	}
}

package routing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// cable leads to a server, until it is cut: then no byte passes any more, but
// connections are accepted and stay open, as those of a process that is stopped.
type cable struct {
	listener net.Listener
	target   string

	mu  sync.Mutex
	cut bool
	// changed wakes those who wait for the cable to be mended.
	changed *sync.Cond
}

func newCable(t *testing.T, to *httptest.Server) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(to.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, target: target.Host}
	c.changed = sync.NewCond(&c.mu)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(client)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		c.set(false)
	})
	return c
}

func (c *cable) url() string { return "https://" + c.listener.Addr().String() }

func (c *cable) set(cut bool) {
	c.mu.Lock()
	c.cut = cut
	c.mu.Unlock()
	c.changed.Broadcast()
}

func (c *cable) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.cut {
		c.changed.Wait()
	}
}

func (c *cable) serve(client net.Conn) {
	c.pass()
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		client.Close()
		return
	}
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			defer way[0].Close()
			defer way[1].Close()
			buffer := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(buffer)
				c.pass()
				if _, writeErr := way[1].Write(buffer[:n]); err != nil || writeErr != nil {
					return
				}
			}
		}()
	}
}

// watched is an Upstream that probes, by the real clock.
func watched(t *testing.T, groups []*v1alpha1.UpstreamGroup, trust ...*httptest.Server) *Upstream {
	t.Helper()
	roots := x509.NewCertPool()
	for _, s := range trust {
		roots.AddCert(s.Certificate())
	}
	client := Client{TLS: &tls.Config{RootCAs: roots}}
	u, err := New(Config{Groups: groups, Asserting: client, Own: client, Anonymous: client, Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		u.Close()
	})
	return u
}

// eventually polls, since probes go by the real clock.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(20 * time.Second); !holds(); {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// longestWait is how long any request may wait for a server that is frozen, apart
// from the time in which this process itself does not get to run: then it cannot
// know who is silent (see silence).
const longestWait = 3 * time.Second

// TestServerWithoutSignOfLife cuts the way to a server while requests wait for
// it: a slow one is waited for as long as the way is there.
func TestServerWithoutSignOfLife(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	a := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost || r.URL.RawQuery == "slow" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "a")
	}))
	a.EnableHTTP2 = true
	a.StartTLS()
	defer a.Close()
	defer close(release)
	b := server(t, "b")
	c := newCable(t, a)
	u := watched(t, mainAndBypass([]string{c.url()}, []string{b.URL}), a, b)
	main := u.Endpoints()[0]
	eventually(t, "main is ready", func() bool { return main.health.condition() == ready })

	type result struct {
		took time.Duration
		body string
		err  error
		// when is what main is taken for at the end.
		when condition
	}
	do := func(ctx context.Context, method, query string, lane Lane) result {
		start := time.Now()
		r, err := http.NewRequestWithContext(ctx, method, "/?"+query, http.NoBody)
		if err != nil {
			return result{err: err}
		}
		response, _, err := u.RoundTrip(r, Call{Lane: lane})
		if err != nil {
			return result{time.Since(start), "", err, main.health.condition()}
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return result{time.Since(start), string(body), err, main.health.condition()}
	}

	// Alive and slow: longer than maxSilence.
	patient, giveUp := context.WithTimeout(t.Context(), maxSilence+time.Second)
	slow := do(patient, http.MethodGet, "slow", Bulk)
	giveUp()
	if !errors.Is(slow.err, context.DeadlineExceeded) || main.health.condition() != ready {
		t.Fatalf("a live server was given up after %s: %q, %v", slow.took, slow.body, slow.err)
	}

	results := map[string]chan result{}
	for name, method := range map[string]string{"read": http.MethodGet, "write": http.MethodPost} {
		into := make(chan result, 1)
		results[name] = into
		go func() { into <- do(t.Context(), method, "slow", Bulk) }()
	}
	eventually(t, "both are under way", func() bool { return main.inFlight.Load() == 2 })
	stalled := fixture.Standstills(t)
	c.set(true)
	for name, want := range map[string]string{"read": "b", "write": ""} {
		got := <-results[name]
		t.Logf("%s: let go after %s; this process stood still for %s", name, got.took, stalled.Sum())
		if got.took > longestWait+stalled.Sum() || got.body != want || (got.err == nil) != (want != "") {
			t.Errorf("%s: %q, %v after %s", name, got.body, got.err, got.took)
		}
		// A read does not wait until the server is given up.
		if (got.when == down) != (name == "write") {
			t.Errorf("%s: let go after %s, when main was taken for %d", name, got.took, got.when)
		}
		if errors.Is(got.err, ErrUnreachable) {
			t.Errorf("%s: it may have arrived, and is called not sent", name)
		}
	}
	if got := do(t.Context(), http.MethodPost, "", Short); got.body != "b" || got.took > time.Second {
		t.Errorf("a write later: %q, %v after %s", got.body, got.err, got.took)
	}
	c.set(false)
	eventually(t, "main is ready again", func() bool { return main.health.condition() == ready })
}

// TestReadIsNotLostToOneFrozenServerAfterAnother freezes all of main while one
// request is under way, so that nobody but the probes waits for the other server.
func TestReadIsNotLostToOneFrozenServerAfterAnother(t *testing.T) {
	t.Parallel()
	a, b, c := server(t, "main"), server(t, "main"), server(t, "bypass")
	cables := []*cable{newCable(t, a), newCable(t, b)}
	u := watched(t, mainAndBypass([]string{cables[0].url(), cables[1].url()}, []string{c.URL}), a, b, c)
	for range 2 {
		for _, e := range u.Endpoints() {
			eventually(t, "all are ready", func() bool { return e.health.condition() == ready && !e.health.quiet.Load() })
		}
		main := u.table.Load().groups[0]
		eventually(t, "main is there", func() bool { return main.absence.returned(time.Now(), time.Minute) == 1 })
		for _, cable := range cables {
			cable.set(true)
		}
		stalled := fixture.Standstills(t)
		start := time.Now()
		body, _, err := send(t, u, http.MethodGet, "", Call{})
		took := time.Since(start)
		t.Logf("answered after %s; this process stood still for %s", took, stalled.Sum())
		if err != nil || body != "bypass" || took > longestWait+stalled.Sum() {
			t.Errorf("%q, %v after %s", body, err, took)
		}
		for _, cable := range cables {
			cable.set(false)
		}
	}
}

// TestServerThatNobodyAsksIsNotQuiet, since it answers pings.
func TestServerThatNobodyAsksIsNotQuiet(t *testing.T) {
	t.Parallel()
	a := server(t, "a")
	e := watched(t, mainAndBypass([]string{a.URL}, nil), a).Endpoints()[0]
	eventually(t, "it is ready", func() bool { return e.health.condition() == ready && !e.health.quiet.Load() })
	ticker := time.NewTicker(silenceTick / 2)
	defer ticker.Stop()
	for begun := time.Now(); time.Since(begun) < 2*maxQuiet; <-ticker.C {
		if e.health.quiet.Load() {
			t.Fatalf("quiet %s after it was ready", time.Since(begun))
		}
	}
}

// TestServerThatFreezesBetweenProbes is not waited for by anybody but the gateway
// itself, which has asked it for its version.
func TestServerThatFreezesBetweenProbes(t *testing.T) {
	t.Parallel()
	var c *cable
	frozen := make(chan time.Time, 1)
	a := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" && len(frozen) == 0 {
			c.set(true)
			frozen <- time.Now()
		}
	}))
	a.EnableHTTP2 = true
	a.StartTLS()
	defer a.Close()
	c = newCable(t, a)
	stalled := fixture.Standstills(t)
	u := watched(t, mainAndBypass([]string{c.url()}, []string{a.URL}), a)
	since := <-frozen
	eventually(t, "main is down", func() bool { return u.Endpoints()[0].health.condition() == down })
	if took := time.Since(since); took > longestWait+stalled.Sum() {
		t.Errorf("found silent after %s", took)
	}
}

// TestHandshakeWithAFrozenServer has requests meet a server that accepts
// connections and says nothing.
func TestHandshakeWithAFrozenServer(t *testing.T) {
	t.Parallel()
	a, b := server(t, "a"), server(t, "b")
	c := newCable(t, a)
	c.set(true)
	u := watched(t, mainAndBypass([]string{c.url()}, []string{b.URL}), a, b)
	stalled := fixture.Standstills(t)
	start := time.Now()
	if body, _, err := post(t, u); err != nil || body != "b!" {
		t.Errorf("%q, %v", body, err)
	}
	took := time.Since(start)
	t.Logf("answered after %s; this process stood still for %s", took, stalled.Sum())
	if took > longestWait+stalled.Sum() {
		t.Errorf("took %s", took)
	}
}

func TestSlowReadIsHedged(t *testing.T) {
	t.Parallel()
	slow := make(chan struct{})
	a := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "slow" {
			select {
			case <-slow:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "a")
	}))
	a.EnableHTTP2 = true
	a.StartTLS()
	defer a.Close()
	defer close(slow)
	b := server(t, "b")
	group := StaticGroup("main", a.URL, b.URL)
	group.Spec.Hedging = v1alpha1.HedgingAfterP99
	u := watched(t, []*v1alpha1.UpstreamGroup{group}, a, b)
	call := func(method string) (body string, took time.Duration, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "/?slow", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		response, _, err := u.RoundTrip(r, Call{})
		if err != nil {
			return "", 0, err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return string(text), time.Since(start), err
	}
	for range 30 {
		if body, took, err := call(http.MethodGet); err != nil || body != "b" || took > time.Second {
			t.Fatalf("%q, %v after %s", body, err, took)
		}
	}
	for _, e := range u.Endpoints() {
		eventually(t, "nothing is under way", func() bool { return e.inFlight.Load() == 0 })
	}
	// A write waits for the one server that it has been sent to.
	hedges := testutil.ToFloat64(u.metrics.hedges)
	u.random = func() uint64 { return 0 } // draws the first server, the slow one
	if body, _, err := call(http.MethodDelete); err == nil || testutil.ToFloat64(u.metrics.hedges) != hedges {
		t.Errorf("a write was hedged: %q", body)
	}
}

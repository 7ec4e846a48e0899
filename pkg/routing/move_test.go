package routing

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// begun is more than what is read of an answer before it counts as one.
var begun = strings.Repeat(".", aheadBytes+1)

// slowServer begins its answer at once if asked for that, and sends the rest when it
// is released.
func slowServer(t *testing.T) (_ *httptest.Server, release func()) {
	t.Helper()
	released := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "begin" {
			_, _ = io.WriteString(w, begun)
			w.(http.Flusher).Flush()
		}
		select {
		case <-released:
			_, _ = io.WriteString(w, "a")
		case <-r.Context().Done():
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, func() { close(released) }
}

// asking sends a request, and returns where its answer, or its error, will be.
func asking(t *testing.T, u *Upstream, method, query string, call Call) <-chan string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "/?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		response, _, err := u.RoundTrip(r, call)
		if err != nil {
			done <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		done <- string(body)
	}()
	return done
}

// movableReads is how many wait for a server and can be taken from it.
func movableReads(e *Endpoint) int {
	e.reads.mu.Lock()
	defer e.reads.mu.Unlock()
	return len(e.reads.waiting)
}

// TestReadsMoveFromASilentServer as far as it is safe and there is somewhere to go.
func TestReadsMoveFromASilentServer(t *testing.T) {
	for name, c := range map[string]struct {
		method, query string
		lane          Lane
		// then changes what there is while the request waits.
		then func(*Upstream)
		want string
	}{
		"a read":         {method: http.MethodGet, want: "b"},
		"a list":         {method: http.MethodGet, lane: Bulk, want: "b"},
		"a watch":        {method: http.MethodGet, lane: Watch, want: "a"},
		"a write":        {method: http.MethodPost, want: "a"},
		"begun":          {method: http.MethodGet, query: "begin", want: begun + "a"},
		"no budget":      {method: http.MethodGet, then: func(u *Upstream) { u.budget.left.Store(999) }, want: "a"},
		"no server":      {method: http.MethodGet, then: func(u *Upstream) { u.Endpoints()[1].health.quiet.Store(true) }, want: "a"},
		"no room for it": {method: http.MethodGet, then: func(u *Upstream) { u.table.Load().groups[1].inFlight.Store(1) }, want: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			a, release := slowServer(t)
			b := server(t, "b")
			groups := mainAndBypass([]string{a.URL}, []string{b.URL})
			groups[1].Spec.MaxInFlight = new(int32(1))
			u, _ := upstream(t, groups, a, b)
			main := u.Endpoints()[0]
			answer := asking(t, u, c.method, c.query, Call{Lane: c.lane, Attributes: attributes(t, "/api/v1/pods", "", "P1")})
			movable := 0
			if c.method == http.MethodGet && c.query == "" && c.lane != Watch {
				movable = 1
			}
			eventually(t, "it is under way", func() bool { return main.counter(c.lane).Load() == 1 && movableReads(main) == movable })
			if c.then != nil {
				c.then(u)
			}
			u.moveReads(main, u.config.Clock.Now())
			if c.want != "b" {
				release()
			}
			if got := <-answer; got != c.want {
				t.Errorf("answered %q, want %q", strings.TrimLeft(got, "."), strings.TrimLeft(c.want, "."))
			}
			if got := testutil.ToFloat64(u.metrics.retries); (got == 1) != (c.want == "b") {
				t.Errorf("%v reads counted as sent again", got)
			}
			if main.failed.Load() != 0 || main.health.losses.Load() != 0 {
				t.Error("what was moved counts as lost")
			}
			for _, e := range u.Endpoints() {
				eventually(t, "nothing is under way", func() bool { return !e.waiting() && movableReads(e) == 0 })
			}
		})
	}
}

// TestReadMovesOnAndOn from one silent server to the next.
func TestReadMovesOnAndOn(t *testing.T) {
	a, _ := slowServer(t)
	b, _ := slowServer(t)
	c := server(t, "c")
	u, _ := upstream(t, mainAndBypass([]string{a.URL}, []string{b.URL, c.URL}), a, b, c)
	all := u.Endpoints()
	last := &all[2].health.quiet
	last.Store(true)
	answer := asking(t, u, http.MethodGet, "", Call{})
	for _, e := range all[:2] {
		eventually(t, "it waits for "+e.URL.Host, func() bool { return movableReads(e) == 1 })
		last.Store(e == all[0])
		u.moveReads(e, u.config.Clock.Now())
	}
	if got := <-answer; got != "c" {
		t.Errorf("answered %q", got)
	}
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

// counted is upstream, and what stands for it where reads are sent one by one. Both
// answer when they are let to.
type counted struct {
	mu sync.Mutex
	// own are requests of the gateway's, others those of clients.
	own, others int
	// ways are those of the gateway's own.
	ways   []string
	status int
	body   string
	err    error
	let    chan struct{}
}

func (c *counted) RoundTrip(r *http.Request, call routing.Call) (*http.Response, *routing.Endpoint, error) {
	c.mu.Lock()
	c.own++
	c.ways = append(c.ways, call.Way.By)
	c.mu.Unlock()
	if call.As != routing.Own || call.Attributes == nil {
		return nil, nil, fmt.Errorf("sent as %v", call.As)
	}
	for name := range r.Header {
		switch name {
		case "Accept", "Accept-Encoding", "User-Agent":
		default:
			return nil, nil, fmt.Errorf("with the header %s of one of its clients", name)
		}
	}
	<-c.let
	if c.err != nil {
		return nil, nil, c.err
	}
	h := http.Header{"Content-Type": {"application/json"}, "Audit-Id": {"upstream's"}}
	return &http.Response{StatusCode: c.status, Header: h, Body: io.NopCloser(strings.NewReader(c.body))}, nil, nil
}

// Way is what the client has put into a header.
func (c *counted) Way(_ *request.Attributes, h http.Header) routing.Way {
	return routing.Way{By: h.Get("X-Canary")}
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.others++
	c.mu.Unlock()
	<-c.let
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "for one")
}

// gathering sends reads through a coalescer.
type gathering struct {
	*coalescer
	upstream *counted
	all      sync.WaitGroup
	mu       sync.Mutex
	answers  map[string]int
}

func newGathering(allowed func(*request.Attributes) bool) *gathering {
	u := &counted{status: http.StatusOK, body: "for many", let: make(chan struct{})}
	fl := newFlights(&drainState{}, clock.RealClock{}, 0, 0)
	c := newCoalescer(u, func(_ context.Context, a *request.Attributes) bool { return allowed(a) }, fl, prometheus.NewCounter(prometheus.CounterOpts{}))
	return &gathering{coalescer: c, upstream: u, answers: map[string]int{}}
}

func anyone(*request.Attributes) bool { return true }

// read sends a read, and returns when it waits for something.
func (g *gathering) read(t *testing.T, user, target string, header ...string) {
	t.Helper()
	r := readBy(t, user, target)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	g.send(t, r)
}

func (g *gathering) send(t *testing.T, r *http.Request) {
	t.Helper()
	g.all.Go(func() {
		w := httptest.NewRecorder()
		g.serve(w, r, g.upstream)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.answers[w.Body.String()]++
		if w.Body.String() == g.upstream.body && w.Header().Get("Audit-Id") == "upstream's" {
			t.Error("an answer has the audit ID of another request")
		}
	})
	synctest.Wait()
}

func readBy(t *testing.T, name, target string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	r.Header.Set("Accept", "application/yaml")
	r.Header.Set("Authorization", "Bearer secret")
	a, err := request.NewParser().Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Identity = &request.Identity{Info: &user.DefaultInfo{Name: name}}
	return r.WithContext(request.WithAttributes(r.Context(), a))
}

// finish lets everything be answered.
func (g *gathering) finish(t *testing.T, want map[string]int) {
	t.Helper()
	close(g.upstream.let)
	g.all.Wait()
	synctest.Wait()
	if fmt.Sprint(g.answers) != fmt.Sprint(want) {
		t.Errorf("answers %v, want %v", g.answers, want)
	}
	if len(g.lines) != 0 || g.sharing.Load() != 0 {
		t.Errorf("%d lines and %d bytes are left", len(g.lines), g.sharing.Load())
	}
}

const pods = "/api/v1/namespaces/a/pods?labelSelector=x"

func TestReadsThatComeTogetherAreSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(anyone)
		g.read(t, "first", pods)
		for i := range 20 {
			g.read(t, fmt.Sprint("user-", i), pods)
		}
		g.finish(t, map[string]int{"for one": 1, "for many": 20})
		if g.upstream.own != 1 || g.upstream.others != 1 {
			t.Errorf("sent %d for many and %d for one", g.upstream.own, g.upstream.others)
		}
		if n := testutil.ToFloat64(g.shared); n != 20 {
			t.Errorf("counted %v", n)
		}
	})
}

// TestNobodyGetsWhatWasAskedForBeforeHeCame: a read that comes while a shared request
// is under way joins the next one.
func TestNobodyGetsWhatWasAskedForBeforeHeCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(anyone)
		g.read(t, "first", pods)
		g.read(t, "a", pods)
		g.read(t, "b", pods)
		// They do not wait for the first without end.
		passTime(t, func() bool { return g.sent() == 1 })
		g.read(t, "c", pods)
		g.read(t, "d", pods)
		passTime(t, func() bool { return g.sent() == 2 })
		g.finish(t, map[string]int{"for one": 1, "for many": 4})
	})
}

func (g *gathering) sent() int {
	g.upstream.mu.Lock()
	defer g.upstream.mu.Unlock()
	return g.upstream.own
}

// passTime lets time pass, in a bubble, until something has happened.
func passTime(t *testing.T, happened func() bool) {
	t.Helper()
	timeout := clock.RealClock{}.After(gatherFor * 10)
	for !happened() {
		select {
		case <-timeout:
			t.Fatal("it does not happen")
		case <-clock.RealClock{}.After(gatherFor / 10):
		}
		synctest.Wait()
	}
}

func TestWhoIsAloneAsksWithHisOwnName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(anyone)
		g.read(t, "first", pods)
		g.read(t, "second", pods)
		g.finish(t, map[string]int{"for one": 2})
	})
}

func TestReadsThatDifferAreNotShared(t *testing.T) {
	for name, differs := range map[string]func(t *testing.T, g *gathering, user string){
		"path": func(t *testing.T, g *gathering, user string) {
			g.read(t, user, strings.Replace(pods, "/a/", "/"+user+"/", 1))
		},
		"query":    func(t *testing.T, g *gathering, user string) { g.read(t, user, pods+user) },
		"form":     func(t *testing.T, g *gathering, user string) { g.read(t, user, pods, "Accept", "application/"+user) },
		"encoding": func(t *testing.T, g *gathering, user string) { g.read(t, user, pods, "Accept-Encoding", user) },
		"route":    func(t *testing.T, g *gathering, user string) { g.read(t, user, pods, "X-Canary", "route/"+user) },
		"priority": func(t *testing.T, g *gathering, user string) {
			r := readBy(t, user, pods)
			request.From(r.Context()).Priority = v1alpha1.Priority("P" + user)
			g.send(t, r)
		},
		"people": func(t *testing.T, g *gathering, user string) { g.read(t, user, pods, "User-Agent", "curl/8") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGathering(anyone)
				for _, user := range []string{"a", "b", "c"} {
					differs(t, g, user)
				}
				g.finish(t, map[string]int{"for one": 3})
			})
		})
	}
}

// TestSharedReadsGoTheWayOfTheirClients: they are sent without the headers by which
// that was found.
func TestSharedReadsGoTheWayOfTheirClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(anyone)
		for _, user := range []string{"first", "a", "b"} {
			g.read(t, user, pods, "X-Canary", "route/canary")
		}
		g.finish(t, map[string]int{"for one": 1, "for many": 2})
		if got := fmt.Sprint(g.upstream.ways); got != "[route/canary]" {
			t.Errorf("went %s", got)
		}
	})
}

func TestWhoMayNotReadAsksForHimself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(func(a *request.Attributes) bool { return a.UserName() != "mallory" })
		g.read(t, "first", pods)
		g.read(t, "a", pods)
		g.read(t, "b", pods)
		g.read(t, "mallory", pods)
		g.finish(t, map[string]int{"for one": 2, "for many": 2})
	})
}

func TestWhatIsNoPlainSuccessIsNotShared(t *testing.T) {
	for name, fails := range map[string]func(*counted){
		"refused":     func(u *counted) { u.status = http.StatusForbidden },
		"unreachable": func(u *counted) { u.err = errors.New("connection refused") },
		"too large":   func(u *counted) { u.body = strings.Repeat("x", maxShared+1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGathering(anyone)
				fails(g.upstream)
				for _, user := range []string{"first", "a", "b"} {
					g.read(t, user, pods)
				}
				g.finish(t, map[string]int{"for one": 3})
			})
		})
	}
}

func TestAClientThatGoesAwayLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(anyone)
		g.read(t, "first", pods)
		r := readBy(t, "gone", pods)
		ctx, cancel := context.WithCancel(r.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			if answer, _ := g.join(lineOf(r, routing.Way{}), r.WithContext(ctx), routing.Way{}); answer != nil {
				t.Error("it got an answer")
			}
		}()
		synctest.Wait()
		g.read(t, "a", pods)
		g.read(t, "b", pods)
		cancel()
		<-left
		g.finish(t, map[string]int{"for one": 1, "for many": 2})
	})
}

// TestAnswerCountsUntilAllHaveWrittenIt has a client that does not read.
func TestAnswerCountsUntilAllHaveWrittenIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(anyone)
		g.read(t, "first", pods)
		reads := make(chan struct{})
		g.all.Go(func() {
			r := readBy(t, "slow", pods)
			g.serve(stalled{httptest.NewRecorder(), reads}, r, g.upstream)
		})
		synctest.Wait()
		g.read(t, "quick", pods)
		close(g.upstream.let)
		synctest.Wait()
		if held, want := g.sharing.Load(), int64(len(g.upstream.body)); held != want {
			t.Errorf("%d bytes are held while one is writing %d", held, want)
		}
		close(reads)
		g.all.Wait()
		if held := g.sharing.Load(); held != 0 {
			t.Errorf("%d bytes are left", held)
		}
	})
}

// stalled is a client that reads nothing until it does.
type stalled struct {
	*httptest.ResponseRecorder
	reads chan struct{}
}

func (s stalled) Write(b []byte) (int, error) {
	<-s.reads
	return s.ResponseRecorder.Write(b)
}

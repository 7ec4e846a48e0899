package routing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// overloadable is an apiserver that refuses every other request while it is
// overloaded, and notes who has reached it.
type overloadable struct {
	*httptest.Server

	mu         sync.Mutex
	overloaded bool
	n          int
	reached    map[string]int
}

func newOverloadable(t *testing.T) *overloadable {
	t.Helper()
	o := &overloadable{reached: map[string]int{}}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		priority := r.Header.Get("X-Priority")
		if priority == "" {
			// A probe: the server is ready, however busy.
			return
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.reached[priority]++
		if o.n++; o.overloaded && o.n%2 == 0 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[o.n/2%2])
		}
	}))
	o.EnableHTTP2 = true
	o.StartTLS()
	t.Cleanup(o.Close)
	return o
}

func (o *overloadable) set(overloaded bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.overloaded = overloaded
}

// since returns who has reached the server since it was asked last.
func (o *overloadable) since() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	reached := o.reached
	o.reached = map[string]int{}
	return reached
}

// TestServersThatRefuseAreSparedTheLowestPrioritiesFirst sends requests of all
// priorities to a server that begins to answer 429 and 503, and stops to.
func TestServersThatRefuseAreSparedTheLowestPrioritiesFirst(t *testing.T) {
	s := newOverloadable(t)
	u, clock := upstream(t, mainAndBypass([]string{s.URL}, nil), s.Server)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	g := u.table.Load().groups[0]
	eventually(t, "the server is ready", func() bool { return u.Endpoints()[0].health.condition() == ready })
	// Run has all its timers, so that a step of the clock reaches it.
	eventually(t, "everything waits for the clock", func() bool { return clock.Waiters() >= 4 })

	const each = 20
	all := []v1alpha1.Priority{"P0", "P1", "P2", "P3", "P4"}
	// second sends for a second: the first priorities that are served, and what is
	// shed in the next second.
	second := func(what string, served int, next v1alpha1.Priority) {
		t.Helper()
		for range each {
			for i, p := range all {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/pods", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Priority", string(p))
				response, _, err := u.RoundTrip(r, Call{Attributes: attributes(t, "/api/v1/pods", "alice", p)})
				var refused *Refused
				switch {
				case err == nil:
					response.Body.Close()
					if i >= served {
						t.Fatalf("%s: %s was let through", what, p)
					}
				case !errors.As(err, &refused) || refused.Reason != Overloaded || refused.RetryAfter <= 0 || i < served:
					t.Fatalf("%s: %s got %v", what, p, err)
				}
			}
		}
		want := map[string]int{}
		for _, p := range all[:served] {
			want[string(p)] = each
		}
		if got := s.since(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: the server was reached by %v, want %v", what, got, want)
		}
		clock.Step(pressureTick)
		eventually(t, fmt.Sprintf("%s: %q is shed next", what, next), func() bool {
			return g.pressure.answers.Load() == 0 && g.pressure.highest() == next
		})
	}
	second("all is well", 5, "")
	s.set(true)
	second("the first bad second", 5, "P4")
	second("the second one", 4, "P3")
	second("the third one", 3, "P2")
	second("nobody else is shed", 2, "P2")
	s.set(false)
	for i, step := range []struct {
		served int
		next   v1alpha1.Priority
	}{{2, "P3"}, {3, "P4"}, {4, ""}} {
		for n := range calmTicks - 1 {
			second(fmt.Sprintf("good second %d of step %d", n+1, i+1), step.served, sheddable[2-i])
		}
		second(fmt.Sprintf("last good second of step %d", i+1), step.served, step.next)
	}
	second("as before", 5, "")
}

// TestOnlyAnApiserversOwnRefusalsAreOverload: others have the same codes.
func TestOnlyAnApiserversOwnRefusalsAreOverload(t *testing.T) {
	const pod = "/api/v1/namespaces/a/pods/b"
	for _, test := range []struct {
		what, path string
		code       int
		retryAfter string
		want       bool
	}{
		{"too many requests", pod, http.StatusTooManyRequests, "1", true},
		{"too many requests of its status", pod + "/status", http.StatusTooManyRequests, "1", true},
		{"a server that is shutting down", pod, http.StatusServiceUnavailable, "5", true},
		{"an answer", pod, http.StatusOK, "", false},
		{"a timeout", pod, http.StatusGatewayTimeout, "1", false},
		{"an aggregated apiserver that is gone", "/apis/metrics.k8s.io/v1beta1/nodes", http.StatusServiceUnavailable, "", false},
		{"an eviction that a budget forbids", pod + "/eviction", http.StatusTooManyRequests, "10", false},
		{"a service that has too much to do", "/api/v1/namespaces/a/services/b/proxy/x", http.StatusServiceUnavailable, "1", false},
	} {
		response := &http.Response{StatusCode: test.code, Header: http.Header{}}
		if test.retryAfter != "" {
			response.Header.Set("Retry-After", test.retryAfter)
		}
		if got := tooBusy(response, attributes(t, test.path, "alice", "P2")); got != test.want {
			t.Errorf("%s: overload is %t", test.what, got)
		}
	}
	if !tooBusy(&http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}, nil) {
		t.Error("the gateway's own requests do not count")
	}
}

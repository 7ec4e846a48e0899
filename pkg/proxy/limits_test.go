package proxy

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/switches"
)

// fixedPolicy has one opinion of all requests.
type fixedPolicy struct {
	class, claimed *request.Class
	refusal        *switches.Refusal
}

func (p fixedPolicy) Classify(*request.Attributes) (class, claimed *request.Class) {
	return p.class, p.claimed
}

func (p fixedPolicy) Refuse(*request.Attributes) *switches.Refusal { return p.refusal }

// newLimiter has the given limits, and a clock that stands still.
func newLimiter(t testing.TB, limits ...*v1alpha1.RateLimit) *limiter.Limiter {
	t.Helper()
	l, err := limiter.New(limiter.Config{Clock: clocktesting.NewFakeClock(time.Now()), Jitter: func() float64 { return 0.5 }})
	if err != nil {
		t.Fatal(err)
	}
	l.Update(limits, 0)
	return l
}

func limitOf(name, qps string, burst int32, match v1alpha1.Match) *v1alpha1.RateLimit {
	o := &v1alpha1.RateLimit{Spec: v1alpha1.RateLimitSpec{Match: match, QPS: ptr.To(resource.MustParse(qps)), Burst: &burst, Mode: v1alpha1.ModeEnforce}}
	o.Name = name
	return o
}

// gatewayWith serves the chain before an apiserver that counts what reaches it.
func gatewayWith(t *testing.T, change func(*Options)) (do func(method, path string) (*http.Response, *metav1.Status), reached *atomic.Int64, server *Server) {
	t.Helper()
	reached = &atomic.Int64{}
	server, _ = serverBefore(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) }, change)
	gateway := serveChain(t, server)
	return func(method, path string) (*http.Response, *metav1.Status) {
		t.Helper()
		response, body, err := send(t, gateway, method, path, func(r *http.Request) { r.Header.Set("User-Agent", "operator/v1") })
		if err != nil {
			t.Fatal(err)
		}
		status := &metav1.Status{}
		if response.StatusCode >= 400 {
			if err := json.Unmarshal([]byte(body), status); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
		}
		return response, status
	}, reached, server
}

// suspicious counts how often it is asked who somebody is.
type suspicious struct{ asked atomic.Int64 }

func (s *suspicious) Authenticate(*http.Request) (*request.Identity, error) {
	s.asked.Add(1)
	return nil, fmt.Errorf("%w: nobody is anybody", auth.ErrInvalid)
}

func TestLimitRefusesBeforeAuthentication(t *testing.T) {
	authenticator := &suspicious{}
	recorder := flows.NewRecorder(clock.RealClock{})
	do, reached, _ := gatewayWith(t, func(o *Options) {
		o.Authenticator, o.Flows = authenticator, recorder
		o.Limits = newLimiter(t, limitOf("lists", "0.5", 1, v1alpha1.Match{
			Clients:  v1alpha1.ClientMatch{UserAgents: []string{"operator"}},
			Requests: []v1alpha1.RequestMatch{{Verbs: []string{"list"}, Resources: []string{"pods"}}},
		}))
	})
	if response, _ := do("GET", "/api/v1/pods"); response.StatusCode != http.StatusUnauthorized {
		t.Fatalf("within the limit: %s", response.Status)
	}
	for range 10 {
		response, status := do("GET", "/api/v1/pods")
		wait, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		if response.StatusCode != http.StatusTooManyRequests || status.Reason != metav1.StatusReasonTooManyRequests ||
			wait < 2 || wait > 30 || int(status.Details.RetryAfterSeconds) != wait {
			t.Fatalf("%s, Retry-After %d, %+v", response.Status, wait, status)
		}
		if response.Header.Get("X-Asi-Gateway-Refused-By") != "ratelimit/lists" {
			t.Errorf("headers %v", response.Header)
		}
		for _, word := range []string{`"lists"`, "list pods", `"operator"`, "0.5 per second", fmt.Sprintf("in %d s", wait)} {
			if !strings.Contains(status.Message, word) {
				t.Errorf("message %q does not say %s", status.Message, word)
			}
		}
	}
	if authenticator.asked.Load() != 1 || reached.Load() != 0 {
		t.Errorf("asked %d times, reached %d", authenticator.asked.Load(), reached.Load())
	}
	if all := recorder.All(); len(all) != 1 {
		t.Errorf("%d flows", len(all))
	}
}

// unverifiable finds no apiserver that knows who somebody is, until it knows him.
type unverifiable struct {
	everybody
	tries atomic.Int64
}

func (u *unverifiable) Authenticate(r *http.Request) (*request.Identity, error) {
	if u.tries.Add(-1) >= 0 {
		return nil, auth.ErrUnavailable
	}
	return u.everybody.Authenticate(r)
}

// TestWhoCannotBeVerifiedHasUsedNothing: the same request comes again, and is not to
// find its limit used up by itself.
func TestWhoCannotBeVerifiedHasUsedNothing(t *testing.T) {
	authenticator := &unverifiable{everybody: everybody{frontProxyIdentity(t, "alice")}}
	authenticator.tries.Store(5)
	do, _, _ := gatewayWith(t, func(o *Options) {
		o.Authenticator = authenticator
		o.Limits = newLimiter(t, limitOf("all", "1", 1, v1alpha1.Match{}))
	})
	for range 5 {
		if response, _ := do("GET", "/api/v1/pods"); response.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%s", response.Status)
		}
	}
	if response, _ := do("GET", "/api/v1/pods"); response.StatusCode != http.StatusOK {
		t.Errorf("the first that is verified: %s", response.Status)
	}
}

func TestRefusalAfterAuthenticationGivesBackWhatWasGrantedBefore(t *testing.T) {
	all := limitOf("all", "1", 3, v1alpha1.Match{})
	alice := limitOf("alice", "1", 1, v1alpha1.Match{Clients: v1alpha1.ClientMatch{Users: []string{"alice"}}, Requests: []v1alpha1.RequestMatch{{Resources: []string{"pods"}}}})
	l := newLimiter(t, all, alice)
	do, reached, _ := gatewayWith(t, func(o *Options) { o.Limits = l })
	for i := range 10 {
		response, _ := do("GET", "/api/v1/pods")
		if want := "ratelimit/alice"; i > 0 && response.Header.Get(refusedByHeader) != want {
			t.Fatalf("request %d refused by %q", i, response.Header.Get(refusedByHeader))
		}
	}
	// One of three tokens is spent; the nine refused had theirs back.
	for range 2 {
		if response, _ := do("GET", "/api/v1/nodes"); response.StatusCode != http.StatusOK {
			t.Fatalf("%s", response.Status)
		}
	}
	if response, _ := do("GET", "/api/v1/nodes"); response.Header.Get(refusedByHeader) != "ratelimit/all" {
		t.Errorf("refused by %q", response.Header.Get(refusedByHeader))
	}
	if reached.Load() != 3 {
		t.Errorf("%d reached the apiserver", reached.Load())
	}
}

func TestSwitchRefusesWithoutAskingForARetry(t *testing.T) {
	refusal := &switches.Refusal{Name: "maintenance", Type: v1alpha1.SwitchReadOnly, Reason: "moving etcd", ExpiresAt: time.Now().Add(10 * time.Minute)}
	limit := limitOf("all", "1", 1, v1alpha1.Match{})
	l := newLimiter(t, limit)
	do, reached, _ := gatewayWith(t, func(o *Options) {
		o.Limits = l
		o.Policy = fixedPolicy{class: request.Unknown, refusal: refusal}
	})
	for range 3 {
		response, status := do("DELETE", "/api/v1/namespaces/a/pods/b")
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "" ||
			response.Header.Get(refusedByHeader) != "switch/maintenance" || status.Details.Causes[0].Type != causeExpires {
			t.Fatalf("%s, %v, %+v", response.Status, response.Header, status)
		}
		for _, word := range []string{"maintenance", "ReadOnly", "delete pods", "moving etcd", refusal.ExpiresAt.UTC().Format(time.RFC3339)} {
			if !strings.Contains(status.Message, word) {
				t.Errorf("message %q does not say %s", status.Message, word)
			}
		}
	}
	refusal.Type = v1alpha1.SwitchShedPriority
	if response, status := do("GET", "/api/v1/pods"); response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "30" || status.Details.RetryAfterSeconds != 30 {
		t.Errorf("shed: %s, %v", response.Status, response.Header)
	}
	if reached.Load() != 0 {
		t.Errorf("%d reached the apiserver", reached.Load())
	}
}

func TestOwnAPIIsBeyondTheReachOfPolicies(t *testing.T) {
	var paths []string
	do, reached, _ := gatewayWith(t, func(o *Options) {
		o.Limits = newLimiter(t, limitOf("closed", "0", 1, v1alpha1.Match{}))
		o.Policy = fixedPolicy{class: request.Unknown, refusal: &switches.Refusal{Name: "x", Type: v1alpha1.SwitchFreeze}}
		o.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, ok := apirequest.UserFrom(r.Context()); !ok || user.GetName() != "alice" {
				t.Errorf("user %v", user)
			}
			if _, ok := w.(http.Flusher); !ok {
				t.Error("watches cannot flush")
			}
			paths = append(paths, r.URL.Path)
		})
	})
	own := []string{"/apis/gateway.asi.io", "/apis/gateway.asi.io/v1alpha1/ratelimits/x", "/openapi/v3/apis/gateway.asi.io/v1alpha1"}
	for _, path := range own {
		if response, _ := do("DELETE", path); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	for _, path := range []string{"/apis/gateway.asi.iox/v1", "/apis/gateway.asi.io.example.com/v1", "/apis", "/api/v1/pods", "/openapi/v3"} {
		if response, _ := do("GET", path); response.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	if len(paths) != len(own) || reached.Load() != 0 {
		t.Errorf("own API saw %v, apiserver %d", paths, reached.Load())
	}
	// Health is not asked of the apiserver, nor limited.
	if response, _ := do("GET", "/readyz"); response.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", response.Status)
	}
}

func TestForgedUserAgentIsCounted(t *testing.T) {
	do, reached, server := gatewayWith(t, func(o *Options) {
		o.Policy = fixedPolicy{class: request.Unknown, claimed: &request.Class{Name: "control-plane"}}
		o.Limits = newLimiter(t, limitOf("unknown", "1", 1, v1alpha1.Match{Clients: v1alpha1.ClientMatch{Classes: []string{"unknown"}}}))
	})
	do("GET", "/api/v1/pods")
	if response, _ := do("GET", "/api/v1/pods"); response.Header.Get(refusedByHeader) != "ratelimit/unknown" {
		t.Errorf("refused by %q", response.Header.Get(refusedByHeader))
	}
	if got := testutil.ToFloat64(server.metrics.forged.WithLabelValues("control-plane")); got != 2 || reached.Load() != 1 {
		t.Errorf("counted %v, reached %d", got, reached.Load())
	}
}

// TestWatchFreesItsSlotOnceItIsOpen holds more watches than may open at a time.
func TestWatchFreesItsSlotOnceItIsOpen(t *testing.T) {
	one := int32(1)
	limit := limitOf("watches", "1000", 1000, v1alpha1.Match{})
	limit.Spec.MaxInFlight = &one
	release, listing := make(chan struct{}), make(chan struct{})
	server, _ := serverBefore(t, func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("watch") {
			close(listing)
		}
		_ = http.NewResponseController(w).Flush()
		<-release
	}, func(o *Options) { o.Limits = newLimiter(t, limit) })
	gateway := serveChain(t, server)
	get := func(query string) int {
		response, err := gateway.Client().Get(gateway.URL + "/api/v1/pods" + query)
		if err != nil {
			t.Error(err)
			return 0
		}
		t.Cleanup(func() { response.Body.Close() })
		return response.StatusCode
	}
	for range 3 {
		if code := get("?watch=true"); code != http.StatusOK {
			t.Errorf("a watch got %d", code)
		}
	}
	// A list holds its slot until it is over.
	listed := make(chan int, 1)
	go func() { listed <- get("") }()
	<-listing
	if code := get("?limit=1"); code != http.StatusTooManyRequests {
		t.Errorf("the second list got %d", code)
	}
	close(release)
	if code := <-listed; code != http.StatusOK {
		t.Errorf("the first list got %d", code)
	}
}

// TestOnlyWatchesFreeTheirSlotsWhenTheyAreOpen: logs and what services behind the
// apiserver say are long-running, too, and count until they end.
func TestOnlyWatchesFreeTheirSlotsWhenTheyAreOpen(t *testing.T) {
	one := int32(1)
	limit := limitOf("all", "1000", 1000, v1alpha1.Match{})
	limit.Spec.MaxInFlight = &one
	for _, path := range []string{"/api/v1/namespaces/a/pods/b/log?follow=true", "/api/v1/namespaces/a/services/b/proxy/stream"} {
		end := make(chan struct{})
		server, _ := serverBefore(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v1/pods" {
				return
			}
			_ = http.NewResponseController(w).Flush()
			<-end
		}, func(o *Options) { o.Limits = newLimiter(t, limit) })
		gateway := serveChain(t, server)
		response, err := gateway.Client().Get(gateway.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
		other, _, err := send(t, gateway, http.MethodGet, "/api/v1/pods", nil)
		if err != nil || other.StatusCode != http.StatusTooManyRequests {
			t.Errorf("beside %s: %v, %v", path, other, err)
		}
		close(end)
		response.Body.Close()
	}
}

// TestTunnelsKeepTheirSlots until they are closed.
func TestTunnelsKeepTheirSlots(t *testing.T) {
	one := int32(1)
	limit := limitOf("all", "1000", 1000, v1alpha1.Match{})
	limit.Spec.MaxInFlight = &one
	server, _ := serverBefore(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		_, _ = buffered.ReadByte()
	}, func(o *Options) { o.Limits = newLimiter(t, limit) })
	gateway := serveChain(t, server)
	conn, err := tls.Dial("tcp", gateway.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /api/v1/namespaces/a/pods/b/exec HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", response, err)
	}
	if other, _, err := send(t, gateway, http.MethodGet, "/api/v1/pods", nil); err != nil || other.StatusCode != http.StatusTooManyRequests {
		t.Errorf("beside a tunnel: %v, %v", other, err)
	}
}

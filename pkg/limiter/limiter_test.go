package limiter

import (
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

type option func(*v1alpha1.RateLimit)

func rateLimit(name, qps string, options ...option) *v1alpha1.RateLimit {
	o := &v1alpha1.RateLimit{Spec: v1alpha1.RateLimitSpec{QPS: ptr.To(resource.MustParse(qps))}}
	o.Name = name
	v1alpha1.SetDefaults_RateLimit(o)
	for _, set := range options {
		set(o)
	}
	return o
}

func burst(n int32) option       { return func(o *v1alpha1.RateLimit) { o.Spec.Burst = &n } }
func maxInFlight(n int32) option { return func(o *v1alpha1.RateLimit) { o.Spec.MaxInFlight = &n } }
func mode(m v1alpha1.Mode) option {
	return func(o *v1alpha1.RateLimit) { o.Spec.Mode = m }
}
func per(keys ...v1alpha1.BucketKey) option {
	return func(o *v1alpha1.RateLimit) { o.Spec.Per = keys }
}
func clients(c v1alpha1.ClientMatch) option {
	return func(o *v1alpha1.RateLimit) { o.Spec.Match.Clients = c }
}
func requests(r ...v1alpha1.RequestMatch) option {
	return func(o *v1alpha1.RateLimit) { o.Spec.Match.Requests = r }
}
func globally(p v1alpha1.LimitFailurePolicy) option {
	return func(o *v1alpha1.RateLimit) { o.Spec.Scope, o.Spec.FailurePolicy = v1alpha1.ScopeGlobal, p }
}

func attributes(client, userName string) *request.Attributes {
	a := &request.Attributes{
		RequestInfo: &apirequest.RequestInfo{IsResourceRequest: true, Verb: "list", APIPrefix: "api", APIVersion: "v1", Resource: "pods", Namespace: "default"},
		ClientName:  client,
		SourceIP:    netip.MustParseAddr("10.1.2.3"),
		Scope:       v1alpha1.ListScopeNamespace, Shape: v1alpha1.ListShapeUnbounded,
	}
	if userName != "" {
		a.Identity = &request.Identity{Info: &user.DefaultInfo{Name: userName}}
	}
	return a
}

// rig is a Limiter on a fake clock, without jitter.
type rig struct {
	*Limiter
	t     testing.TB
	clock *testingclock.FakeClock
}

func newRig(t testing.TB, objects ...*v1alpha1.RateLimit) *rig {
	t.Helper()
	clock := testingclock.NewFakeClock(time.Now())
	l, err := New(Config{Clock: clock, Jitter: func() float64 { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	l.Update(objects, 1)
	return &rig{l, t, clock}
}

// admit sends n requests through both phases, and returns how many pass. They are
// over at once.
func (r *rig) admit(n int, a *request.Attributes) (passed int) {
	for range n {
		var ticket Ticket
		if r.Admit(BeforeAuthentication, a, &ticket).Allowed && r.Admit(AfterAuthentication, a, &ticket).Allowed {
			passed++
		}
		ticket.Done()
	}
	return passed
}

func (r *rig) want(what string, got, want int) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %d, want %d", what, got, want)
	}
}

func TestBurstThenRate(t *testing.T) {
	r := newRig(t, rateLimit("a", "10", burst(20)))
	x := attributes("x", "")
	r.want("burst", r.admit(100, x), 20)
	r.clock.Step(time.Second)
	r.want("after a second", r.admit(100, x), 10)
	r.clock.Step(time.Hour)
	r.want("after an hour", r.admit(100, x), 20)
}

func TestNodesRaiseTheRateAndItsBurst(t *testing.T) {
	perNode := resource.MustParse("0.1")
	o := rateLimit("a", "50", func(o *v1alpha1.RateLimit) { o.Spec.QPSPerNode = &perNode })
	r := newRig(t)
	r.Update([]*v1alpha1.RateLimit{o}, 10000)
	r.want("10000 nodes", r.admit(2000, attributes("x", "")), 1000)
	r = newRig(t)
	r.Update([]*v1alpha1.RateLimit{o}, 100)
	r.want("100 nodes", r.admit(2000, attributes("x", "")), 50)
}

func TestRefusedRequestGivesBackWhatOthersGranted(t *testing.T) {
	r := newRig(t,
		rateLimit("a", "10", maxInFlight(5)),
		rateLimit("b", "10", mode(v1alpha1.ModeDryRun)),
		rateLimit("c", "1", per(v1alpha1.PerUser)))
	x := attributes("x", "alice")
	r.want("passed", r.admit(50, x), 1)
	for _, name := range []string{"a", "b"} {
		if tokens, _ := r.Tokens(name, x); math.Abs(tokens-9) > 1e-6 {
			t.Errorf("%s has %v tokens left, want 9", name, tokens)
		}
		live, _ := r.Live(name)
		if live.InFlight != 0 || live.Admitted != 1 || live.Refused != 0 {
			t.Errorf("%s: %+v", name, live)
		}
	}
	if live, _ := r.Live("c"); live.Admitted != 1 || live.Refused != 49 {
		t.Errorf("c: %+v", live)
	}
}

func TestRefundByALaterStage(t *testing.T) {
	r := newRig(t, rateLimit("a", "1", burst(1)))
	for range 10 {
		var ticket Ticket
		if d := r.Admit(BeforeAuthentication, attributes("x", ""), &ticket); !d.Allowed {
			t.Fatal("refused although all before gave their token back")
		}
		ticket.Refund()
		ticket.Refund()
		ticket.Done()
	}
}

func TestPhase(t *testing.T) {
	for _, tc := range []struct {
		name string
		with option
		want Phase
	}{
		{"user agent", clients(v1alpha1.ClientMatch{UserAgents: []string{"x"}}), BeforeAuthentication},
		{"class", clients(v1alpha1.ClientMatch{Classes: []string{"x"}}), AfterAuthentication},
		{"per user", per(v1alpha1.PerUser), AfterAuthentication},
		{"per address", per(v1alpha1.PerSourceIP, v1alpha1.PerUserAgent, v1alpha1.PerNamespace), BeforeAuthentication},
		{"except users", func(o *v1alpha1.RateLimit) { o.Spec.Except.Clients.Users = []string{"x"} }, AfterAuthentication},
	} {
		if got := phaseOf(&rateLimit("a", "1", tc.with).Spec); got != tc.want {
			t.Errorf("%s: phase %d", tc.name, got)
		}
	}
}

func TestDryRunCountsAndNeverRefuses(t *testing.T) {
	r := newRig(t, rateLimit("a", "1", mode(v1alpha1.ModeDryRun)), rateLimit("b", "0", mode(v1alpha1.ModeDryRun)), rateLimit("c", "0", mode(v1alpha1.ModeOff)))
	r.want("passed", r.admit(10, attributes("x", "")), 10)
	live := r.LiveAll()
	if live["a"].Refused != 9 || live["a"].Admitted != 1 || live["b"].Refused != 10 || live["c"].Refused != 0 {
		t.Errorf("%+v", live)
	}
}

func TestUIDIsThatOfTheObjectInForce(t *testing.T) {
	first, second := rateLimit("a", "1"), rateLimit("a", "1")
	first.UID, second.UID = "first", "second"
	r := newRig(t, first)
	for _, objects := range [][]*v1alpha1.RateLimit{{first}, {second}, nil} {
		r.Update(objects, 1)
		want := types.UID("")
		if len(objects) > 0 {
			want = objects[0].UID
		}
		if got := r.UID("a"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWhatOthersAreRefusedIsScarce(t *testing.T) {
	r := newRig(t, rateLimit("a", "1", burst(2)), rateLimit("b", "0.5", mode(v1alpha1.ModeDryRun)))
	x := attributes("x", "")
	scarce := func() bool {
		t.Helper()
		var ticket Ticket
		if !r.Admit(BeforeAuthentication, x, &ticket).Allowed {
			t.Fatal("refused")
		}
		defer func() {
			if ticket.Done(); ticket.Scarce() {
				t.Error("a ticket of nothing is scarce")
			}
		}()
		return ticket.Scarce()
	}
	for i := range 2 {
		if scarce() {
			t.Errorf("%d of the burst is scarce", i)
		}
	}
	r.want("passed without a token", r.admit(3, x), 0)
	r.clock.Step(time.Second)
	if !scarce() {
		t.Error("others were refused, and it is not scarce")
	}
	r.clock.Step(time.Second)
	if scarce() {
		t.Error("scarce although nobody was refused behind the last one")
	}
}

func TestMaxInFlight(t *testing.T) {
	r := newRig(t, rateLimit("a", "1000", maxInFlight(2)))
	x := attributes("x", "")
	var tickets [3]Ticket
	for i := range 2 {
		if !r.Admit(BeforeAuthentication, x, &tickets[i]).Allowed {
			t.Fatal("refused")
		}
	}
	d := r.Admit(BeforeAuthentication, x, &tickets[2])
	if d.Allowed || d.Reason != TooManyInFlight || d.RetryAfter != time.Second || d.MaxInFlight != 2 || d.Rule != "a" {
		t.Errorf("third: %+v", d)
	}
	tickets[0].Opened()
	tickets[0].Done()
	tickets[0].Refund()
	if !r.Admit(BeforeAuthentication, x, &tickets[2]).Allowed {
		t.Error("refused although a watch has begun")
	}
	if tokens, _ := r.Tokens("a", x); tokens != 997 {
		t.Errorf("%v tokens", tokens)
	}
	tickets[1].Done()
	tickets[1].Done()
	tickets[2].Done()
	if live, _ := r.Live("a"); live.InFlight != 0 {
		t.Errorf("%d in flight", live.InFlight)
	}
}

func TestALimitWithoutARateBoundsWhatIsUnderWayAlone(t *testing.T) {
	o := rateLimit("a", "1", maxInFlight(2))
	o.Spec.QPS = nil
	r := newRig(t, o)
	x := attributes("x", "")
	r.want("one by one", r.admit(10_000, x), 10_000)
	var tickets [3]Ticket
	for i := range tickets {
		if d := r.Admit(BeforeAuthentication, x, &tickets[i]); d.Allowed != (i < 2) || (!d.Allowed && d.Reason != TooManyInFlight) {
			t.Errorf("with %d under way: %+v", i, d)
		}
		defer tickets[i].Done()
	}
}

func TestTicketOfManyRules(t *testing.T) {
	var objects []*v1alpha1.RateLimit
	for i := range 40 {
		objects = append(objects, rateLimit(fmt.Sprint("a", i), "10"))
	}
	r := newRig(t, append(objects, rateLimit("z", "5"))...)
	x := attributes("x", "")
	r.want("passed", r.admit(20, x), 5)
	for _, o := range objects {
		if tokens, _ := r.Tokens(o.Name, x); math.Abs(tokens-5) > 1e-6 {
			t.Errorf("%s: %v tokens", o.Name, tokens)
		}
	}
}

func TestNoChangeOfARuleGivesABurst(t *testing.T) {
	x := attributes("x", "alice")
	for _, tc := range []struct {
		name  string
		steps []*v1alpha1.RateLimit
		want  int
	}{
		{"same", []*v1alpha1.RateLimit{rateLimit("a", "10")}, 0},
		{"more qps", []*v1alpha1.RateLimit{rateLimit("a", "1000")}, 0},
		{"more burst", []*v1alpha1.RateLimit{rateLimit("a", "10", burst(1000))}, 0},
		{"less and more", []*v1alpha1.RateLimit{rateLimit("a", "1"), rateLimit("a", "10")}, 0},
		{"closed and open", []*v1alpha1.RateLimit{rateLimit("a", "0"), rateLimit("a", "10")}, 0},
		{"off and on", []*v1alpha1.RateLimit{rateLimit("a", "10", mode(v1alpha1.ModeOff)), rateLimit("a", "10")}, 0},
		{"dry run and back", []*v1alpha1.RateLimit{rateLimit("a", "10", mode(v1alpha1.ModeDryRun)), rateLimit("a", "10")}, 0},
		{"match", []*v1alpha1.RateLimit{rateLimit("a", "10", requests(v1alpha1.RequestMatch{Verbs: []string{"list"}}))}, 0},
		{"per", []*v1alpha1.RateLimit{rateLimit("a", "10", per(v1alpha1.PerUser))}, 1},
		{"per and back", []*v1alpha1.RateLimit{rateLimit("a", "10", per(v1alpha1.PerUser)), rateLimit("a", "10")}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, rateLimit("a", "10"))
			r.want("burst of a new rule", r.admit(100, x), 10)
			for _, o := range tc.steps {
				r.Update([]*v1alpha1.RateLimit{o}, 1)
			}
			r.want("after the change", r.admit(100, x), tc.want)
		})
	}
	t.Run("closing empties a full bucket", func(t *testing.T) {
		r := newRig(t, rateLimit("a", "10"))
		r.Update([]*v1alpha1.RateLimit{rateLimit("a", "0")}, 1)
		var ticket Ticket
		if d := r.Admit(BeforeAuthentication, x, &ticket); d.Allowed || d.Reason != Closed || d.RetryAfter != closedRetryAfter {
			t.Errorf("closed: %+v", d)
		}
		r.clock.Step(time.Hour)
		r.Update([]*v1alpha1.RateLimit{rateLimit("a", "10")}, 1)
		r.want("open again", r.admit(100, x), 0)
		r.clock.Step(time.Second)
		r.want("a second later", r.admit(100, x), 10)
	})
	t.Run("key without a bucket", func(t *testing.T) {
		r := newRig(t, rateLimit("a", "10", per(v1alpha1.PerUserAgent)))
		r.Update([]*v1alpha1.RateLimit{rateLimit("a", "10", burst(1000), per(v1alpha1.PerUserAgent))}, 1)
		r.want("more burst", r.admit(2000, x), 10)
	})
	t.Run("gone and new", func(t *testing.T) {
		r := newRig(t, rateLimit("a", "10"))
		r.admit(10, x)
		r.Update(nil, 1)
		if _, ok := r.Live("a"); ok {
			t.Error("counters of a rule that is gone")
		}
		r.Update([]*v1alpha1.RateLimit{rateLimit("a", "10")}, 1)
		r.want("a new rule is full", r.admit(100, x), 10)
	})
}

func TestRetryAfter(t *testing.T) {
	r := newRig(t, rateLimit("a", "0.25"))
	x := attributes("x", "")
	r.admit(1, x)
	var ticket Ticket
	if d := r.Admit(BeforeAuthentication, x, &ticket); d.RetryAfter != 4*time.Second || d.QPS != 0.25 || d.Burst != 1 || d.Reason != RateExceeded {
		t.Errorf("%+v", d)
	}
	r.jitter = func() float64 { return 0.5 }
	if d := r.Admit(BeforeAuthentication, x, &ticket); d.RetryAfter != 5*time.Second {
		t.Errorf("with jitter: %+v", d)
	}
	r.admit(1<<20, x)
	if d := r.Admit(BeforeAuthentication, x, &ticket); d.RetryAfter < 20*time.Second || d.RetryAfter > maxPatience*3/2 {
		t.Errorf("contended: %+v", d)
	}
}

// TestRefundKeepsBurst holds what bucket.go says of rate.Limiter.
func TestRefundKeepsBurst(t *testing.T) {
	now := time.Now()
	lim := &limits{version: 1, rate: 1, burst: 5}
	b := newBucket(lim, now, 5)
	for range 3 {
		b.refund(counted, now)
	}
	b.setLimits(&limits{version: 2, rate: 1, burst: 100}, now)
	passed := 0
	for range 50 {
		if b.take(nil, lim, now).ok {
			passed++
		}
	}
	if passed != 5 {
		t.Errorf("%d passed, want 5", passed)
	}
	for i := range 1000 {
		// Requests that took their time in another order than they come.
		if b.take(nil, lim, now.Add(-time.Duration(i%2)*time.Second)).ok {
			t.Fatal("time went back, and tokens flowed in twice")
		}
	}
}

func TestKeysAreKeptApart(t *testing.T) {
	for _, tc := range []struct {
		key    v1alpha1.BucketKey
		change func(*request.Attributes)
	}{
		{v1alpha1.PerUserAgent, func(a *request.Attributes) { a.ClientName = "y" }},
		{v1alpha1.PerUser, func(a *request.Attributes) { a.Identity = nil }},
		{v1alpha1.PerNamespace, func(a *request.Attributes) { a.Namespace = "" }},
		{v1alpha1.PerSourceIP, func(a *request.Attributes) { a.SourceIP = netip.MustParseAddr("::1") }},
	} {
		r := newRig(t, rateLimit("a", "2", per(tc.key)))
		one, other := attributes("x", "alice"), attributes("x", "alice")
		tc.change(other)
		r.want("one", r.admit(5, one), 2)
		r.want(fmt.Sprint("other ", tc.key), r.admit(5, other), 2)
		for _, key := range []v1alpha1.BucketKey{v1alpha1.PerUserAgent, v1alpha1.PerUser, v1alpha1.PerNamespace, v1alpha1.PerSourceIP} {
			if key != tc.key {
				r := newRig(t, rateLimit("a", "2", per(key)))
				r.want("both", r.admit(2, one)+r.admit(2, other), 2)
			}
		}
	}
}

func TestManyKeysStayBounded(t *testing.T) {
	const flood = 1_000_000
	names := func(i int) string { return strings.Repeat("x", 100) + fmt.Sprint(i) }
	r := newRig(t, rateLimit("a", "1", burst(2), per(v1alpha1.PerUserAgent)))
	victim := attributes("victim", "")
	r.want("victim", r.admit(3, victim), 2)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a := attributes("", "")
	for i := range flood {
		a.ClientName = names(i)
		r.admit(1, a)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	live, _ := r.Live("a")
	bytes := float64(after.HeapAlloc-before.HeapAlloc) / float64(live.Buckets)
	t.Logf("%d buckets, %.0f bytes each with a name of about 100 bytes, %d requests overflowed", live.Buckets, bytes, live.Overflowing)
	if live.Buckets > DefaultMaxKeys || live.Buckets < DefaultMaxKeys*9/10 {
		t.Errorf("%d buckets", live.Buckets)
	}
	if bytes > 640 {
		t.Errorf("%.0f bytes a bucket", bytes)
	}
	if live.Overflowing < flood-DefaultMaxKeys-1 {
		t.Errorf("%d overflowed", live.Overflowing)
	}
	r.want("victim, refused before", r.admit(3, victim), 0)

	// Buckets that are full again make place, those in use do not.
	r.clock.Step(time.Minute)
	var ticket Ticket
	if !r.Admit(BeforeAuthentication, victim, &ticket).Allowed {
		t.Fatal("refused after a minute")
	}
	r.clock.Step(time.Minute)
	for i := range 2 * DefaultMaxKeys {
		a.ClientName = names(flood + i)
		r.admit(1, a)
	}
	if r.snapshot.Load().states["a"].table.Load().keyed.peek(keyParts{client: true}.of(victim)) == nil {
		t.Error("a bucket with a request in flight was forgotten")
	}
	ticket.Done()
}

func TestLongNamesAreBoundedAndApart(t *testing.T) {
	long := strings.Repeat("x", 8000)
	k := keyParts{client: true}.of(attributes(long+"1", ""))
	if len(k.client) > maxKeyBytes || k == (keyParts{client: true}).of(attributes(long+"2", "")) {
		t.Errorf("key %q", k.client)
	}
}

func TestRatesAreOfTheLastTenSeconds(t *testing.T) {
	r := newRig(t, rateLimit("a", "10"))
	for range 60 {
		r.sampleAll(r.clock.Now())
		r.clock.Step(time.Second)
		r.admit(25, attributes("x", ""))
	}
	live, _ := r.Live("a")
	if got := live.AdmittedPerSecond.AsApproximateFloat64(); math.Abs(got-10) > 1.1 {
		t.Errorf("admitted %v/s", got)
	}
	if got := live.RefusedPerSecond.AsApproximateFloat64(); math.Abs(got-15) > 1.6 {
		t.Errorf("refused %v/s", got)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	l, err := New(Config{Clock: testingclock.NewFakeClock(time.Now()), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	l.Update([]*v1alpha1.RateLimit{rateLimit("a", "1"), rateLimit("b", "1", mode(v1alpha1.ModeDryRun))}, 1)
	for range 3 {
		var ticket Ticket
		l.Admit(BeforeAuthentication, attributes("x", ""), &ticket)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP asi_gateway_limiter_decisions_total Decisions by rule: admitted, refused, or would_refuse (in dry run). A request that one rule admits may be refused by another.
# TYPE asi_gateway_limiter_decisions_total counter
asi_gateway_limiter_decisions_total{decision="admitted",rule="a"} 1
asi_gateway_limiter_decisions_total{decision="admitted",rule="b"} 1
asi_gateway_limiter_decisions_total{decision="refused",rule="a"} 2
asi_gateway_limiter_decisions_total{decision="refused",rule="b"} 0
asi_gateway_limiter_decisions_total{decision="would_refuse",rule="a"} 0
asi_gateway_limiter_decisions_total{decision="would_refuse",rule="b"} 0
# HELP asi_gateway_limiter_in_flight Requests under way that the rule has admitted.
# TYPE asi_gateway_limiter_in_flight gauge
asi_gateway_limiter_in_flight{rule="a"} 1
asi_gateway_limiter_in_flight{rule="b"} 1
`), "asi_gateway_limiter_decisions_total", "asi_gateway_limiter_in_flight"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestConcurrentUseKeepsTheBounds(t *testing.T) {
	o := rateLimit("a", "100", burst(100), maxInFlight(4), per(v1alpha1.PerUserAgent))
	r := newRig(t, o, rateLimit("b", "1000"))
	var mu sync.Mutex
	passed := 0
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			n := r.admit(2000, attributes("x", ""))
			mu.Lock()
			defer mu.Unlock()
			passed += n
		})
	}
	group.Go(func() {
		for range 200 {
			r.Update([]*v1alpha1.RateLimit{o, rateLimit("b", "1000"), rateLimit("c", "1000000")}, 1)
			r.clock.Step(time.Millisecond)
			r.LiveAll()
		}
	})
	group.Wait()
	if passed < 100 || passed > 120 {
		t.Errorf("%d passed in 0.2 s at 100/s with burst 100", passed)
	}
	if live, _ := r.Live("a"); live.InFlight != 0 || live.Admitted != int64(passed) {
		t.Errorf("%+v, %d passed", live, passed)
	}
}

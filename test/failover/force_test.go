package failover

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/asi-gateway/asi-gateway/test/failover/traffic"
)

// inForce is the time within which what an operator says is done.
const inForce = time.Second

// TestForceGroupMovesTheControlPlane switches P0 to bypass, and back, under traffic.
func TestForceGroupMovesTheControlPlane(t *testing.T) {
	e := through(t, frontProxy)
	const name = "force-bypass"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.operator.remove(ctx, "switches", name); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	mark := e.markAudit(t)
	r := e.send(t, traffic.Plan{Streams: []traffic.Stream{
		{Name: vitalGets, Server: e.g.URL(), UserAgent: "critical-%d/1.0", Clients: clients, Method: http.MethodGet, Path: "/api/v1/namespaces/small/configmaps/object-0", Rate: vitalGetsRate},
		{Name: "P1 get", Server: e.g.URL(), UserAgent: "agents-%d/1.0", Clients: clients, Method: http.MethodGet, Path: "/api/v1/namespaces/small/configmaps/object-0", Rate: 20},
	}})
	disturbed := e.disturbed(t, r)
	r.await(t, vitalGets, vitalGetsRate)
	begun := time.Now()
	e.forceGroup(t, name, "bypass")
	r.await(t, vitalGets, 2*vitalGetsRate)
	ended := time.Now()
	must(t, e.operator.remove(within(t, 10*time.Second), "switches", name))
	r.await(t, vitalGets, 2*vitalGetsRate)
	during := disturbed()
	results, _ := e.stop(t, r)
	judge(t, results)

	// How long after an operator's word somebody was still served as before it.
	var there, back time.Duration
	forced := 0
	for _, a := range e.auditSince(t, mark, servers, "critical-") {
		at := a.RequestReceivedTimestamp
		switch bypass := group(a.server) == "bypass"; {
		case at.Before(begun):
			if bypass {
				t.Errorf("%s was served by %s before the switch", a.UserAgent, a.server)
			}
		case at.Before(ended):
			if bypass {
				forced++
			} else {
				there = max(there, at.Sub(begun))
			}
		case bypass:
			back = max(back, at.Sub(ended))
		}
	}
	for _, a := range e.auditSince(t, mark, []string{"bypass-0", "bypass-1"}, "agents-") {
		t.Errorf("%s, which the switch does not match, was served by %s", a.UserAgent, a.server)
	}
	t.Logf("P0 was served by bypass %s after the switch was turned on, by main %s after it was turned off; %d requests meanwhile", ms(there), ms(back), forced)
	if forced < vitalGetsRate {
		t.Errorf("only %d requests were forced", forced)
	}
	inTime(t, "the way to bypass", there, inForce, during)
	inTime(t, "the way back", back, inForce, during)
}

// TestLimitsOfAGroupAreForLowPriorities throttles bypass while P0 is there, too.
func TestLimitsOfAGroupAreForLowPriorities(t *testing.T) {
	e := through(t, frontProxy)
	const name = "force-bypass-limited"
	e.forceGroup(t, name, "bypass")
	e.awaitForce(t, "switches", name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.operator.remove(ctx, "switches", name); err != nil {
			t.Error(err)
		}
	})
	t.Run("qps", e.testGroupRate)
	t.Run("maxInFlight", e.testGroupInFlight)
}

// testGroupRate has P0 take half of the group's rate, and P3 want all of it.
func (e *env) testGroupRate(t *testing.T) {
	const qps, burst, vital, wanted = 60, 20, 30, 60
	e.change(t, "upstreamgroups", "bypass", fmt.Sprintf(`{"spec": {"qps": "%d", "burst": %d}}`, qps, burst), `{"spec": {"qps": null, "burst": null}}`)
	object := "/api/v1/namespaces/small/configmaps/object-0"
	r := e.send(t, traffic.Plan{Streams: []traffic.Stream{
		{Name: vitalGets, Server: e.g.URL(), UserAgent: "critical-%d/1.0", Clients: 4, Method: http.MethodGet, Path: object, Rate: vital},
		{Name: "P3 get", Server: e.g.URL(), UserAgent: "tools-%d/1.0", Clients: 4, Method: http.MethodGet, Path: object, Rate: wanted},
	}})
	r.await(t, vitalGets, 4*vital)
	results, _ := e.stop(t, r)
	begun, ended := results[0].Begun, results[0].Ended()
	count := map[string]int{}
	for _, result := range results {
		if result.Begun.Before(begun) {
			begun = result.Begun
		}
		if result.Ended().After(ended) {
			ended = result.Ended()
		}
		switch {
		case result.OK():
			count[result.Stream]++
		case result.Stream != "P3 get" || result.Code != http.StatusTooManyRequests || result.RetryAfter == "" || result.RefusedBy != "upstreamgroup/bypass":
			t.Errorf("%q: %s", result.Stream, describe(result))
		default:
			count["refused"]++
		}
	}
	took := ended.Sub(begun).Seconds()
	passed, most := count[vitalGets]+count["P3 get"], qps*took+burst
	t.Logf("at %d requests a second for the group: in %.1f s %d of P0 passed, %d of P3, and %d of P3 were refused", qps, took, count[vitalGets], count["P3 get"], count["refused"])
	if float64(passed) > most+1 {
		t.Errorf("%d requests passed, want at most %.0f", passed, most)
	}
	if count["refused"] < wanted/4 || float64(count["P3 get"]) < (qps-vital)*took/4 {
		t.Error("P3 gets what P0 leaves to it, and no more")
	}
}

// testGroupInFlight has P3 fill its part of what may be under way.
func (e *env) testGroupInFlight(t *testing.T) {
	// P3 may have three quarters.
	const most, leftToP3, wanted = 4, 3, 10
	e.change(t, "upstreamgroups", "bypass", fmt.Sprintf(`{"spec": {"maxInFlight": %d}}`, most), `{"spec": {"maxInFlight": null}}`)
	tools, critical := e.client(t, "tools-slow"), e.client(t, "critical-slow")
	type outcome struct {
		*answer
		err error
	}
	ask := func(c *client, into chan<- outcome) {
		a, err := c.do(within(t, 20*time.Second), http.MethodGet, unheardOf, "")
		into <- outcome{a, err}
	}
	underWay := func(n int64) {
		eventually(t, 10*time.Second, func(ctx context.Context) error {
			state, err := e.operator.live(ctx, "bypass")
			if err == nil && state.InFlight != n {
				return fmt.Errorf("%d requests are under way in the group, want %d", state.InFlight, n)
			}
			return err
		})
	}
	underWay(0)
	answers, vital := make(chan outcome, wanted), make(chan outcome, wanted)
	for range wanted {
		go ask(tools, answers)
	}
	underWay(leftToP3)
	for range wanted {
		go ask(critical, vital)
	}
	underWay(leftToP3 + wanted)
	codes := map[int]int{}
	for range wanted {
		a := <-answers
		must(t, a.err)
		codes[a.code]++
		if a.code == http.StatusTooManyRequests && (a.header.Get("Retry-After") == "" || a.refusedBy() != "upstreamgroup/bypass") {
			t.Errorf("refused by %q, Retry-After %q", a.refusedBy(), a.header.Get("Retry-After"))
		}
	}
	for range wanted {
		a := <-vital
		must(t, a.err)
		// The kube-apiserver's own answer.
		if a.code != http.StatusGatewayTimeout {
			t.Errorf("P0 was answered %d: %s", a.code, a.status.Message)
		}
	}
	t.Logf("at %d under way for the group: P3 was answered %v", most, codes)
	if codes[http.StatusGatewayTimeout] != leftToP3 || codes[http.StatusTooManyRequests] != wanted-leftToP3 {
		t.Errorf("P3 was answered %v; want the kube-apiserver's 504 for %d, and 429", codes, leftToP3)
	}
	e.checkNothingUnderWay(t)
}

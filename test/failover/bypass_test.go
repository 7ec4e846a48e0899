package failover

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/failover/traffic"
)

var (
	mainServers = []string{"main-0", "main-1"}
	// low are what clients of P2, P3 and P4 call themselves.
	low = []string{"operators-", "tools-", "nobody-"}
	// lowReads are streams of theirs.
	lowReads = []string{"P2 get", "P3 get", "P4 get"}
)

// TestLowPrioritiesNeverReachMain kills bypass, one server after the other and then
// both. The audit logs of main tell who has been there.
func TestLowPrioritiesNeverReachMain(t *testing.T) {
	e := through(t, frontProxy)
	// bypass-1 will be broken as well.
	e.outside = "main-1"
	mark := e.markAudit(t)
	r := e.send(t, e.everybody(t))
	r.await(t, "P3 get", 20)
	first := e.kill(t, "bypass-0")
	r.await(t, "P3 get", 30)
	e.revive(t, "bypass-0")
	e.awaitHealth(t, "bypass-0", true)
	second := e.kill(t, "bypass-1")
	r.await(t, "P3 get", 30)
	died := e.kill(t, "bypass-0")
	pause(t, 2*time.Second)
	alone := e.markAudit(t)
	if trespassers := e.auditSince(t, mark, mainServers, low...); len(trespassers) > 0 {
		t.Errorf("main has had %d requests of low priorities, e.g. %+v", len(trespassers), trespassers[0])
	}

	let := time.Now()
	e.change(t, "routes", "others", `{"spec": {"spill": ["main"]}}`, `{"spec": {"spill": null}}`)
	for _, stream := range lowReads {
		r.await(t, stream, 10)
	}
	results, watched := e.stop(t, r)
	e.checkNothingUnderWay(t)

	checkRefusedUntil(t, results, died, let)
	// What is left was sent while servers were there.
	served := slices.DeleteFunc(results, func(r traffic.Result) bool {
		return isLow(r) && r.Ended().After(died.begun) && r.Begun.Before(let.Add(2*time.Second))
	})
	t.Logf("kills of single servers: %s", judge(t, served, first, second))
	ends, refusals := checkWatches(t, watched)

	before := byServer(e.auditSince(t, mark, servers, low...))
	after := e.auditSince(t, alone, mainServers, low...)
	t.Logf("requests of low priorities in the audit logs: %v; %d of them by main once spill was set; %d watches ended cleanly and went on, after %d refusals", before, len(after), ends, refusals)
	if before["bypass-0"] < 50 || before["bypass-1"] < 50 || len(after) < 30 {
		t.Error("the audit logs do not show who serves whom")
	}
}

// everybody is requests and watches of all priorities.
func (e *env) everybody(t *testing.T) traffic.Plan {
	t.Helper()
	own := "/api/v1/namespaces/" + e.namespace + "/configmaps"
	must(t, fill(t.Context(), e.direct(t), e.namespace, "object", 10, 100))
	object, list := "/api/v1/namespaces/medium/configmaps/object-%d", "/api/v1/namespaces/medium/configmaps"
	stream := func(name, agent, method, path, body string, rate float64) traffic.Stream {
		return traffic.Stream{Name: name, Server: e.g.URL(), UserAgent: agent + "%d/1.0", Clients: 4, Method: method, Path: path, Body: body, Objects: 100, Rate: rate}
	}
	plan := traffic.Plan{Streams: []traffic.Stream{
		stream(vitalGets, "critical-", http.MethodGet, object, "", 20),
		stream("P1 get", "agents-", http.MethodGet, object, "", 10),
		stream("P2 get", "operators-", http.MethodGet, object, "", 10),
		stream("P2 list", "operators-", http.MethodGet, list, "", 4),
		stream("P2 patch", "operators-", http.MethodPatch, own+"/object-0", `{"data":{"n":"%d"}}`, 5),
		stream("P3 get", "tools-", http.MethodGet, object, "", 20),
		stream("P3 list", "tools-", http.MethodGet, list, "", 2),
		stream("P4 get", "nobody-", http.MethodGet, object, "", 10),
	}}
	from := e.version(t)
	for name, server := range map[string]string{
		"operators-watch/1.0": e.g.URL(), "tools-watch/1.0": e.g.URL(), "nobody-watch/1.0": e.g.URL(), reference: e.Process(e.outside).URL(),
	} {
		plan.Watches = append(plan.Watches, traffic.Watch{Name: name, Server: server, UserAgent: name, Path: own, From: from, Until: theEnd})
	}
	return plan
}

func isLow(r traffic.Result) bool {
	return !strings.HasPrefix(r.Stream, string(v1alpha1.PriorityP0)) && !strings.HasPrefix(r.Stream, string(v1alpha1.PriorityP1))
}

// checkRefusedUntil fails unless all requests of low priorities were refused from
// the death of their servers on until others were let to serve them, with an answer
// that tells what to do.
func checkRefusedUntil(t *testing.T, results []traffic.Result, died fault, let time.Time) {
	t.Helper()
	refused := map[int]int{}
	said := ""
	for _, r := range results {
		if !isLow(r) || r.Begun.Before(died.over) || r.Ended().After(let) {
			continue
		}
		refused[r.Code]++
		said = r.Said
		if r.Code != http.StatusServiceUnavailable && r.Code != http.StatusTooManyRequests || r.RetryAfter == "" {
			t.Errorf("without bypass %q got %s", r.Stream, describe(r))
		}
		for _, words := range []string{"try again", "route/others", "bypass", "spill"} {
			if r.Code == http.StatusServiceUnavailable && !strings.Contains(r.Said, words) {
				t.Errorf("%q is not in what a client is told: %s", words, r.Said)
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("without bypass, low priorities were answered %v: %s", refused, said)
	if refused[http.StatusServiceUnavailable] < 20 {
		t.Error("hardly anybody has asked")
	}
}

package failover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// awaitReturn waits until main has its clients back.
func (e *env) awaitReturn(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		metrics, err := e.g.Metrics(ctx)
		if part := metrics[returnedTo(v1alpha1.GroupMain)]; err == nil && part != 1 {
			return fmt.Errorf("main has %v of its clients back", part)
		}
		return err
	})
	// Everyone sends something after that, which the audit logs tell.
	pause(t, time.Second)
}

// checkReturn fails unless the clients of P0 have come back to main one after
// another over the failback, and stayed. The audit logs tell.
func (e *env) checkReturn(t *testing.T, mark auditMark, during disturbance) {
	t.Helper()
	// Requests of each client, in their order.
	requests := map[string][]audited{}
	for _, a := range e.auditSince(t, mark, servers, "critical-") {
		if a.of("/api/v1/namespaces/small/configmaps/") {
			requests[a.UserAgent] = append(requests[a.UserAgent], a)
		}
	}
	if len(requests) != clients {
		t.Fatalf("the audit logs know %d clients of P0, want %d", len(requests), clients)
	}
	var returns []time.Time
	// stray is how long after its return a client was served by bypass again: requests
	// overtake each other.
	var stray time.Duration
	for client, sent := range requests {
		slices.SortFunc(sent, func(a, b audited) int { return a.RequestReceivedTimestamp.Compare(b.RequestReceivedTimestamp) })
		byMain := func(a audited) bool { return strings.HasPrefix(a.server, v1alpha1.GroupMain) }
		first := slices.IndexFunc(sent, byMain)
		if first < 0 {
			t.Errorf("%s has not come back to main", client)
			continue
		}
		if first == 0 {
			t.Errorf("%s was not with bypass before", client)
		}
		at := sent[first].RequestReceivedTimestamp
		for _, a := range sent[first:] {
			if !byMain(a) {
				stray = max(stray, a.RequestReceivedTimestamp.Sub(at))
			}
		}
		returns = append(returns, at)
	}
	slices.SortFunc(returns, time.Time.Compare)
	began := returns[0]
	after := func(part float64) time.Duration { return returns[int(part*float64(len(returns)-1))].Sub(began) }
	t.Logf("%d clients of P0 came back to main over %s: a quarter after %s, half after %s, three quarters after %s; failback is %s",
		len(returns), ms(after(1)), ms(after(.25)), ms(after(.5)), ms(after(.75)), failback)
	if after(1) < failback/2 || after(.75)-after(.25) < failback/5 {
		t.Error("they did not come back one after another")
	}
	inTime(t, "the last request to bypass of a client that had come back", stray, news, during)
	inTime(t, "the return of all", after(1), failback+2*time.Second, during)
}

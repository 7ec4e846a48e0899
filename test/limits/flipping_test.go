package limits

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// flipBound is how long a change may take from the operator's request to the last
// replica.
const flipBound = time.Second

// TestLimitsAreInForceEverywhereWithinASecond has an operator change a limit at one
// replica, and clients of all replicas notice: also while no kube-apiserver is
// alive.
func TestLimitsAreInForceEverywhereWithinASecond(t *testing.T) {
	f := fixture.Shared(t, theFleet)
	o := newOperator(t, f.gateways[0])
	o.limit("flip", `{match: {clients: {userAgents: [flipper]}}, qps: 100k, burst: 100000}`, f.gateways...)
	var clients []*client
	for _, g := range f.gateways {
		clients = append(clients, adminClient(t, g, "flipper"))
	}
	flip := func(t *testing.T, open bool) time.Duration {
		t.Helper()
		qps := map[bool]string{true: "100k", false: "0"}[open]
		ctx := within(t, 10*time.Second)
		begun := time.Now()
		var watching errgroup.Group
		took := make([]time.Duration, len(clients))
		for i, c := range clients {
			watching.Go(func() error {
				err := pollEvery(ctx, 2*time.Millisecond, func() error { return c.finds(ctx, open) })
				took[i] = time.Since(begun)
				return err
			})
		}
		must(t, o.patch(ctx, "RateLimit", "flip", fmt.Sprintf(`{"spec":{"qps":%q}}`, qps)))
		must(t, watching.Wait())
		// Nothing falls back to what was before.
		for _, c := range clients {
			for range 5 {
				must(t, c.finds(ctx, open))
			}
		}
		return slices.Max(took)
	}
	measure := func(t *testing.T, state string) {
		t.Helper()
		var took []time.Duration
		for i := range 20 {
			took = append(took, flip(t, i%2 == 1))
		}
		slices.Sort(took)
		t.Logf("%s: from the write to enforcement at the last of %d replicas: median %s, longest %s", state, len(clients),
			took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
		if longest := took[len(took)-1]; longest > flipBound {
			t.Errorf("%s: a change took %s; want at most %s", state, longest, flipBound)
		}
	}
	measure(t, "all alive")

	killAPIServers(t)
	measure(t, "no kube-apiserver alive")

	// Whoever shuts everybody out, himself included, can take it back.
	o.apply("RateLimit", "everything", `{match: {requests: [{verbs: ["*"]}]}, qps: 0}`)
	o.apply("Switch", "everything", `{type: ReadOnly, duration: 10m, reason: nothing works}`)
	const list, write = "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"x"}}`
	each := func(t *testing.T, check func(c *client) error) {
		t.Helper()
		for _, c := range clients {
			eventually(t, 5*time.Second, func(context.Context) error { return check(c) })
		}
	}
	// The limit stands before the switch.
	each(t, func(c *client) error {
		return c.expects("ratelimit/everything", http.StatusTooManyRequests, http.MethodGet, list, "")
	})
	each(t, func(c *client) error {
		return c.expects("ratelimit/everything", http.StatusTooManyRequests, http.MethodPost, list, write)
	})
	last := newOperator(t, f.gateways[replicas-1])
	must(t, last.remove(t.Context(), "RateLimit", "everything"))
	each(t, func(c *client) error {
		return c.expects("switch/everything", http.StatusServiceUnavailable, http.MethodPost, list, write)
	})
	each(t, func(c *client) error { return c.expects("", http.StatusServiceUnavailable, http.MethodGet, list, "") })
	must(t, last.remove(t.Context(), "Switch", "everything"))
	each(t, func(c *client) error {
		return c.expects("", http.StatusServiceUnavailable, http.MethodPost, list, write)
	})
}

// finds returns an error unless the limit of the test lets the client through or
// not. What comes of a request behind the limit is none of its business.
func (c *client) finds(ctx context.Context, open bool) error {
	a, err := c.do(ctx, http.MethodGet, "/version", "")
	if err != nil {
		return err
	}
	if refused := a.refusedBy() != ""; refused == open || refused != (a.code == http.StatusTooManyRequests) {
		return fmt.Errorf("answered %d, refused by %q; want open %t", a.code, a.refusedBy(), open)
	}
	return nil
}

// expects returns an error unless a request is answered with this code because of
// this policy.
func (c *client) expects(policy string, code int, method, path, body string) error {
	a, err := c.do(context.Background(), method, path, body)
	if err != nil {
		return err
	}
	if a.code != code || a.refusedBy() != policy {
		return fmt.Errorf("%s %s: %d, refused by %q: %s", method, path, a.code, a.refusedBy(), a.status.Message)
	}
	return nil
}

// pollEvery calls condition until it returns nil.
func pollEvery(ctx context.Context, d time.Duration, condition func() error) error {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

package failover

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	// balanced is how many clients ask at once: few, so that the servers' time decides
	// and not the machine's processors.
	balanced = 8
	// balancedWarmUp requests open the connections and tell how fast servers are.
	balancedWarmUp = 400
	// near and far are what the ways to a server take: far more than the machine does,
	// so that what is three times as far is three times as slow.
	near, far = 40 * time.Millisecond, 124 * time.Millisecond
)

// balance is a group of servers and what is asked of them.
type balance struct {
	name    string
	servers []string
	// ways are what the ways to them take; nil: all are equal, and on this machine.
	ways     []time.Duration
	requests int
	// tolerance is by which part of its ideal a server's part may differ from it.
	tolerance float64
}

// TestRequestsAreBalanced has a few clients, each of which sends its next request
// when the last one is answered, read one object through a group. The servers' audit
// logs tell how many each has had. Equal servers must have equal parts within a tenth,
// and where one takes three times as long all must have parts in proportion to their
// speed within a fifth. The gateway's own metrics tell what they really take.
func TestRequestsAreBalanced(t *testing.T) {
	e := through(t, measured)
	for _, b := range []balance{
		{"two equal", mainServers, nil, 4000, 0.1},
		{"four equal", servers, nil, 4000, 0.1},
		{"one of two takes three times as long", mainServers, []time.Duration{near, far}, 1500, 0.2},
		{"one of four takes three times as long", servers, []time.Duration{near, near, near, far}, 2500, 0.2},
	} {
		t.Run(b.name, func(t *testing.T) { e.checkBalance(t, b) })
	}
}

// checkBalance fails unless each server has its part of the requests.
func (e *env) checkBalance(t *testing.T, b balance) {
	t.Helper()
	latencies := e.balancedGroup(t, b)
	var clients []*client
	for range balanced {
		clients = append(clients, e.client(t, "balance-warm-up"))
	}
	must(t, readInTurn(t.Context(), clients, balancedWarmUp))
	for _, c := range clients {
		c.userAgent = "balance-counted/1.0"
	}
	mark := e.markAudit(t)
	took := e.meanwhile(t, latencies, func() error { return readInTurn(t.Context(), clients, b.requests) })

	var all []audited
	eventually(t, 10*time.Second, func(context.Context) error {
		if all = completed(e.auditSince(t, mark, b.servers, "balance-counted/")); len(all) < b.requests {
			return fmt.Errorf("%d of %d requests are in the audit logs", len(all), b.requests)
		}
		return nil
	})
	counts := byServer(all)
	speeds := 0.
	for _, seconds := range took {
		speeds += 1 / seconds
	}
	for _, server := range b.servers {
		ideal := 1 / float64(len(b.servers))
		if b.ways != nil {
			ideal = 1 / took[server] / speeds
		}
		part := float64(counts[server]) / float64(len(all))
		t.Logf("%s takes %.1f ms and has %.3f of %d requests, ideal is %.3f: %+.1f%%", server, 1000*took[server], part, len(all), ideal, 100*(part/ideal-1))
		if math.Abs(part-ideal) > b.tolerance*ideal {
			t.Errorf("%s has %.3f of the requests, want %.3f within %.0f%% of that", server, part, ideal, 100*b.tolerance)
		}
	}
	if slowest := b.servers[len(b.servers)-1]; b.ways != nil && took[slowest] < 2*took[b.servers[0]] {
		t.Errorf("%s takes only %.1f times as long as %s", slowest, took[slowest]/took[b.servers[0]], b.servers[0])
	}
}

// balancedGroup makes the servers a group of their own, which serves who calls himself
// balance-something. It returns the metrics of what they take, in seconds.
func (e *env) balancedGroup(t *testing.T, b balance) (latencies map[string]string) {
	t.Helper()
	const name = "balance"
	var spec v1alpha1.UpstreamGroupSpec
	latencies = map[string]string{}
	var healthy []string
	for i, server := range b.servers {
		address := e.Process(server).URL()
		if b.ways != nil {
			r, err := fixture.NewRelay(address, b.ways[i])
			must(t, err)
			t.Cleanup(r.Close)
			address = r.URL()
		}
		spec.Servers = append(spec.Servers, v1alpha1.UpstreamServer{URL: address})
		labels := fmt.Sprintf("{group=%q,server=%q}", name, strings.TrimPrefix(address, "https://"))
		latencies[server] = "asi_gateway_upstream_latency_seconds" + labels
		healthy = append(healthy, "asi_gateway_upstream_healthy"+labels)
	}
	e.keep(t, "upstreamgroups", &v1alpha1.UpstreamGroup{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec})
	e.keep(t, "routes", &v1alpha1.Route{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.RouteSpec{
		Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"balance-*"}}}, Groups: []string{name},
	}})
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		metrics, err := e.g.Metrics(ctx)
		if err != nil {
			return err
		}
		for _, metric := range healthy {
			if metrics[metric] != 1 {
				return fmt.Errorf("%s is %v", metric, metrics[metric])
			}
		}
		return nil
	})
	return latencies
}

// readInTurn has each client read an object again and again, until all together have
// so often.
func readInTurn(ctx context.Context, clients []*client, times int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var sent atomic.Int64
	asking, ctx := errgroup.WithContext(ctx)
	for _, c := range clients {
		asking.Go(func() error {
			for sent.Add(1) <= int64(times) {
				a, err := c.do(ctx, http.MethodGet, "/api/v1/namespaces/small/configmaps/object-0", "")
				if err != nil {
					return err
				}
				if a.code != http.StatusOK {
					return fmt.Errorf("answered %d: %s", a.code, a.body)
				}
			}
			return nil
		})
	}
	return asking.Wait()
}

// meanwhile is what metrics, by names of the test's own, are on average while
// something is done.
func (e *env) meanwhile(t *testing.T, metrics map[string]string, do func() error) map[string]float64 {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	means, n := map[string]float64{}, 0.
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		values, err := e.g.Metrics(t.Context())
		must(t, err)
		n++
		for name, metric := range metrics {
			means[name] += (values[metric] - means[name]) / n
		}
		select {
		case err := <-done:
			must(t, err)
			return means
		case <-ticker.C:
		}
	}
}

package limits

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
	"github.com/asi-gateway/asi-gateway/test/limits/load"
)

// TestLimitGrowsAndShrinksWithTheCluster adds nodes and takes them away, and has a
// client send more than a limit per node lets pass.
func TestLimitGrowsAndShrinksWithTheCluster(t *testing.T) {
	f := fixture.Shared(t, theFleet)
	g := f.gateways[0]
	o := newOperator(t, g)
	const perNode, added = 2, 20
	o.limit("per-node", fmt.Sprintf(`{match: {clients: {userAgents: [per-node]}}, qps: 1, qpsPerNode: %d}`, perNode), f.gateways...)
	direct := clientset(t, nil, "limits-setup").CoreV1().Nodes()
	nodes, err := direct.List(t.Context(), metav1.ListOptions{})
	must(t, err)
	before := len(nodes.Items)

	// enforced waits until all replicas have counted, and measures one of them.
	enforced := func(count int) {
		t.Helper()
		rate := max(1, perNode*count)
		eventually(t, 20*time.Second, func(ctx context.Context) error {
			live := &v1alpha1.RateLimitLive{}
			err := o.client.Get().Resource("ratelimits").Name("per-node").SubResource("live").Do(ctx).Into(live)
			if err == nil && len(live.Replicas) != replicas {
				err = fmt.Errorf("%d replicas", len(live.Replicas))
			}
			for _, r := range live.Replicas {
				if r.Rate.Value() != int64(rate) {
					err = errors.Join(err, fmt.Errorf("%s lets %s a second pass, want %d for %d nodes", r.Name, r.Rate.String(), rate, count))
				}
			}
			return err
		})
		foreign := foreigners(t)
		reports, used := sendLoad(t, load.Plan{Duration: 3 * time.Second, Streams: []load.Stream{
			{URL: g.URL() + "/api/v1/namespaces/default", UserAgent: "per-node", Rate: float64(max(20, 4*rate)), Workers: 8},
		}})
		others := foreign(used)
		a := sum(t, reports)
		passed := a.codes[200]
		// The burst is the rate, and no change of it gives another.
		most, least := float64(rate)*(a.seconds+1)+1, 0.9*float64(rate)*a.seconds-1
		t.Logf("%d nodes: %d of %d passed in %.1f s, want %.0f to %.0f", count, passed, a.sent, a.seconds, least, most)
		switch {
		case float64(passed) > most:
			t.Errorf("%d passed; want at most %.0f", passed, most)
		case float64(passed) >= least:
		case others > crowded:
			t.Logf("NOT JUDGED: too few passed, but others use %.1f processors of this machine", others)
		default:
			t.Errorf("%d passed; want at least %.0f", passed, least)
		}
	}
	name := func(i int) string { return fmt.Sprintf("per-node-%02d", i) }
	enforced(before)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for i := range added {
			_ = direct.Delete(ctx, name(i), metav1.DeleteOptions{})
		}
	})
	for i := range added {
		_, err := direct.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}, metav1.CreateOptions{})
		must(t, err)
	}
	enforced(before + added)
	for i := range added / 2 {
		must(t, direct.Delete(t.Context(), name(i), metav1.DeleteOptions{}))
	}
	enforced(before + added/2)
}

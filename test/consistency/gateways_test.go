package consistency

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// gateway is one with a cache, and with a relay to each apiserver.
type gateway struct {
	*fixture.Gateway
	relays []*fixture.Relay
}

// startGateways starts some, which end with the test. It fails if one of them has
// panicked.
func startGateways(t *testing.T, c *cluster.Cluster, binary, name string, count int) []*gateway {
	t.Helper()
	all := make([]*gateway, count)
	for i := range all {
		all[i] = &gateway{}
		for _, server := range c.Servers(cluster.GroupMain) {
			r, err := fixture.NewRelay(server, 0)
			must(t, err)
			t.Cleanup(r.Close)
			all[i].relays = append(all[i].relays, r)
		}
	}
	t.Cleanup(func() { endGateways(t, all) })
	group, ctx := errgroup.WithContext(t.Context())
	for i, g := range all {
		group.Go(func() error {
			return g.start(ctx, c, binary, fmt.Sprintf("%s-%d", name, sequence.Add(1)), fixture.Modes()[i%len(fixture.Modes())])
		})
	}
	must(t, group.Wait())
	return all
}

// start returns when the gateway follows all that it caches.
func (g *gateway) start(ctx context.Context, c *cluster.Cluster, binary, name string, mode fixture.Mode) (err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	var urls []string
	for _, r := range g.relays {
		urls = append(urls, r.URL())
	}
	g.Gateway, err = fixture.AddGateway(ctx, c, binary, name, mode,
		"--main-servers", strings.Join(urls, ","), "--cache-resources", configMaps+","+nodes)
	if err != nil {
		return err
	}
	// Slow answers are what is provoked here.
	if err := g.NeverShed(ctx); err != nil {
		return err
	}
	return fixture.Await(ctx, bootTimeout, g.loaded)
}

func endGateways(t *testing.T, all []*gateway) {
	ctx := context.WithoutCancel(t.Context())
	var group errgroup.Group
	for _, g := range all {
		if g.Gateway == nil {
			continue
		}
		group.Go(func() error { return errors.Join(g.Panics(), g.Stop(ctx)) })
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// loaded returns an error until the gateway follows all that it caches.
func (g *gateway) loaded(ctx context.Context) error {
	metrics, err := g.Metrics(ctx)
	if err != nil {
		return err
	}
	for _, resource := range []string{configMaps, nodes} {
		if ready := fmt.Sprintf("asi_gateway_cache_ready{encoding=\"protobuf\",resource=%q}", resource); metrics[ready] != 1 {
			return fmt.Errorf("%s: %s is %v", g.Name(), ready, metrics[ready])
		}
	}
	return nil
}

// readsTotal is how the gateway tells what became of reads.
var readsTotal = regexp.MustCompile(`^asi_gateway_cache_reads_total\{reason="(\w+)",resource="[\w.]+",verb="(\w+)"\}$`)

// tally is how many reads gateways had of each verb, by what became of them, and how
// many lists they answered by outlines, and forwarded once for several.
type tally struct {
	get, list, watch    map[string]int
	outlined, coalesced int
}

func count(t *testing.T, gateways []*gateway) *tally {
	t.Helper()
	c := &tally{get: map[string]int{}, list: map[string]int{}, watch: map[string]int{}}
	verbs := map[string]map[string]int{"get": c.get, "list": c.list, "watch": c.watch}
	for _, g := range gateways {
		metrics, err := g.Metrics(t.Context())
		must(t, err)
		for series, n := range metrics {
			if m := readsTotal.FindStringSubmatch(series); m != nil {
				verbs[m[2]][m[1]] += int(n)
			}
		}
		c.outlined += int(metrics.Sum("asi_gateway_cache_outlined_lists_total"))
		c.coalesced += int(metrics.Sum("asi_gateway_coalesced_reads_total"))
	}
	return c
}

// sequence makes names that no two tests of this process share.
var sequence atomic.Int64

package consistency

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
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
	return await(ctx, bootTimeout, g.loaded)
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
	text, err := g.metrics(ctx)
	if err != nil {
		return err
	}
	for _, resource := range []string{configMaps, nodes} {
		if ready := fmt.Sprintf("asi_gateway_cache_ready{encoding=\"protobuf\",resource=%q} 1\n", resource); !strings.Contains(text, ready) {
			return fmt.Errorf("%s has no %s yet", g.Name(), resource)
		}
	}
	return nil
}

func (g *gateway) metrics(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.OpsURL+"/metrics", nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// How the gateway tells what became of reads.
var (
	readsTotal     = regexp.MustCompile(`(?m)^asi_gateway_cache_reads_total\{reason="(\w+)",resource="([\w.]+)",verb="(\w+)"\} (\d+)$`)
	outlinedTotal  = regexp.MustCompile(`(?m)^asi_gateway_cache_outlined_lists_total\{resource="[\w.]+"\} (\d+)$`)
	coalescedTotal = regexp.MustCompile(`(?m)^asi_gateway_coalesced_reads_total (\d+)$`)
)

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
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		must(t, err)
		return n
	}
	for _, g := range gateways {
		text, err := g.metrics(t.Context())
		must(t, err)
		for _, m := range readsTotal.FindAllStringSubmatch(text, -1) {
			verbs[m[3]][m[1]] += number(m[4])
		}
		for _, m := range outlinedTotal.FindAllStringSubmatch(text, -1) {
			c.outlined += number(m[1])
		}
		for _, m := range coalescedTotal.FindAllStringSubmatch(text, -1) {
			c.coalesced += number(m[1])
		}
	}
	return c
}

// sequence makes names that no two tests of this process share.
var sequence atomic.Int64

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/sync/errgroup"
)

// series is one thing that is measured among more and more of something.
type series struct {
	// name is what there is more of; what is measured, and order how its cost is to
	// grow, are for readers.
	name, what, order string
	// per is what figures are for.
	per   string
	steps []int
	// mostGrowth is what may become of the gateway's cost from the fewest to the most.
	mostGrowth float64
	// population is what the cluster begins with.
	population func(first int) population
	// at brings the cluster from a size, 0 at first, to the next, and returns what to
	// measure there.
	at func(ctx context.Context, b *cacheBench, from, to int) (scenario, error)
}

const (
	// flat is what may become of a cost that must not grow: more than noise.
	flat = 1.5
	// selectedPods are found among all, whatever their number.
	selectedPods = 50
	// podsOfNamespace are in each namespace.
	podsOfNamespace = 10
	// listsOfStep are asked for in a turn.
	listsOfStep = 20
)

func allSeries() []series {
	constant := func(p population) func(int) population { return func(int) population { return p } }
	small := population{pods: 1000, nodes: 1000, namespaces: 100, selected: selectedPods, every: 20, small: true}
	byLabel := "/api/v1/pods?resourceVersion=0&labelSelector=" + url.QueryEscape(selectedLabel+"=yes")
	inNamespace := "/api/v1/namespaces/" + namespaceName(0) + "/pods?resourceVersion=0"
	return []series{
		{
			name: "pods", per: "request", steps: []int{5000, 20_000, 50_000, 200_000}, mostGrowth: flat,
			what:  fmt.Sprintf("LIST by label over all namespaces, JSON, %d pods of 1 KB among more and more others", selectedPods),
			order: "that of the result, so constant",
			population: func(first int) population {
				return population{pods: first, nodes: 1000, namespaces: 100, selected: selectedPods, every: first / selectedPods, small: true}
			},
			at: func(ctx context.Context, b *cacheBench, from, to int) (scenario, error) {
				if err := b.growPods(ctx, from, to); err != nil {
					return scenario{}, err
				}
				return b.learned(b.list("pods", ask{byLabel, jsonType, ""}, listsOfStep), byLabel), nil
			},
		},
		{
			name: "namespaces", per: "request", steps: []int{10, 100, 1000, 5000}, mostGrowth: flat,
			what:  fmt.Sprintf("LIST of a namespace, JSON, %d pods of 1 KB, as many as in each of more and more others", podsOfNamespace),
			order: "that of the result, so constant",
			population: func(first int) population {
				return population{pods: first * podsOfNamespace, nodes: 100, namespaces: first, perNamespace: podsOfNamespace, selected: 1, every: 1, small: true}
			},
			at: func(ctx context.Context, b *cacheBench, from, to int) (scenario, error) {
				b.pods.namespaces = to
				if err := b.growPods(ctx, from*podsOfNamespace, to*podsOfNamespace); err != nil {
					return scenario{}, err
				}
				return b.list("namespaces", ask{inNamespace, jsonType, ""}, listsOfStep), nil
			},
		},
		{
			name: "watchers", per: "pod event", steps: []int{10, 100, 1000, 10_000, 20_000}, mostGrowth: 2,
			what:       "an event of a pod of 1 KB goes to the one watcher of its node, protobuf, among watchers of more and more other nodes",
			order:      "that of who is interested, so constant",
			population: constant(small),
			at: func(_ context.Context, b *cacheBench, _, to int) (scenario, error) {
				clients := newClients((to+streamsPerConnection-1)/streamsPerConnection, b.tls)
				return scenario{
					name: "watchers", per: "pod event",
					entries: []entry{
						b.nodeWatchers(directName, b.direct, clients, to),
						b.nodeWatchers(gatewayName, b.gateway, clients, to),
					},
				}, nil
			},
		},
		{
			name: "rules", per: "request", steps: []int{5, 50, 200, 1000}, mostGrowth: flat,
			what:       "GET of a pod of 1 KB from the cache, among more and more RateLimits for other clients",
			order:      "that of the rules that match, so constant",
			population: constant(small),
			at: func(ctx context.Context, b *cacheBench, from, to int) (scenario, error) {
				if err := b.addRules(ctx, from, to); err != nil {
					return scenario{}, err
				}
				s := b.get()
				s.entries = s.entries[1:]
				return s, nil
			},
		},
	}
}

// growPods writes pods until there are so many, and waits for the gateway to have
// them. The first ones are there from the beginning.
func (b *cacheBench) growPods(ctx context.Context, from, to int) error {
	b.pods.pods = to
	if from > 0 {
		if err := b.storage.seed(ctx, b.pods, from); err != nil {
			return err
		}
	}
	return awaitMetric(ctx, b.gateway.ops, "asi_gateway_cache_objects", float64(to), label("resource", "pods"), label("encoding", "json"))
}

// addRules creates RateLimits for clients that do not exist, until there are so many.
func (b *cacheBench) addRules(ctx context.Context, from, to int) error {
	const policies = "asi_gateway_policies"
	kind := label("kind", "RateLimit")
	text, err := fetch(ctx, b.gateway.ops+"/metrics")
	if err != nil {
		return err
	}
	before := sumOf(text, policies, kind)
	creating, creatingCtx := errgroup.WithContext(ctx)
	creating.SetLimit(putParallel)
	for i := from; i < to; i++ {
		creating.Go(func() error {
			rule := fmt.Sprintf(`{"apiVersion":"gateway.asi.io/v1alpha1","kind":"RateLimit","metadata":{"name":"bench-%[1]d"},"spec":{"match":{"clients":{"userAgents":["nobody-%[1]d"]}},"qps":1}}`, i)
			request, err := http.NewRequestWithContext(creatingCtx, http.MethodPost, b.gateway.url+"/apis/gateway.asi.io/v1alpha1/ratelimits", strings.NewReader(rule))
			if err != nil {
				return err
			}
			request.Header.Set("Content-Type", jsonType)
			return expectStatus(http.StatusCreated)(b.one[0].Do(request))
		})
	}
	if err := creating.Wait(); err != nil {
		return err
	}
	return awaitMetric(ctx, b.gateway.ops, policies, before+float64(to-from), kind)
}

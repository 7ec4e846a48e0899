package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// change writes the next state of a pod and returns its resource version.
func (b *cacheBench) change(ctx context.Context, pod int) (int64, error) {
	b.version++
	return b.storage.pod(ctx, b.pods, pod, b.version)
}

// newest changes a pod and waits until the gateway has seen it, so that a watch
// can begin there, at whatever server.
func (b *cacheBench) newest(ctx context.Context) (string, error) {
	rv, err := b.change(ctx, 0)
	if err != nil {
		return "", err
	}
	if err := awaitMetric(ctx, b.gateway.ops, "asi_gateway_cache_resource_version", float64(rv), label("resource", "pods"), label("encoding", "protobuf")); err != nil {
		return "", err
	}
	return strconv.FormatInt(rv, 10), nil
}

// watchPath is a watch from a resource version, long enough for every turn.
func watchPath(rv, fieldSelector string) string {
	q := url.Values{"watch": {"1"}, "resourceVersion": {rv}, "timeoutSeconds": {"3600"}}
	if fieldSelector != "" {
		q.Set("fieldSelector", fieldSelector)
	}
	return "/api/v1/pods?" + q.Encode()
}

// eventWait bounds the wait for events.
const eventWait = time.Minute

const (
	// fanoutEvents are written in a turn, one after another: each is written when all
	// watchers have the last, as it is in a cluster that is not overloaded.
	fanoutEvents = 30
	// fanoutWarm are written before.
	fanoutWarm = 3
)

// fanout has every event go to all watchers, which have a connection each.
func (b *cacheBench) fanout() scenario {
	clients := newClients(b.o.watchers, b.tls)
	var frame []byte
	s := scenario{
		name: fmt.Sprintf("watch of all pods, %d watchers", b.o.watchers), per: "delivered event",
		checks: []check{nearFloor(cpu, 1.2)},
		prepare: func(ctx context.Context) (err error) {
			frame, err = b.capture(ctx)
			return err
		},
		cleanup: func(context.Context) error {
			for _, c := range clients {
				c.CloseIdleConnections()
			}
			return nil
		},
	}
	for _, server := range []server{b.direct, b.gateway, b.floor} {
		var watching *crowd
		send := func(ctx context.Context) error {
			_, err := b.change(ctx, 0)
			return err
		}
		if server.name == floorName {
			send = func(ctx context.Context) error { return emit(ctx, b.one[0], server.url, frame) }
		}
		events := func(ctx context.Context, n int) (batch, error) {
			ctx, cancel := context.WithTimeoutCause(ctx, eventWait, fmt.Errorf("%d events took over %s", n, eventWait))
			defer cancel()
			done := batch{units: n * b.o.watchers}
			bytes := watching.bytes.Load()
			var took []time.Duration
			for range n {
				goal := watching.frames.Load() + int64(b.o.watchers)
				start := time.Now()
				if err := send(ctx); err != nil {
					return done, err
				}
				if err := watching.await(ctx, goal); err != nil {
					return done, err
				}
				took = append(took, time.Since(start))
			}
			done.wall, done.bytes = median(took), watching.bytes.Load()-bytes
			return done, nil
		}
		s.entries = append(s.entries, entry{
			name: server.name, server: server,
			before: func(ctx context.Context) (func(), error) {
				path := floorWatch
				if server.name != floorName {
					rv, err := b.newest(ctx)
					if err != nil {
						return nil, err
					}
					path = watchPath(rv, "")
				}
				var err error
				watching, err = openCrowd(ctx, clients, server.url, b.o.watchers, func(int) ask { return ask{path, protobufType, ""} })
				if err != nil {
					return nil, err
				}
				if err := b.watched(ctx, server, b.o.watchers); err != nil {
					watching.close()
					return nil, err
				}
				if _, err = events(ctx, fanoutWarm); err != nil {
					watching.close()
					return nil, err
				}
				return watching.close, nil
			},
			do: func(ctx context.Context) (batch, error) { return events(ctx, fanoutEvents) },
		})
	}
	return s
}

// capture returns an event as the kube-apiserver sends it.
func (b *cacheBench) capture(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, eventWait)
	defer cancel()
	rv, err := b.newest(ctx)
	if err != nil {
		return nil, err
	}
	response, err := ask{watchPath(rv, ""), protobufType, ""}.send(ctx, b.one[0], b.direct.url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if _, err := b.change(ctx, 0); err != nil {
		return nil, err
	}
	return readFrame(response.Body, nil)
}

// watched checks that a gateway serves watches from its cache.
func (b *cacheBench) watched(ctx context.Context, s server, n int) error {
	if s.ops == "" {
		return nil
	}
	text, err := fetch(ctx, s.ops+"/metrics")
	if err != nil {
		return err
	}
	if got := sumOf(text, "asi_gateway_cache_watches", label("resource", "pods"), label("encoding", "protobuf")); int(got) < n {
		return fmt.Errorf("the gateway serves %.0f of %d watches from its cache", got, n)
	}
	return nil
}

const (
	// fewWatches is what many are compared with.
	fewWatches = 10
	// nodeEvents are written in a turn, nodeParallel at a time, of pods on different
	// nodes: the next when their watchers have them. kube-apiserver ends a watch that
	// is a few events behind.
	nodeEvents   = 1000
	nodeParallel = 8
)

// nodeWatches has every event go to the one watcher of the pod's node, among few and
// among many.
func (b *cacheBench) nodeWatches() scenario {
	clients := newClients((b.o.nodeWatchers+streamsPerConnection-1)/streamsPerConnection, b.tls)
	name := func(s server, n int) string { return fmt.Sprintf("%s, %d watchers", s.name, n) }
	s := scenario{
		name: "watch of the pods of a node", per: "pod event",
		checks: []check{{quantity: cpu, of: name(b.gateway, b.o.nodeWatchers), over: name(b.gateway, fewWatches), most: 2}},
	}
	for _, server := range []server{b.direct, b.gateway} {
		for _, n := range []int{fewWatches, b.o.nodeWatchers} {
			s.entries = append(s.entries, b.nodeWatchers(name(server, n), server, clients, n))
		}
	}
	return s
}

// nodeWatchers has pods change among n watchers that are on a node each.
func (b *cacheBench) nodeWatchers(name string, server server, clients []*http.Client, n int) entry {
	var watching *crowd
	return entry{
		name: name, server: server,
		before: func(ctx context.Context) (func(), error) {
			rv, err := b.newest(ctx)
			if err != nil {
				return nil, err
			}
			watching, err = openCrowd(ctx, clients, server.url, n, func(i int) ask {
				return ask{watchPath(rv, "spec.nodeName="+cluster.NodeName(i)), protobufType, ""}
			})
			if err != nil {
				return nil, err
			}
			if err := b.watched(ctx, server, n); err != nil {
				watching.close()
				return nil, err
			}
			return watching.close, nil
		},
		do: func(ctx context.Context) (batch, error) { return b.nodeTurn(ctx, watching) },
	}
}

// nodeTurn changes pods of the first nodes.
func (b *cacheBench) nodeTurn(ctx context.Context, watching *crowd) (batch, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, eventWait, fmt.Errorf("%d events took over %s", nodeEvents, eventWait))
	defer cancel()
	done := batch{units: nodeEvents}
	bytes := watching.bytes.Load()
	start := time.Now()
	for range nodeEvents / nodeParallel {
		goal := watching.frames.Load() + nodeParallel
		b.version++
		group, groupCtx := errgroup.WithContext(ctx)
		for node := range nodeParallel {
			group.Go(func() error {
				// The first pods are one on each of the first nodes.
				_, err := b.storage.pod(groupCtx, b.pods, node, b.version)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return done, err
		}
		if err := watching.await(ctx, goal); err != nil {
			return done, err
		}
	}
	done.wall, done.bytes = time.Since(start)/nodeEvents, watching.bytes.Load()-bytes
	return done, nil
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// cacheOptions size the measurement.
type cacheOptions struct {
	pods, nodes, namespaces int
	rounds                  int
	gets                    int // a round
	watchers, nodeWatchers  int
	storm                   int           // clients that start together
	lists                   int           // full ones at once
	hold                    time.Duration // how long these are read
	only                    string        // regular expression for the names of scenarios
	profiles                string        // folder for CPU profiles of the gateway; empty for none
	out                     string
	gateway                 string // binary; empty builds it
}

// validate refuses sizes that cannot be measured.
func (o cacheOptions) validate() error {
	switch {
	case o.nodes < fewWatches || o.pods < o.nodes || o.namespaces < 1:
		return fmt.Errorf("%d pods on %d nodes in %d namespaces: want %d nodes at least, a pod for each, and a namespace", o.pods, o.nodes, o.namespaces, fewWatches)
	case o.rounds < 1 || o.gets < getClients || o.watchers < 1 || o.nodeWatchers < fewWatches || o.lists < 1 || o.storm < 1:
		return fmt.Errorf("want a round, %d GETs, a watcher, %d node watchers, a list and a client that starts at least", getClients, fewWatches)
	}
	return nil
}

// server is a contestant; ops is where it tells of itself, if it does.
type server struct {
	contestant
	ops string
}

// cacheBench is everything that scenarios measure with.
type cacheBench struct {
	o       cacheOptions
	pods    population
	cluster *cluster.Cluster
	storage *storage
	tls     *tls.Config
	binary  string

	direct, gateway, floor server
	// one connection to each server, and gets of them.
	one, many []*http.Client
	// version is that of the last change of a pod.
	version int
}

const (
	directName  = "kube-apiserver"
	gatewayName = "gateway"
	floorName   = "floor"
)

// measureCache compares reads that the gateway answers from memory with those of
// the kube-apiserver, and with what sending the same bytes costs.
func measureCache(ctx context.Context, o cacheOptions) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	c, binary, err := stage(ctx, o.gateway)
	if err != nil {
		return err
	}
	defer c.Close()
	b := &cacheBench{o: o, cluster: c, binary: binary, pods: population{
		pods: o.pods, nodes: o.nodes, namespaces: o.namespaces, selected: 50, every: max(1, o.pods/50),
	}}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer b.storage.close()
	report := cacheReport{
		setting: here(), Pods: o.pods, Nodes: o.nodes, Namespaces: o.namespaces, Rounds: o.rounds,
	}
	for _, s := range b.scenarios() {
		if !only.MatchString(s.name) {
			continue
		}
		result, err := b.run(ctx, s)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			// The others are worth their time without it.
			fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
			result.Error = err.Error()
		}
		report.Scenarios = append(report.Scenarios, result)
		// So far, for who cannot wait.
		if err := saveReport(o.out, "cache", report, cacheTable(report)); err != nil {
			return err
		}
	}
	return writeReport(o.out, "cache", report, cacheTable(report))
}

// prepare fills the cluster and starts who takes part.
func (b *cacheBench) prepare(ctx context.Context) (err error) {
	if b.storage, err = newStorage(b.cluster); err != nil {
		return err
	}
	if err := b.storage.seed(ctx, b.pods, 0); err != nil {
		return err
	}
	// It is to have read them as one does that has been started in such a cluster.
	apiserver := b.cluster.Process("main-0")
	if err := apiserver.Restart(ctx); err != nil {
		return err
	}
	certFile, keyFile := b.cluster.AdminFiles()
	if b.tls, err = clientTLS(b.cluster.CAFile(), certFile, keyFile); err != nil {
		return err
	}
	b.one, b.many = newClients(1, b.tls), newClients(getClients, b.tls)
	b.direct = server{contestant: contestant{name: directName, url: apiserver.URL(), pid: apiserver.Pid}}
	g, err := b.startGateway(ctx, "gateway")
	if err != nil {
		return err
	}
	b.gateway = server{contestant{name: gatewayName, url: g.URL(), pid: g.Pid}, g.OpsURL}
	f, err := startFloor(ctx, b.cluster)
	if err != nil {
		return err
	}
	b.floor = server{contestant: contestant{name: floorName, url: f.URL(), pid: f.Pid}}
	return b.load(ctx, b.gateway)
}

// startGateway starts a gateway with everything on and a cache, which is compared with
// upstream as often as in production: tests have that done all the time.
func (b *cacheBench) startGateway(ctx context.Context, name string) (*fixture.Gateway, error) {
	return fixture.AddGateway(ctx, b.cluster, b.binary, name, fixture.FrontProxy,
		"--default-policies=true", "--cache-resources", "pods,nodes", "--cache-check-interval", "1h")
}

// preferred is the encoding that a gateway begins with: it is known then what is to
// be cached.
const preferred = "protobuf"

// load has a gateway hold pods and nodes in both encodings.
func (b *cacheBench) load(ctx context.Context, s server) error {
	for _, resource := range []string{"pods", "nodes"} {
		for _, encoding := range []struct{ name, accept string }{{"json", jsonType}, {"protobuf", protobufType}} {
			// What is asked for the first time is loaded, and forwarded meanwhile.
			if err := awaitReady(ctx, s.ops, resource, preferred); err != nil {
				return err
			}
			a := ask{path: "/api/v1/" + resource + "?limit=1", accept: encoding.accept}
			if _, err := a.read(ctx, b.one[0], s.url, make([]byte, readBuffer)); err != nil {
				return err
			}
			if err := awaitReady(ctx, s.ops, resource, encoding.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitReady waits until a gateway answers from its cache.
func awaitReady(ctx context.Context, ops, resource, encoding string) error {
	return awaitMetric(ctx, ops, "asi_gateway_cache_ready", 1, label("resource", resource), label("encoding", encoding))
}

const (
	// metricPoll is the time between two looks at a metric.
	metricPoll = 20 * time.Millisecond
	// metricWait bounds how long one is waited for.
	metricWait = 5 * time.Minute
)

// awaitMetric waits until the sum of a metric's samples is at least that.
func awaitMetric(ctx context.Context, ops, name string, least float64, labels ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, metricWait, fmt.Errorf("%s of %v did not reach %v", name, labels, least))
	defer cancel()
	for {
		text, err := fetch(ctx, ops+"/metrics")
		if err == nil && sumOf(text, name, labels...) >= least {
			return nil
		}
		if err := wait(ctx, metricPoll); err != nil {
			return err
		}
	}
}

// wait returns after d, or with the cause of ctx's end.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// profile reads a CPU profile of a gateway while a scenario repeats itself, which
// is not measured.
func (b *cacheBench) profile(ctx context.Context, s scenario, e entry) error {
	if e.before != nil {
		after, err := e.before(ctx)
		if err != nil {
			return err
		}
		defer after()
	}
	done := make(chan error, 1)
	go func() {
		text, err := fetch(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", e.server.ops, profileSeconds))
		if err == nil {
			err = errors.Join(os.MkdirAll(b.o.profiles, 0o755),
				os.WriteFile(filepath.Join(b.o.profiles, fileName(s.name+" "+e.name)+".pprof"), []byte(text), 0o644))
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			return err
		default:
		}
		if _, err := e.do(ctx); err != nil {
			return errors.Join(err, <-done)
		}
	}
}

const profileSeconds = 10

// fileName makes one of words.
func fileName(words string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(words), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), "-")
}

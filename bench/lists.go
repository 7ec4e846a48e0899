package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/cache"
)

// scenarios are all there are, with the targets that they are judged by.
func (b *cacheBench) scenarios() []scenario {
	const (
		whole  = "/api/v1/pods?resourceVersion=0"
		few    = 20
		fewRV0 = "&resourceVersion=0"
	)
	byLabel := "/api/v1/pods?labelSelector=" + url.QueryEscape(selectedLabel+"=yes")
	byNode := "/api/v1/pods?fieldSelector=" + url.QueryEscape("spec.nodeName="+cluster.NodeName(b.pods.nodes/2)) + fewRV0
	inNamespace := "/api/v1/namespaces/" + namespaceName(b.pods.namespaces/2) + "/pods?resourceVersion=0"
	floor12 := nearFloor(wallTime, 1.2)

	f := &fresh{bench: b}
	return []scenario{
		b.startup(f),
		b.residence(f),
		b.list("LIST all, JSON", ask{whole, jsonType, ""}, 1, faster(6), floor12),
		b.list("LIST all, protobuf", ask{whole, protobufType, ""}, 1, faster(3.5), floor12),
		b.list("LIST all, JSON, gzip", ask{whole, jsonType, "gzip"}, 1, faster(30)),
		b.snappy(whole),
		b.learned(b.list("LIST by label, 50 pods", ask{byLabel + fewRV0, jsonType, ""}, few, faster(40)), byLabel+fewRV0),
		b.strict(b.list("LIST by label, strict, nothing is written", ask{byLabel, jsonType, ""}, few, faster(10))),
		b.strict(b.written(ask{byLabel, jsonType, ""}, 5*few)),
		b.list("LIST by node name", ask{byNode, jsonType, ""}, 10*few, faster(4), floor12),
		b.list("LIST of a namespace, JSON", ask{inNamespace, jsonType, ""}, few, faster(4)),
		b.list("LIST of a namespace, protobuf", ask{inNamespace, protobufType, ""}, few, faster(4)),
		b.paginated(),
		b.get(),
		b.fanout(),
		b.nodeWatches(),
		b.storm(),
		b.crowdOfLists(f),
		// The last, for the state that they leave the kube-apiserver in.
		b.smallStorm(),
		b.directStorm(),
	}
}

// list has one client ask n times, one after another.
func (b *cacheBench) list(name string, a ask, n int, checks ...check) scenario {
	s := scenario{name: name, per: "request", checks: checks}
	for _, server := range []server{b.direct, b.gateway, b.floor} {
		s.entries = append(s.entries, entry{name: server.name, server: server, do: b.reader(server, a, n, 0)})
	}
	s.prepare = func(ctx context.Context) error { return b.teach(ctx, a) }
	return s
}

// reader returns what asks a server n times, with random pauses of at most so long
// before each.
func (b *cacheBench) reader(s server, a ask, n int, pause time.Duration) func(context.Context) (batch, error) {
	buffer := make([]byte, readBuffer)
	return func(ctx context.Context) (batch, error) {
		done := batch{units: n}
		var took []time.Duration
		for range n {
			if pause > 0 {
				if err := wait(ctx, rand.N(pause)); err != nil {
					return done, err
				}
			}
			start := time.Now()
			bytes, err := a.read(ctx, b.one[0], s.url, buffer)
			if err != nil {
				return done, err
			}
			took = append(took, time.Since(start))
			done.bytes += bytes
		}
		done.wall = median(took)
		return done, nil
	}
}

// teach has the floor give the kube-apiserver's answer.
func (b *cacheBench) teach(ctx context.Context, a ask) error {
	n, err := teach(ctx, b.one[0], b.direct.url, b.floor.url, a)
	if err == nil && n == 0 {
		err = fmt.Errorf("GET %s: an empty answer", a.path)
	}
	return err
}

// learned gives the gateway the time that it takes to index a label which is asked
// for.
func (b *cacheBench) learned(s scenario, path string) scenario {
	prepare := s.prepare
	s.prepare = func(ctx context.Context) error {
		if err := prepare(ctx); err != nil {
			return err
		}
		if _, err := b.reader(b.gateway, ask{path, jsonType, ""}, 4, 0)(ctx); err != nil {
			return err
		}
		return wait(ctx, 3*time.Second)
	}
	return s
}

// strict leaves the floor out, which has nothing to prove.
func (b *cacheBench) strict(s scenario) scenario {
	s.entries = slices.DeleteFunc(s.entries, func(e entry) bool { return e.name == floorName })
	s.prepare = nil
	return s
}

// progressPeriod is how often kube-apiserver asks etcd how far it is while somebody
// waits to know (k8s.io/apiserver pkg/storage/cacher/progress).
const progressPeriod = 100 * time.Millisecond

// written lists what is quiet while another resource is written. Who asks again at
// once falls into step with the kube-apiserver's own period, and all answers take as
// long as that; so clients come at any time of it.
func (b *cacheBench) written(a ask, n int) scenario {
	s := b.list("LIST by label, strict, 100 writes/s elsewhere", a, n, faster(1))
	for i := range s.entries {
		e := &s.entries[i]
		e.before, e.do = b.write, b.reader(e.server, a, n, progressPeriod)
	}
	return s
}

const (
	writesPerSecond = 100
	// writers is how many writes can be under way at once.
	writers = 4
)

// write writes a ConfigMap, 100 times a second, until it is told to end.
func (b *cacheBench) write(ctx context.Context) (func(), error) {
	config := b.cluster.RESTConfig(b.direct.url)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	maps := client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	object := func(i int) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bench-written"}, Data: map[string]string{"n": fmt.Sprint(i)}}
	}
	// Of every turn but the first it is there.
	_, _ = maps.Create(ctx, object(0), metav1.CreateOptions{})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	numbers := make(chan int)
	for range writers {
		running.Go(func() {
			for i := range numbers {
				// One that fails is a write less; the next is 10 ms away.
				_, _ = maps.Update(ctx, object(i), metav1.UpdateOptions{})
			}
		})
	}
	running.Go(func() {
		defer close(numbers)
		ticker := time.NewTicker(time.Second / writesPerSecond)
		defer ticker.Stop()
		for i := 1; ; i++ {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			select {
			case numbers <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}, nil
}

const (
	// pageLimit is what clients ask for at a time, as kubectl and informers do; pages
	// how many of a list are asked for in a turn.
	pageLimit = 500
	pages     = 10
)

// continueToken is in front of a list's items.
var continueToken = regexp.MustCompile(`"continue":"([^"]+)"`)

// paginated has a client read the first pages of all pods, each behind the one before.
func (b *cacheBench) paginated() scenario {
	s := scenario{name: fmt.Sprintf("LIST of %d, page behind page", pageLimit), per: "page"}
	for _, server := range []server{b.direct, b.gateway} {
		s.entries = append(s.entries, entry{name: server.name, server: server, do: func(ctx context.Context) (batch, error) {
			return readPages(ctx, b.one[0], server.url, min(pages, b.pods.pods/pageLimit))
		}})
	}
	return s
}

func readPages(ctx context.Context, client *http.Client, server string, n int) (batch, error) {
	buffer := make([]byte, readBuffer)
	done := batch{units: n}
	var took []time.Duration
	query := url.Values{"limit": {strconv.Itoa(pageLimit)}}
	for i := range n {
		start := time.Now()
		response, err := ask{"/api/v1/pods?" + query.Encode(), jsonType, ""}.send(ctx, client, server)
		if err != nil {
			return done, err
		}
		head := make([]byte, tokenWithin)
		if _, err = io.ReadFull(response.Body, head); err == nil {
			var rest int64
			rest, err = drain(response.Body, buffer)
			done.bytes += tokenWithin + rest
		}
		response.Body.Close()
		if err != nil {
			return done, err
		}
		took = append(took, time.Since(start))
		token := continueToken.FindSubmatch(head)
		if token == nil && i < n-1 {
			return done, fmt.Errorf("page %d of %s has no continue token", i, server)
		}
		if token != nil {
			query.Set("continue", string(token[1]))
		}
	}
	done.wall = median(took)
	return done, nil
}

// tokenWithin is how far in front the token is.
const tokenWithin = 1 << 10

// snappy compares the gateway with itself: no other speaks framed snappy.
func (b *cacheBench) snappy(path string) scenario {
	const identity, framed = "gateway, identity", "gateway, framed snappy"
	return scenario{
		name: "LIST all, JSON, framed snappy", per: "request",
		entries: []entry{
			{name: identity, server: b.gateway, do: b.reader(b.gateway, ask{path, jsonType, ""}, 1, 0)},
			{name: framed, server: b.gateway, do: b.reader(b.gateway, ask{path, jsonType, cache.SnappyFramed}, 1, 0)},
		},
		checks: []check{
			{quantity: size, of: identity, over: framed, least: 4},
			{quantity: wallTime, of: framed, over: identity, most: 1},
		},
	}
}

const (
	// getObjects is how many different pods are read, by getClients at once.
	getObjects = 64
	getClients = 16
)

// get has many clients GET pods, each one after another.
func (b *cacheBench) get() scenario {
	asks := make([]ask, getObjects)
	for i := range asks {
		asks[i] = ask{b.pods.path(i*b.pods.pods/getObjects) + "?resourceVersion=0", jsonType, ""}
	}
	s := scenario{name: "GET", per: "request", checks: []check{nearFloor(cpu, 1.4)}}
	for _, server := range []server{b.direct, b.gateway, b.floor} {
		s.entries = append(s.entries, entry{name: server.name, server: server, do: func(ctx context.Context) (batch, error) {
			return getAll(ctx, b.many, server.url, asks, b.o.gets)
		}})
	}
	s.prepare = func(ctx context.Context) error {
		for _, a := range asks {
			if err := b.teach(ctx, a); err != nil {
				return err
			}
		}
		return nil
	}
	return s
}

// getAll asks n times for one after another of asks, at once from every client.
func getAll(ctx context.Context, clients []*http.Client, server string, asks []ask, n int) (batch, error) {
	var (
		mu       sync.Mutex
		done     batch
		took     []time.Duration
		firstErr error
		running  sync.WaitGroup
	)
	for c, client := range clients {
		running.Go(func() {
			buffer := make([]byte, readBuffer)
			var own []time.Duration
			var bytes int64
			var err error
			for i := range n / len(clients) {
				start := time.Now()
				var read int64
				if read, err = asks[(c+i)%len(asks)].read(ctx, client, server, buffer); err != nil {
					break
				}
				own = append(own, time.Since(start))
				bytes += read
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			done.bytes += bytes
			if firstErr == nil {
				firstErr = err
			}
		})
	}
	running.Wait()
	if firstErr != nil {
		return done, firstErr
	}
	done.units, done.wall = len(took), median(took)
	return done, nil
}

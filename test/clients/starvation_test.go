package clients

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
)

const (
	bulkObjects     = 2000
	bulkObjectBytes = 20 << 10
	bulkReaders     = 6
	// readBytes every readEvery is how fast each of them reads: 1.6 MB/s, half a
	// minute for the list.
	readBytes = 32 << 10
	readEvery = 20 * time.Millisecond
	latencies = 300
	// latencyBound is for the slowest but one percent of the events, on top of what
	// they take directly: the apiserver, which encodes the lists, is slow for both.
	// A watch that waits for a list waits for seconds.
	latencyBound = slowdown * 250 * time.Millisecond
)

// TestBulkListsDoNotStarveAWatch measures how long an event takes to a watch while
// clients read big lists slowly, beside a watch of the same events that does not
// pass the gateway. A list shares the connection of the watch.
func TestBulkListsDoNotStarveAWatch(t *testing.T) {
	s, err := sharedStack()
	must(t, err)
	// Controllers would watch the big objects, too.
	s.stopControllers(t)
	bulk := ""
	eachMode(t, func(t *testing.T, e *env) {
		if bulk == "" {
			// Kept for the other mode: its namespace ends slowly without controllers.
			bulk = e.namespace
			e.createBulk(t, bulk)
		}
		config := ownConnections(e.g.RESTConfig(), "h2")
		via, err := kubernetes.NewForConfig(config)
		must(t, err)
		sameConnection := via.CoreV1().RESTClient().(*restclient.RESTClient).Client

		ctx, cancel := context.WithCancel(t.Context())
		var reading sync.WaitGroup
		defer reading.Wait()
		defer cancel()
		var lists readers
		url := fmt.Sprintf("%s/api/v1/namespaces/%s/configmaps", e.g.URL(), bulk)
		for i := range bulkReaders {
			client := sameConnection
			if i > 0 {
				client = httpClient(t, e.g.RESTConfig(), []string{"h2", "http/1.1"}[i%2])
			}
			reading.Go(func() { lists.readSlowly(ctx, t, client, url) })
		}
		eventually(t, 30*time.Second, func(context.Context) error {
			if n := lists.open.Load(); n < bulkReaders {
				return fmt.Errorf("%d lists are being read", n)
			}
			return nil
		})
		before := lists.bytes.Load()
		through, direct, extra := e.measureLatency(t, via)
		read := lists.bytes.Load() - before
		t.Logf("event delivery while %d lists brought %d MB: through the gateway %s, direct %s; the gateway's came later by %s",
			bulkReaders, read>>20, through, direct, extra)
		if bound := latencyBound + direct.p99; through.p99 > bound {
			t.Errorf("p99 of event delivery is %s, more than %s", through.p99, bound)
		}
		if read < bulkReaders*1<<20 {
			t.Errorf("the lists brought only %d bytes meanwhile", read)
		}
	})
}

// createBulk creates the big objects.
func (e *env) createBulk(t *testing.T, namespace string) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for i := range bulkObjects {
		group.Go(func() error {
			random := make([]byte, bulkObjectBytes)
			_, _ = rand.Read(random)
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bulk-%04d", i)}, BinaryData: map[string][]byte{"random": random}}
			_, err := e.direct.CoreV1().ConfigMaps(namespace).Create(ctx, object, metav1.CreateOptions{})
			return err
		})
	}
	must(t, group.Wait())
}

// readers counts what slow readers do.
type readers struct {
	open  atomic.Int64
	bytes atomic.Int64
}

// readSlowly lists again and again until ctx ends.
func (r *readers) readSlowly(ctx context.Context, t *testing.T, client *http.Client, url string) {
	for ctx.Err() == nil {
		if err := r.readOne(ctx, client, url); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}

func (r *readers) readOne(ctx context.Context, client *http.Client, url string) error {
	response, err := get(ctx, client, url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("LIST: %s", response.Status)
	}
	r.open.Add(1)
	defer r.open.Add(-1)
	ticker := time.NewTicker(readEvery)
	defer ticker.Stop()
	for {
		n, err := io.CopyN(io.Discard, response.Body, readBytes)
		r.bytes.Add(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("LIST broke off: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// delays sums up how long events took.
type delays struct{ p50, p99, max time.Duration }

func (d delays) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("p50 %s, p99 %s, max %s", round(d.p50), round(d.p99), round(d.max))
}

// measureLatency writes objects directly, and returns how long it took from the
// answer of each write to its event, and from the direct event to the gateway's.
func (e *env) measureLatency(t *testing.T, via kubernetes.Interface) (through, direct, extra delays) {
	t.Helper()
	var written [latencies]time.Time
	var seen [2][latencies]time.Time
	var waiting errgroup.Group
	for i, client := range []kubernetes.Interface{via, e.direct} {
		w, err := client.CoreV1().ConfigMaps(e.namespace).Watch(t.Context(), metav1.ListOptions{LabelSelector: "latency"})
		must(t, err)
		defer w.Stop()
		waiting.Go(func() error { return noteArrivals(w, &seen[i]) })
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for i := range latencies {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("event-%d", i), Labels: map[string]string{"latency": "1"}}}
		_, err := e.direct.CoreV1().ConfigMaps(e.namespace).Create(t.Context(), object, metav1.CreateOptions{})
		must(t, err)
		written[i] = time.Now()
		<-ticker.C
	}
	must(t, waiting.Wait())
	return summarize(written[:], seen[0][:]), summarize(written[:], seen[1][:]), summarize(seen[1][:], seen[0][:])
}

func noteArrivals(w watch.Interface, seen *[latencies]time.Time) error {
	for i := range latencies {
		event, ok := <-w.ResultChan()
		if !ok || event.Type != watch.Added {
			return fmt.Errorf("the watch ended: %+v", event)
		}
		if want := fmt.Sprintf("event-%d", i); event.Object.(*corev1.ConfigMap).Name != want {
			return fmt.Errorf("%s came, want %s", event.Object.(*corev1.ConfigMap).Name, want)
		}
		seen[i] = time.Now()
	}
	return nil
}

// summarize takes an event that came before what it is measured from as one
// without delay.
func summarize(from, to []time.Time) delays {
	var all []time.Duration
	for i := range from {
		all = append(all, max(0, to[i].Sub(from[i])))
	}
	slices.Sort(all)
	return delays{p50: all[len(all)/2], p99: all[len(all)*99/100], max: all[len(all)-1]}
}

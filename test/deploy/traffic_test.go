package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	// trafficAgent is the user agent of all clients.
	trafficAgent = "deploy-traffic/1"
	// operation is the label with which a writer tells its writes apart.
	operation = "operation"
	// pause is what a client waits between two calls.
	pause = 20 * time.Millisecond
)

// failure is what a client was told instead of an answer.
type failure struct {
	client string
	when   time.Time
	err    error
}

// traffic is clients of one server, of the kinds that a cluster has: writers and
// informers, which keep their connections, and what is started for one GET.
type traffic struct {
	config    *rest.Config
	namespace string
	workers   []*worker
	replicas  []cache.SharedIndexInformer

	// calls are failures that client-go has not hidden by sending a request again,
	// wire are all that it has seen. Guarded by mu, like acked.
	mu          sync.Mutex
	calls, wire []failure
	// acked are the operations that were answered with success.
	acked map[string]bool
	// reconnects counts new connections of clients that keep theirs.
	reconnects atomic.Int64
}

// worker is a client that makes one call after another.
type worker struct {
	name string
	// done counts calls that succeeded.
	done atomic.Int64
}

// startTraffic starts the clients, with the credentials of config, and returns when
// all informers are synced. Stop waits for the writers and readers to end.
func startTraffic(t *testing.T, config *rest.Config, namespace string) (tr *traffic, stop func()) {
	t.Helper()
	tr = &traffic{config: config, namespace: namespace, acked: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	stop = func() {
		cancel()
		working.Wait()
	}
	t.Cleanup(stop)
	begin := func(name string, call func(ctx context.Context, i int) error) {
		w := &worker{name: name}
		tr.workers = append(tr.workers, w)
		working.Go(func() { tr.work(ctx, w, call) })
	}
	for _, protocol := range []string{"h2", "http/1.1"} {
		name := "informer, " + protocol
		factory := informers.NewSharedInformerFactoryWithOptions(tr.clientset(t, name, protocol), 0, informers.WithNamespace(namespace))
		informer := factory.Core().V1().ConfigMaps().Informer()
		tr.replicas = append(tr.replicas, informer)
		informing, end := context.WithCancel(context.Background())
		t.Cleanup(func() {
			end()
			factory.Shutdown()
		})
		factory.Start(informing.Done())
		synced, gaveUp := context.WithTimeout(ctx, 30*time.Second)
		if !cache.WaitForCacheSync(synced.Done(), informer.HasSynced) {
			t.Fatalf("%s has not synced", name)
		}
		gaveUp()
	}
	for i, protocol := range []string{"h2", "http/1.1", "h2"} {
		name := fmt.Sprintf("writer %d, %s", i, protocol)
		client := tr.clientset(t, name, protocol)
		begin(name, func(ctx context.Context, n int) error {
			return tr.write(ctx, client, fmt.Sprintf("writer-%d-%d", i, n))
		})
	}
	for i := range 2 {
		name := fmt.Sprintf("kubectl %d", i)
		begin(name, func(ctx context.Context, _ int) error { return tr.getOnce(ctx, name) })
	}
	return tr, stop
}

// work makes calls until ctx ends.
func (tr *traffic) work(ctx context.Context, w *worker, call func(ctx context.Context, i int) error) {
	for i := 0; ctx.Err() == nil; i++ {
		err := call(ctx, i)
		switch {
		case err == nil:
			w.done.Add(1)
		case ctx.Err() == nil:
			tr.note(&tr.calls, w.name, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// write creates an object whose name the server makes up, so that a write which is
// applied twice makes two.
func (tr *traffic) write(ctx context.Context, client kubernetes.Interface, id string) error {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "traffic-", Labels: map[string]string{operation: id}}}
	if _, err := client.CoreV1().ConfigMaps(tr.namespace).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.acked[id] = true
	return nil
}

// getOnce does what `kubectl get` does: connect, ask, hang up.
func (tr *traffic) getOnce(ctx context.Context, name string) error {
	config := tr.configFor(name, "h2", func() {})
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	clients, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		return err
	}
	_, err = clients.CoreV1().Namespaces().Get(ctx, tr.namespace, metav1.GetOptions{})
	return err
}

// clientset has a connection of its own.
func (tr *traffic) clientset(t *testing.T, name, protocol string) kubernetes.Interface {
	t.Helper()
	var connected atomic.Bool
	config := tr.configFor(name, protocol, func() {
		if connected.Swap(true) {
			tr.reconnects.Add(1)
		}
	})
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// configFor is for one client, whose failures are noted under its name. A dialer of
// its own keeps client-go from sharing its connection with others.
func (tr *traffic) configFor(name, protocol string, dialled func()) *rest.Config {
	config := rest.CopyConfig(tr.config)
	config.UserAgent = trafficAgent
	if protocol == "http/1.1" {
		config.NextProtos = []string{"http/1.1"}
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddress)}}
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled()
		return dialer.DialContext(ctx, network, address)
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &witness{next: next, note: func(err error) { tr.note(&tr.wire, name, err) }}
	})
	return config
}

func (tr *traffic) note(where *[]failure, client string, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	*where = append(*where, failure{client, time.Now(), err})
}

// failures returns what has failed since the last call.
func (tr *traffic) failures() (calls, wire []failure) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	calls, wire = tr.calls, tr.wire
	tr.calls, tr.wire = nil, nil
	return calls, wire
}

// mustGoOn waits until every worker has had n more calls answered, and every
// informer knows of a new object.
func (tr *traffic) mustGoOn(t *testing.T, direct kubernetes.Interface, n int64, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var want []int64
	for _, w := range tr.workers {
		want = append(want, w.done.Load()+n)
	}
	news := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "news-"}}
	news, err := direct.CoreV1().ConfigMaps(tr.namespace).Create(ctx, news, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, within, func(context.Context) error {
		for i, w := range tr.workers {
			if done := w.done.Load(); done < want[i] {
				return fmt.Errorf("%s has had %d calls answered, want %d", w.name, done, want[i])
			}
		}
		for i, replica := range tr.replicas {
			if _, known, err := replica.GetStore().Get(news); err != nil || !known {
				return fmt.Errorf("informer %d does not know of %s (%v)", i, news.Name, err)
			}
		}
		return nil
	})
}

// checkEnd compares what informers have, and what writers were told, with a LIST
// that comes straight from an apiserver.
func (tr *traffic) checkEnd(t *testing.T, direct kubernetes.Interface) {
	t.Helper()
	var list *corev1.ConfigMapList
	fixture.Eventually(t, 20*time.Second, func(ctx context.Context) (err error) {
		if list, err = direct.CoreV1().ConfigMaps(tr.namespace).List(ctx, metav1.ListOptions{}); err != nil {
			return err
		}
		for i, replica := range tr.replicas {
			if got := len(replica.GetStore().ListKeys()); got != len(list.Items) {
				return fmt.Errorf("informer %d has %d objects, the cluster %d", i, got, len(list.Items))
			}
			for _, want := range list.Items {
				got, known, err := replica.GetStore().Get(&want)
				if err != nil || !known {
					return fmt.Errorf("informer %d lacks %s (%v)", i, want.Name, err)
				}
				if !equality.Semantic.DeepEqual(got, &want) {
					return fmt.Errorf("informer %d has %v, the cluster %v", i, got, want)
				}
			}
		}
		return nil
	})
	applied := map[string]int{}
	for _, object := range list.Items {
		if id := object.Labels[operation]; id != "" {
			applied[id]++
		}
	}
	unacknowledged := 0
	for id, times := range applied {
		if times > 1 {
			t.Errorf("%s was applied %d times", id, times)
		}
		if !tr.acked[id] {
			unacknowledged++
		}
	}
	for id := range tr.acked {
		if applied[id] == 0 {
			t.Errorf("%s was acknowledged and is not there", id)
		}
	}
	t.Logf("%d writes were acknowledged, all are there once; so are %d whose answer was lost", len(tr.acked), unacknowledged)
}

// connectionLost tells errors of connections from answers. A client can do nothing
// about them but connect again.
func connectionLost(err error) bool {
	return utilnet.IsProbableEOF(err) || utilnet.IsConnectionReset(err) || utilnet.IsConnectionRefused(err) || utilnet.IsHTTP2ConnectionLost(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), "server closed idle connection")
}

// witness notes what goes wrong on a client's connections, before client-go can
// send a request again or an informer watch again.
type witness struct {
	next http.RoundTripper
	note func(error)
}

func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(r)
	switch {
	case err != nil:
		if r.Context().Err() == nil {
			w.note(err)
		}
		return response, err
	case response.StatusCode >= http.StatusInternalServerError, response.StatusCode == http.StatusTooManyRequests:
		w.note(fmt.Errorf("%s %s answered %s", r.Method, r.URL, response.Status))
	}
	response.Body = &witnessedBody{ReadCloser: response.Body, request: r, note: w.note}
	return response, nil
}

type witnessedBody struct {
	io.ReadCloser
	request *http.Request
	note    func(error)
	closed  atomic.Bool
}

func (b *witnessedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !b.closed.Load() && b.request.Context().Err() == nil {
		b.note(err)
	}
	return n, err
}

func (b *witnessedBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

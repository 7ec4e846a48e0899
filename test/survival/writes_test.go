package survival

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	// writersPerClient share a connection, clientsPerGateway have one each.
	clientsPerGateway = 3
	writersPerClient  = 3
	// writeTimeout is more than client-go's ten resendings take.
	writeTimeout = time.Minute
	// largeBody is above smallBytes of pkg/proxy.
	largeBody = 100 << 10

	operationLabel = "operation"
	versionLabel   = "version"
	idempotencyKey = "Idempotency-Key"
)

// writer makes operations, one after the other.
type writer struct {
	name      string
	client    *kubernetes.Clientset
	namespace string
	// keyed writers send an Idempotency-Key with each POST, others with every third.
	keyed bool
	// made are those that are over, in order.
	made []operation
	// denials are the texts of answers that say no.
	denials []string
	count   *counters
}

// counters are of all writers.
type counters struct{ finished, resent, ambiguous atomic.Int64 }

// TestNoWriteIsAppliedTwice has clients write while apiservers are killed and frozen
// at random, at least one being well at any time.
func TestNoWriteIsAppliedTwice(t *testing.T) {
	lasting := 30 * time.Second
	if fixture.Soak() {
		lasting = 5 * time.Minute
	}
	e := setUp(t)
	e.letAnonymousWrite(t)
	random := fixture.Random(t)
	count := &counters{}
	writers := e.newWriters(t, count)
	ctx, finish := context.WithCancel(t.Context())
	defer finish()
	var working sync.WaitGroup
	defer working.Wait()
	defer finish()
	for _, w := range writers {
		working.Go(func() { w.run(ctx) })
	}
	rounds := map[string]int{}
	for end := time.Now().Add(lasting); time.Now().Before(end); {
		victims := someOf(random, e.servers())
		strike(t, victims)
		count.await(t, int64(10+random.IntN(400)))
		mend(t, victims)
		count.await(t, int64(random.IntN(50)))
		rounds[fmt.Sprint(victims)]++
	}
	finish()
	working.Wait()
	e.awaitQuiet(t)

	var operations []operation
	for _, w := range writers {
		operations = append(operations, w.made...)
		for _, denial := range w.denials {
			// Nothing is asked for that is not allowed.
			t.Errorf("%s was denied: %s", w.name, denial)
		}
	}
	found := e.operations(t)
	for _, wrong := range judge(operations, found) {
		t.Error(wrong)
	}
	report(t, operations, found, count)
	t.Logf("faults: %v", rounds)
	if count.ambiguous.Load() == 0 {
		t.Error("no write was lost: the faults have hit nobody")
	}
}

// someOf breaks one or two of three servers.
func someOf(random *rand.Rand, servers []*cluster.Process) []stricken {
	var victims []stricken
	for _, i := range random.Perm(len(servers))[:1+random.IntN(len(servers)-1)] {
		victims = append(victims, stricken{servers[i], []fault{killed, frozen}[random.IntN(2)]})
	}
	return victims
}

// letAnonymousWrite is how writes come to the gateway's connections without a
// certificate: these speak HTTP/1.1.
func (e *env) letAnonymousWrite(t *testing.T) {
	t.Helper()
	roles := e.direct.RbacV1()
	_, err := roles.Roles(e.namespace).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create", "update", "delete"}}},
	}, metav1.CreateOptions{})
	must(t, err)
	_, err = roles.RoleBindings(e.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "writer"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "writer"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"}},
	}, metav1.CreateOptions{})
	must(t, err)
}

func (e *env) newWriters(t *testing.T, count *counters) []*writer {
	t.Helper()
	var writers []*writer
	for _, g := range e.gateways {
		for i := range clientsPerGateway + 1 {
			config, keyed := g.RESTConfig(), false
			if i == clientsPerGateway {
				config, keyed = e.anonymous(t, g), true
			} else {
				config = fixture.OwnConnection(config)
			}
			if i%2 == 0 {
				config.ContentType = runtime.ContentTypeProtobuf
			}
			config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return witness{rt} })
			client, err := kubernetes.NewForConfig(config)
			must(t, err)
			for j := range writersPerClient {
				name := fmt.Sprintf("%s-%d-%d", g.Name(), i, j)
				writers = append(writers, &writer{name: name, client: client, namespace: e.namespace, keyed: keyed, count: count})
			}
		}
	}
	return writers
}

// anonymous is a configuration without credentials. It makes a connection for every
// request: over one that is used again, net/http would resend by itself here what has
// an Idempotency-Key, and it is the gateway that must not.
func (e *env) anonymous(t *testing.T, g *fixture.Gateway) *rest.Config {
	t.Helper()
	config := rest.AnonymousClientConfig(g.RESTConfig())
	tlsConfig, err := rest.TLSConfigFor(config)
	must(t, err)
	transport := &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true}
	return &rest.Config{Host: config.Host, QPS: -1, Transport: transport}
}

// run makes operations until ctx ends. The last one is brought to its end.
func (w *writer) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		o := w.operate(context.WithoutCancel(ctx), i)
		w.made = append(w.made, o)
		w.count.finished.Add(1)
	}
}

// operate creates an object, changes it, and deletes every second.
func (w *writer) operate(ctx context.Context, i int) operation {
	o := operation{id: fmt.Sprintf("%s-%d", w.name, i)}
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "operation-", Labels: map[string]string{operationLabel: o.id, versionLabel: asCreated}},
	}
	if i%25 == 0 {
		object.Data = map[string]string{"large": strings.Repeat("x", largeBody)}
	}
	objects := w.client.CoreV1().ConfigMaps(w.namespace)
	var created, changed *corev1.ConfigMap
	o.create = w.attempt(ctx, func(ctx context.Context) (err error) {
		created, err = w.create(ctx, object, w.keyed || i%3 == 0)
		return err
	})
	if o.create != acknowledged {
		return o
	}
	created.Labels[versionLabel] = asChanged
	o.change = w.attempt(ctx, func(ctx context.Context) (err error) {
		changed, err = objects.Update(ctx, created, metav1.UpdateOptions{})
		return err
	})
	if o.change != acknowledged || i%2 == 0 {
		return o
	}
	o.deleted = w.attempt(ctx, func(ctx context.Context) error {
		return objects.Delete(ctx, changed.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &changed.UID, ResourceVersion: &changed.ResourceVersion},
		})
	})
	return o
}

func (w *writer) create(ctx context.Context, object *corev1.ConfigMap, keyed bool) (*corev1.ConfigMap, error) {
	r := w.client.CoreV1().RESTClient().Post().Namespace(w.namespace).Resource("configmaps").Body(object)
	if keyed {
		r = r.SetHeader(idempotencyKey, object.Labels[operationLabel])
	}
	created := &corev1.ConfigMap{}
	return created, r.Do(ctx).Into(created)
}

func (w *writer) attempt(ctx context.Context, write func(context.Context) error) outcome {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	result, sent, err := attempt(ctx, write)
	w.count.resent.Add(int64(max(0, sent.count-1)))
	switch result {
	case ambiguous:
		w.count.ambiguous.Add(1)
	case denied:
		w.denials = append(w.denials, err.Error())
	}
	return result
}

// await returns when n more operations are over.
func (c *counters) await(t *testing.T, n int64) {
	t.Helper()
	n += c.finished.Load()
	eventually(t, 2*writeTimeout, func(context.Context) error {
		if got := c.finished.Load(); got < n {
			return fmt.Errorf("%d of %d operations are over", got, n)
		}
		return nil
	})
}

// awaitQuiet returns when no apiserver works on a write any more: one that was frozen
// still has those whose clients have long been told that they are lost.
func (e *env) awaitQuiet(t *testing.T) {
	t.Helper()
	for _, p := range e.servers() {
		client := fixture.Clientset(t, e.RESTConfig(p.URL())).CoreV1().RESTClient()
		// The gauge tells the maximum of the last second.
		eventually(t, time.Minute, func(ctx context.Context) error {
			metrics, err := client.Get().AbsPath("/metrics").DoRaw(ctx)
			if err != nil {
				return err
			}
			if !strings.Contains(string(metrics), "\n"+`apiserver_current_inflight_requests{request_kind="mutating"} 0`+"\n") {
				return fmt.Errorf("%s works on writes", p.Name())
			}
			return nil
		})
	}
}

// operations returns the versions of all objects by operation, as an apiserver has
// them.
func (e *env) operations(t *testing.T) map[string][]string {
	t.Helper()
	client, err := metadata.NewForConfig(e.RESTConfig(e.Servers(cluster.GroupMain)[0]))
	must(t, err)
	list, err := client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(e.namespace).
		List(within(t, time.Minute), metav1.ListOptions{LabelSelector: operationLabel})
	must(t, err)
	found := map[string][]string{}
	for _, object := range list.Items {
		id := object.Labels[operationLabel]
		found[id] = append(found[id], object.Labels[versionLabel])
	}
	return found
}

func report(t *testing.T, operations []operation, found map[string][]string, count *counters) {
	t.Helper()
	names := [...]string{untried: "untried", acknowledged: "acknowledged", refused: "refused", denied: "denied", ambiguous: "ambiguous"}
	writes := map[string]map[string]int{"POST": {}, "PUT": {}, "DELETE": {}}
	applied := 0
	for _, o := range operations {
		writes["POST"][names[o.create]]++
		writes["PUT"][names[o.change]]++
		writes["DELETE"][names[o.deleted]]++
		if o.create == ambiguous {
			applied += len(found[o.id])
		}
	}
	t.Logf("%d operations: %v; %d sendings by Retry-After; of the ambiguous POSTs %d were applied", len(operations), writes, count.resent.Load(), applied)
}

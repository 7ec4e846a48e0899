package consistency

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// env is what one run has.
type env struct {
	*cluster.Cluster
	gateways []*gateway
	record   *record
	// histories are by resource. They are complete, and nobody's but the test's, once
	// unfollow has returned.
	histories map[string]*history
	unfollow  func()
	// namespaces are the run's own. The second one's name begins with the first one's,
	// so that "first-more/x" comes before "first/x".
	namespaces [2]string
	// setup is past the gateways.
	setup *client
	// registers are those of the round.
	registers atomic.Pointer[[]register]
}

// newEnv prepares a run through gateways.
func newEnv(t *testing.T, c *cluster.Cluster, gateways []*gateway) *env {
	t.Helper()
	e := &env{Cluster: c, gateways: gateways, record: newRecord(), histories: map[string]*history{}}
	e.follow(t)
	var err error
	e.setup, err = newClient(e.RESTConfig(e.Servers(cluster.GroupMain)[0]), "setup", runtime.ContentTypeProtobuf)
	must(t, err)
	name := fmt.Sprintf("consistency-%d", sequence.Add(1))
	e.namespaces = [2]string{name, name + "-more"}
	for _, namespace := range e.namespaces {
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		must(t, e.setup.rest.Post().Resource("namespaces").Body(object).Do(t.Context()).Error())
	}
	return e
}

// follow has etcd's history written down from now on.
func (e *env) follow(t *testing.T) {
	t.Helper()
	client := etcdClient(t, e.EtcdURL())
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	e.unfollow = func() {
		cancel()
		following.Wait()
	}
	t.Cleanup(e.unfollow)
	for resource, prefix := range prefixes {
		following.Add(1)
		h, err := follow(ctx, client, prefix, following.Done)
		if err != nil {
			following.Done()
			t.Fatal(err)
		}
		e.histories[resource] = h
	}
}

// settle writes an object of each resource and returns when the histories have got
// there: all that was seen before is in them then.
func (e *env) settle(t *testing.T) {
	t.Helper()
	for resource, h := range e.histories {
		eventually(t, time.Minute, func(ctx context.Context) error {
			name := fmt.Sprintf("settled-%d", sequence.Add(1))
			request, object := e.setup.rest.Post().Resource(resource), runtime.Object(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
			if resource == configMaps {
				request, object = request.Namespace(e.namespaces[0]), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
			}
			answer, err := request.Body(object).Do(ctx).Get()
			if err != nil {
				return err
			}
			written, err := identify(answer)
			if err != nil {
				return err
			}
			return fixture.Await(ctx, time.Minute, func(context.Context) error { return h.reached(written.rv) })
		})
	}
}

// writeTimeout and readTimeout are for clients of apiservers that are frozen.
const (
	writeTimeout = 3 * time.Second
	readTimeout  = 5 * time.Second
)

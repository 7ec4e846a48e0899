package failover

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// env is what a test of one gateway has.
type env struct {
	*cluster.Cluster
	g        *fixture.Gateway
	operator *operator
	// namespace is the test's own.
	namespace string
	// outside is the server that the test uses past the gateway, and does not break
	// while it does.
	outside string
	// failuresBefore is how many requests each server had lost before the test.
	failuresBefore map[string]int64
}

// through prepares a test of one gateway: all servers are up and, to the gateway,
// as if they had always been. The test fails if the gateway panics, or believes in
// the end that requests are under way which are not.
func through(t *testing.T, gateway func() (*fixture.Gateway, error)) *env {
	t.Helper()
	e := &env{Cluster: fixture.Shared(t, theCluster), g: fixture.Shared(t, gateway), outside: "bypass-1"}
	var err error
	e.operator, err = newOperator(e.g)
	must(t, err)
	t.Cleanup(func() {
		if err := e.g.Panics(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { e.restore(t) })
	e.awaitCalm(t)
	e.failuresBefore = e.failures(t)
	e.newNamespace(t)
	return e
}

// newNamespace makes another one for the test.
func (e *env) newNamespace(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "failover-"}}
	namespace, err := e.direct(t).CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	must(t, err)
	e.namespace = namespace.Name
}

// direct is an administrator past all gateways.
func (e *env) direct(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	config := e.RESTConfig(e.Process(e.outside).URL())
	config.UserAgent = "failover-setup"
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	return client
}

// awaitCalm waits until the gateway has all servers, past their slow start, and all
// clients have gone back to where they belong.
func (e *env) awaitCalm(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		metrics, err := e.g.Metrics(ctx)
		if err != nil {
			return err
		}
		for _, s := range servers {
			if metrics[e.healthy(s)] != 1 {
				err = errors.Join(err, fmt.Errorf("to the gateway %s is not healthy", s))
			}
		}
		for _, group := range []string{v1alpha1.GroupMain, v1alpha1.GroupBypass} {
			if part := metrics[returnedTo(group)]; part != 1 {
				err = errors.Join(err, fmt.Errorf("%s has %v of its clients", group, part))
			}
			state, liveErr := e.operator.live(ctx, group)
			err = errors.Join(err, liveErr)
			for _, endpoint := range state.Endpoints {
				// That is told in whole seconds.
				if age := time.Since(endpoint.Since.Time); age < slowStart+time.Second {
					err = errors.Join(err, fmt.Errorf("%s has been back for %s only", endpoint.URL, age))
				}
			}
		}
		return err
	})
}

// restore brings all servers back.
func (e *env) restore(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range servers {
		p := e.Process(name)
		if p.Paused() {
			if err := p.Resume(); err != nil {
				t.Error(err)
			}
		}
		if !p.Running() {
			if err := p.Start(ctx); err != nil {
				t.Error(err)
			}
		}
	}
}

// failures is how many requests each server has lost, as the gateway sees it.
func (e *env) failures(t *testing.T) map[string]int64 {
	t.Helper()
	failures := map[string]int64{}
	for _, group := range []string{v1alpha1.GroupMain, v1alpha1.GroupBypass} {
		state, err := e.operator.live(within(t, 10*time.Second), group)
		must(t, err)
		for i, endpoint := range state.Endpoints {
			failures[fmt.Sprintf("%s-%d", group, i)] = endpoint.Failures
		}
	}
	return failures
}

// checkFailures fails unless requests were lost by the broken servers only.
func (e *env) checkFailures(t *testing.T, broken ...string) {
	t.Helper()
	allowed := map[string]bool{}
	for _, name := range broken {
		allowed[name] = true
	}
	for name, n := range e.failures(t) {
		if lost := n - e.failuresBefore[name]; lost > 0 && !allowed[name] {
			t.Errorf("%s, which was not broken, has lost %d requests", name, lost)
		}
	}
}

// checkNothingUnderWay fails unless the gateway knows that nothing is, once that is
// so.
func (e *env) checkNothingUnderWay(t *testing.T) {
	t.Helper()
	for _, group := range []string{v1alpha1.GroupMain, v1alpha1.GroupBypass} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := fixture.Poll(ctx, func(ctx context.Context) error {
			state, err := e.operator.live(ctx, group)
			if err != nil {
				return err
			}
			under := state.InFlight
			for _, endpoint := range state.Endpoints {
				under += endpoint.InFlight
			}
			if under != 0 {
				return fmt.Errorf("group %s has %d requests under way, its servers %+v", group, state.InFlight, state.Endpoints)
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Errorf("nobody sends anything any more, but %v", err)
		}
	}
}

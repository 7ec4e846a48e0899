package clients

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// candidate takes part in a leader election until it is stopped.
type candidate struct {
	stop func()
	// ended is closed when the candidate has left.
	ended chan struct{}
}

// TestLeadershipPassesOnWhenALeaderStops holds an election through the gateway.
func TestLeadershipPassesOnWhenALeaderStops(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		var leaders atomic.Int32
		elected := make(chan string, 10)
		first := e.campaign(t, "one", &leaders, elected)
		if got := receive(t, elected); got != "one" {
			t.Fatalf("%s leads, want one", got)
		}
		e.campaign(t, "two", &leaders, elected)
		e.waitRenewed(t, "election")
		// The leader goes without giving the lease back, as in a crash.
		stopped := time.Now()
		first.stop()
		<-first.ended
		if got := receive(t, elected); got != "two" {
			t.Fatalf("%s leads, want two", got)
		}
		t.Logf("took over after %s", time.Since(stopped).Round(10*time.Millisecond))
		lease, err := e.direct.CoordinationV1().Leases(e.namespace).Get(t.Context(), "election", metav1.GetOptions{})
		must(t, err)
		if *lease.Spec.HolderIdentity != "two" || *lease.Spec.LeaseTransitions != 1 {
			t.Errorf("the lease says %s after %d transitions", *lease.Spec.HolderIdentity, *lease.Spec.LeaseTransitions)
		}
	})
}

// waitRenewed waits until the holder of a lease has kept it for a while.
func (e *env) waitRenewed(t *testing.T, name string) {
	t.Helper()
	eventually(t, 15*time.Second, func(ctx context.Context) error {
		lease, err := e.direct.CoordinationV1().Leases(e.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if lease.Spec.RenewTime.Sub(lease.Spec.AcquireTime.Time) < time.Second {
			return fmt.Errorf("lease %s is not being renewed", name)
		}
		return nil
	})
}

func receive(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-within(t, 30*time.Second).Done():
		t.Fatal("nobody became leader")
		return ""
	}
}

func (e *env) campaign(t *testing.T, name string, leaders *atomic.Int32, elected chan<- string) candidate {
	t.Helper()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: e.namespace, Name: "election"},
			Client:     e.via.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		},
		LeaseDuration: 3 * time.Second,
		RenewDeadline: 2 * time.Second,
		RetryPeriod:   250 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				if n := leaders.Add(1); n != 1 {
					t.Errorf("%d candidates lead at once", n)
				}
				elected <- name
				<-ctx.Done()
				leaders.Add(-1)
			},
			OnStoppedLeading: func() {},
		},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	c := candidate{stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		elector.Run(ctx)
	}()
	t.Cleanup(func() {
		c.stop()
		<-c.ended
	})
	return c
}

// TestControllerRuntimeManagerReconciles runs an operator as people write them:
// a manager with a lease, a cache and a reconciler, all through the gateway.
func TestControllerRuntimeManagerReconciles(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		ctrl.SetLogger(logr.Discard())
		const objects, label = 40, "reconciled"
		for i := range objects / 2 {
			e.createConfigMap(t, fmt.Sprintf("early-%02d", i), "x")
		}
		unique := true
		manager, err := ctrl.NewManager(e.g.RESTConfig(), ctrl.Options{
			Scheme:                        scheme.Scheme,
			Metrics:                       server.Options{BindAddress: "0"},
			Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{e.namespace: {}}},
			LeaderElection:                true,
			LeaderElectionID:              "manager",
			LeaderElectionNamespace:       e.namespace,
			LeaderElectionReleaseOnCancel: true,
			// Both modes run one in this process.
			Controller: config.Controller{SkipNameValidation: &unique},
		})
		must(t, err)
		reconciler := reconcile.Func(func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
			var object corev1.ConfigMap
			if err := manager.GetClient().Get(ctx, r.NamespacedName, &object); err != nil {
				return reconcile.Result{}, client.IgnoreNotFound(err)
			}
			if object.Labels[label] == object.Data["value"] {
				return reconcile.Result{}, nil
			}
			before := object.DeepCopy()
			if object.Labels == nil {
				object.Labels = map[string]string{}
			}
			object.Labels[label] = object.Data["value"]
			return reconcile.Result{}, manager.GetClient().Patch(ctx, &object, client.MergeFrom(before))
		})
		must(t, ctrl.NewControllerManagedBy(manager).For(&corev1.ConfigMap{}).Complete(reconciler))

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- manager.Start(ctx) }()
		for i := objects / 2; i < objects; i++ {
			e.createConfigMap(t, fmt.Sprintf("late-%02d", i), "x")
		}
		eventually(t, 60*time.Second, func(ctx context.Context) error {
			list, err := e.direct.CoreV1().ConfigMaps(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: "suite=clients," + label + "=x"})
			if err == nil && len(list.Items) != objects {
				err = fmt.Errorf("%d of %d objects are labelled", len(list.Items), objects)
			}
			return err
		})
		cancel()
		select {
		case err := <-ended:
			must(t, err)
		case <-within(t, 30*time.Second).Done():
			t.Fatal("the manager does not stop")
		}
	})
}

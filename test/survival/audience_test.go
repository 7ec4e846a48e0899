package survival

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	audienceConnections = 10
	// informersPerResource is on each connection: with five resources, 100 informers.
	informersPerResource = 2
)

// watched are the resources that informers follow: those that are churned, and those
// of a Deployment.
var watched = []struct {
	name   string
	object runtime.Object
	client func(kubernetes.Interface) rest.Interface
}{
	{"configmaps", &corev1.ConfigMap{}, core},
	{"secrets", &corev1.Secret{}, core},
	{"serviceaccounts", &corev1.ServiceAccount{}, core},
	{"pods", &corev1.Pod{}, core},
	{"replicasets", &appsv1.ReplicaSet{}, func(c kubernetes.Interface) rest.Interface { return c.AppsV1().RESTClient() }},
}

func core(c kubernetes.Interface) rest.Interface { return c.CoreV1().RESTClient() }

// audience is informers that look at one address.
type audience struct {
	name string
	// replicas are by resource.
	replicas map[string][]*replica
	// watches is how many have been begun.
	watches atomic.Int64
}

// newAudience starts 100 informers over ten HTTP/2 connections, which end with the
// test, and returns when all have their first list.
func newAudience(t *testing.T, name, namespace string, config *rest.Config) *audience {
	t.Helper()
	a := &audience{name: name, replicas: map[string][]*replica{}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for i := range audienceConnections {
		config := rest.CopyConfig(config)
		config.UserAgent = fmt.Sprintf("survival-%s-%d/1", name, i)
		client := fixture.Clientset(t, config)
		for _, w := range watched {
			for range informersPerResource {
				r := newReplica()
				a.replicas[w.name] = append(a.replicas[w.name], r)
				from := cache.NewListWatchFromClient(w.client(client), w.name, namespace, fields.Everything())
				watch := from.WatchFuncWithContext
				from.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
					a.watches.Add(1)
					return watch(ctx, o)
				}
				reflector := cache.NewReflectorWithOptions(from, w.object, r, cache.ReflectorOptions{Name: name})
				running.Go(func() { reflector.RunWithContext(ctx) })
			}
		}
	}
	eventually(t, time.Minute, func(context.Context) error {
		return a.each(func(_ string, r *replica) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.lists == 0 {
				return errors.New("an informer has no list yet")
			}
			return nil
		})
	})
	return a
}

// each stops at the first error.
func (a *audience) each(do func(resource string, r *replica) error) error {
	for _, resource := range slices.Sorted(maps.Keys(a.replicas)) {
		for _, r := range a.replicas[resource] {
			if err := do(resource, r); err != nil {
				return fmt.Errorf("an informer of %s through %s: %w", resource, a.name, err)
			}
		}
	}
	return nil
}

// caughtUp returns an error unless every informer has all versions that are in logs.
func (a *audience) caughtUp(logs map[string][]change) error {
	return a.each(func(resource string, r *replica) error {
		var want uint64
		for _, c := range logs[resource] {
			want = max(want, c.version)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.last < want {
			return fmt.Errorf("has version %d, %d is written", r.last, want)
		}
		return nil
	})
}

// equals returns an error unless every store holds what a direct LIST has, field by
// field.
func (a *audience) equals(ctx context.Context, direct kubernetes.Interface, namespace string) error {
	for _, w := range watched {
		list, err := cache.NewListWatchFromClient(w.client(direct), w.name, namespace, fields.Everything()).ListWithContext(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return fmt.Errorf("there are no %s to compare", w.name)
		}
		for _, r := range a.replicas[w.name] {
			if err := r.equals(items); err != nil {
				return fmt.Errorf("an informer of %s through %s: %w", w.name, a.name, err)
			}
		}
	}
	return nil
}

func (r *replica) equals(items []runtime.Object) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.objects) != len(items) {
		return fmt.Errorf("has %d objects, LIST %d", len(r.objects), len(items))
	}
	for _, want := range items {
		o, _, err := identify(want)
		if err != nil {
			return err
		}
		got := r.objects[o.GetUID()]
		if got == nil {
			return fmt.Errorf("lacks %s", describe(o))
		}
		// Items of lists have no kind; what watches bring may have one.
		got = got.DeepCopyObject()
		got.GetObjectKind().SetGroupVersionKind(want.GetObjectKind().GroupVersionKind())
		if !equality.Semantic.DeepEqual(got, want) {
			return fmt.Errorf("differs:\n%v\n%v", got, want)
		}
	}
	return nil
}

// faults are what the informers have seen that cannot be, and what they have not seen
// of logs.
func (a *audience) faults(logs map[string][]change) []string {
	var faults []string
	_ = a.each(func(resource string, r *replica) error {
		for _, missed := range r.missed(logs[resource]) {
			faults = append(faults, fmt.Sprintf("an informer of %s through %s has missed %s", resource, a.name, missed))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, wrong := range r.wrong {
			faults = append(faults, fmt.Sprintf("an informer of %s through %s: %s", resource, a.name, wrong))
		}
		return nil
	})
	return faults
}

// reopened is how many watches have been begun after the first of each informer.
func (a *audience) reopened() int64 {
	return a.watches.Load() - int64(audienceConnections*informersPerResource*len(watched))
}

// describe tells how many informers have listed again how often.
func (a *audience) describe() string {
	often := map[int]int{}
	total := 0
	_ = a.each(func(_ string, r *replica) error {
		n := r.relists()
		often[n]++
		total += n
		return nil
	})
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(often)) {
		parts = append(parts, fmt.Sprintf("%d informers %d times", often[n], n))
	}
	return fmt.Sprintf("through %s %d watches opened again, %d relists: %s", a.name, a.reopened(), total, strings.Join(parts, ", "))
}

package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func cachedResource(name, group, resource string) *v1alpha1.CachedResource {
	return &v1alpha1.CachedResource{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CachedResourceSpec{Group: group, Resource: resource}}
}

func TestCacheGetsWhatIsToBeKept(t *testing.T) {
	b := startBench(t)
	b.make(t, cachedResource("pods", "", "pods"), cachedResource("jobs", "batch", "jobs"))
	waitFor(t, b.cache.has(" jobs=batch/v1/jobs*4096 pods=/v1/pods*4096"))
	waitFor(t, func() bool { return testutil.ToFloat64(b.metrics.objects.WithLabelValues("CachedResource")) == 2 })
	b.remove(t, "cachedresources", "jobs")
	waitFor(t, b.cache.has(" pods=/v1/pods*4096"))
}

func TestOfSeveralForAResourceTheFirstIsKept(t *testing.T) {
	b := startBench(t)
	older := cachedResource("b", "example.com", "widgets")
	older.Spec.Version = "v1beta1"
	b.make(t, older, cachedResource("a", "example.com", "widgets"), cachedResource("c", "example.org", "widgets"))
	waitFor(t, b.cache.has(" a=example.com/v1/widgets*4096 c=example.org/v1/widgets*4096"))
	is := func(name, want string) func() bool {
		return func() bool {
			o := cachedResource(name, "", "")
			if found, err := b.Read(t.Context(), o); err != nil || !found {
				t.Fatalf("found %v, %v", found, err)
			}
			return active(o.Status.Conditions) == want && o.Status.ObservedGeneration == o.Generation
		}
	}
	waitFor(t, is("a", "True/InForce"))
	waitFor(t, is("b", "False/Duplicate"))
	waitFor(t, is("c", "True/InForce"))
	b.remove(t, "cachedresources", "a")
	waitFor(t, b.cache.has(" b=example.com/v1beta1/widgets*4096 c=example.org/v1/widgets*4096"))
	waitFor(t, is("b", "True/InForce"))
}

func TestConditionSaysWhatCannotBeCached(t *testing.T) {
	for _, tc := range []struct{ group, version, resource, want, message string }{
		{"", "v1", "pods", "True/InForce", "from memory"},
		{"apps", "v1", "deployments", "True/InForce", "from memory"},
		{"example.com", "v1alpha7", "widgets", "True/InForce", "CustomResourceDefinition"},
		{"gateway.networking.k8s.io", "v1", "httproutes", "True/InForce", "CustomResourceDefinition"},
		{"", "v1", "podtemplates", "False/NotCacheable", "podtemplates of v1 cannot be cached"},
		{"apps", "v1beta1", "deployments", "False/NotCacheable", "deployments of apps/v1beta1 cannot be cached"},
		{"storage.k8s.io", "v1", "gadgets", "False/NotCacheable", "these can: pods, nodes"},
		{"nodot", "v1", "gadgets", "False/NotCacheable", "gadgets of nodot/v1"},
		{"", "v1", "pods/status", "False/Invalid", "spec.resource"},
	} {
		o := cachedResource("x", tc.group, tc.resource)
		o.Spec.Version = tc.version
		v1alpha1.SetDefaults_CachedResource(o)
		c := cachedCondition(o, cachedAs([]*v1alpha1.CachedResource{o}))
		if got := string(c.Status) + "/" + c.Reason; got != tc.want || !strings.Contains(c.Message, tc.message) {
			t.Errorf("%s/%s %s: %s, %q", tc.group, tc.version, tc.resource, got, c.Message)
		}
	}
}

func TestCachedResourcesOfTheLastRunAreKeptWithoutTheStore(t *testing.T) {
	b := startBench(t)
	b.make(t, cachedResource("pods", "", "pods"))
	waitFor(t, b.cache.has(" pods=/v1/pods*4096"))
	file := filepath.Join(b.dir, "policies.json")
	waitFor(t, func() bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(data), `"cachedResources"`)
	})
	dir := t.TempDir()
	b.copyTo(t, dir)
	if later := newBench(t, b.clock, &rest.Config{Host: "http://127.0.0.1:1"}, dir); !later.cache.has(" pods=/v1/pods*4096")() {
		t.Errorf("the cache has %q", later.cache.said)
	}
}

package policy

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache"
)

// kept is what one CachedResource can be for: a resource is kept in one version.
type kept struct{ group, resource string }

// cachedAs returns which CachedResource counts for a resource: of those that are
// valid the first by name. Objects come in that order.
func cachedAs(all []*v1alpha1.CachedResource) map[kept]string {
	first := map[kept]string{}
	for _, o := range all {
		key := kept{o.Spec.Group, o.Spec.Resource}
		if _, taken := first[key]; !taken && invalidCondition(o) == nil {
			first[key] = o.Name
		}
	}
	return first
}

// firsts leaves out the objects for which others count.
func firsts(all []*v1alpha1.CachedResource) (counting []*v1alpha1.CachedResource) {
	first := cachedAs(all)
	for _, o := range all {
		if first[kept{o.Spec.Group, o.Spec.Resource}] == o.Name {
			counting = append(counting, o)
		}
	}
	return counting
}

// cachedCondition says what a CachedResource does. Whether there is such a custom
// resource is not for it: the live state of each replica tells.
func cachedCondition(o *v1alpha1.CachedResource, first map[kept]string) metav1.Condition {
	if c := invalidCondition(o); c != nil {
		return *c
	}
	if other := first[kept{o.Spec.Group, o.Spec.Resource}]; other != o.Name {
		return condition(metav1.ConditionFalse, "Duplicate", fmt.Sprintf("the same resource is cached as CachedResource %s says", other))
	}
	switch custom, err := cache.Cacheable(o.Spec.Group, o.Spec.Version, o.Spec.Resource); {
	case err != nil:
		return condition(metav1.ConditionFalse, "NotCacheable", err.Error())
	case custom:
		return condition(metav1.ConditionTrue, "InForce", "reads are answered from memory while there is a CustomResourceDefinition for it")
	default:
		return condition(metav1.ConditionTrue, "InForce", "reads are answered from memory")
	}
}

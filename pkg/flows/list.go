package flows

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// List returns the flows of the last hour as API objects, the busiest first.
func (r *Recorder) List(now time.Time) []v1alpha1.Flow {
	var list []v1alpha1.Flow
	for _, f := range r.All() {
		list = append(list, f.object(now))
	}
	slices.SortFunc(list, func(a, b v1alpha1.Flow) int {
		return cmp.Or(b.PerSecond.Cmp(a.PerSecond), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func (f *Flow) object(now time.Time) v1alpha1.Flow {
	s, k := f.Stats(now), f.Key
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%q", k)
	o := v1alpha1.Flow{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%016x", hash.Sum64())},
		Client:     k.Client, Class: k.Class, Verb: k.Verb, APIGroup: k.APIGroup, Resource: k.Resource, Subresource: k.Subresource,
		ListScope: k.Scope, ListShape: k.Shape,
		Requests: int64(s.Requests), Refused: int64(s.Refused),
		PerSecond: quantity(s.PerSecond), Sustained: quantity(s.Sustained), Peak: quantity(s.Peak),
		BytesPerRequest: int64(s.BytesPerRequest),
	}
	if s.P99 > 0 {
		o.P99 = &metav1.Duration{Duration: s.P99}
	}
	return o
}

// quantity keeps a tenth of a request per second.
func quantity(rate float64) resource.Quantity {
	return *resource.NewMilliQuantity(int64(rate*10+0.5)*100, resource.DecimalSI)
}

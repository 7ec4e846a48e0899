package apiserver

import (
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// Live reads what gateways know where they know it: counters, and the states of
// servers and caches. Each returns what there is of every replica that could be asked. An
// error that is an API status is answered as it is.
type Live interface {
	// Live returns the counters of the RateLimit of that name.
	Live(ctx context.Context, name string) ([]v1alpha1.LimitCounters, error)
	// Groups returns the states of the UpstreamGroup of that name.
	Groups(ctx context.Context, name string) ([]v1alpha1.GroupState, error)
	// Caches returns the states of the CachedResource of that name.
	Caches(ctx context.Context, name string) ([]v1alpha1.CacheState, error)
}

// live is what the subresource "live" of one kind does differently from the
// others.
type live struct {
	new func() runtime.Object
	// read makes the answer for an object that there is.
	read func(ctx context.Context, of metav1.ObjectMeta) (runtime.Object, error)

	columns []metav1.TableColumnDefinition
	// rows are those of an answer, for columns.
	rows func(runtime.Object) [][]any
}

func rateLimitLive(from Live) *live {
	return &live{
		new: func() runtime.Object { return &v1alpha1.RateLimitLive{} },
		read: func(ctx context.Context, of metav1.ObjectMeta) (runtime.Object, error) {
			counters, err := from.Live(ctx, of.Name)
			replicas := ordered(counters, func(c *v1alpha1.LimitCounters) string { return c.Name })
			return &v1alpha1.RateLimitLive{ObjectMeta: of, Replicas: replicas}, err
		},
		columns: rateLimitLiveColumns(),
		rows:    func(o runtime.Object) [][]any { return rateLimitLiveRows(o.(*v1alpha1.RateLimitLive)) },
	}
}

func upstreamGroupLive(from Live) *live {
	return &live{
		new: func() runtime.Object { return &v1alpha1.UpstreamGroupLive{} },
		read: func(ctx context.Context, of metav1.ObjectMeta) (runtime.Object, error) {
			states, err := from.Groups(ctx, of.Name)
			replicas := ordered(states, func(s *v1alpha1.GroupState) string { return s.Name })
			return &v1alpha1.UpstreamGroupLive{ObjectMeta: of, Replicas: replicas}, err
		},
		columns: upstreamGroupLiveColumns(),
		rows:    func(o runtime.Object) [][]any { return upstreamGroupLiveRows(o.(*v1alpha1.UpstreamGroupLive)) },
	}
}

func cachedResourceLive(from Live) *live {
	return &live{
		new: func() runtime.Object { return &v1alpha1.CachedResourceLive{} },
		read: func(ctx context.Context, of metav1.ObjectMeta) (runtime.Object, error) {
			states, err := from.Caches(ctx, of.Name)
			replicas := ordered(states, func(s *v1alpha1.CacheState) string { return s.Name })
			return &v1alpha1.CachedResourceLive{ObjectMeta: of, Replicas: replicas}, err
		},
		columns: cachedResourceLiveColumns(),
		rows:    func(o runtime.Object) [][]any { return cachedResourceLiveRows(o.(*v1alpha1.CachedResourceLive)) },
	}
}

// ordered returns what replicas have said by their names; an empty list, not null.
func ordered[T any](said []T, name func(*T) string) []T {
	said = append([]T{}, said...)
	slices.SortFunc(said, func(a, b T) int { return strings.Compare(name(&a), name(&b)) })
	return said
}

// liveREST is the subresource "live" of a kind: computed when read.
type liveREST struct {
	live    *live
	objects rest.Getter
}

var _ rest.Getter = &liveREST{}

func (r *liveREST) New() runtime.Object { return r.live.new() }
func (r *liveREST) Destroy()            {}

func (r *liveREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	o, err := r.objects.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	of := accessor(o)
	answer, err := r.live.read(ctx, metav1.ObjectMeta{Name: name, UID: of.GetUID(), CreationTimestamp: of.GetCreationTimestamp()})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func (r *liveREST) ConvertToTable(_ context.Context, o, options runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{}
	if wantsHeaders(options) {
		t.ColumnDefinitions = r.live.columns
	}
	for _, cells := range r.live.rows(o) {
		t.Rows = append(t.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: o}})
	}
	return t, nil
}

package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// errRemoved ends the watches of a resource that is not cached any more, or anew.
var errRemoved = errors.New("the resource is not cached any more, or cached anew")

// resource is a cached resource with a stream for every encoding that was asked
// for.
type resource struct {
	definition
	settings settings
	// object is the name of the CachedResource that it is for, spec what that says.
	object string
	spec   v1alpha1.CachedResourceSpec

	// ctx ends when it is not cached any more.
	ctx context.Context
	end context.CancelCauseFunc

	streams  [2]atomic.Pointer[stream]
	monitors [2]atomic.Pointer[monitor]
	mu       sync.Mutex
	ended    bool
}

type resourceKey struct{ group, version, plural string }

func keyOf(spec *v1alpha1.CachedResourceSpec) resourceKey {
	return resourceKey{spec.Group, spec.Version, spec.Resource}
}

func newResource(ctx context.Context, d definition, o *v1alpha1.CachedResource) *resource {
	r := &resource{definition: d, settings: settingsOf(&o.Spec), object: o.Name, spec: o.Spec}
	r.ctx, r.end = context.WithCancelCause(ctx)
	return r
}

// same tells that nothing has changed.
func (r *resource) same(d definition, o *v1alpha1.CachedResource) bool {
	return r.object == o.Name && r.stamp == d.stamp && equality.Semantic.DeepEqual(r.spec, o.Spec)
}

// each calls do for its streams.
func (r *resource) each(do func(*stream, *monitor)) {
	for i := range r.streams {
		if s := r.streams[i].Load(); s != nil {
			do(s, r.monitors[i].Load())
		}
	}
}

// remove ends everything: watches between two events, so that their clients come
// back from where they are, and find upstream, or the resource as it is cached now.
// Who has found the resource before gets no more of it than there was.
func (r *resource) remove(why error) {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.end(why)
	r.each(func(s *stream, _ *monitor) {
		s.hub.End(why)
		s.memory.giveBack()
	})
}

func preferred(r *Resource) wire.Encoding {
	if r.Custom {
		return wire.JSON
	}
	// Generated clients ask for it first.
	return wire.Protobuf
}

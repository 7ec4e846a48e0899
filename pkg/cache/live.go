package cache

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// Status is how far the cache is with a resource in one encoding.
type Status struct {
	Resource        Resource
	Encoding        wire.Encoding
	Ready           bool
	Objects         int
	ResourceVersion uint64
	Watchers        int
	// Bytes is the size of a list of all objects, without what stands around it;
	// Memory is about what they take.
	Bytes, Memory int64
}

// Resources returns what is cached and how far it is.
func (c *Cache) Resources() (all []Status) {
	c.each(func(r *resource, s *stream) { all = append(all, s.status(&r.Resource)) })
	return all
}

func (s *stream) status(r *Resource) Status {
	snapshot := s.hub.Snapshot()
	sum := snapshot.Sum("", "")
	return Status{
		Resource: *r, Encoding: s.encoding, Ready: s.ready.Load(), Objects: snapshot.Len(), ResourceVersion: snapshot.ResourceVersion(),
		Watchers: s.hub.Watchers(), Bytes: sum.ItemSize, Memory: sum.Memory,
	}
}

// Live returns how far the cache is with each CachedResource, by name.
func (c *Cache) Live() map[string]v1alpha1.CacheState {
	now := metav1.NewMicroTime(c.config.Clock.Now())
	at := c.published.Load()
	states := map[string]v1alpha1.CacheState{}
	for _, o := range *c.wanted.Load() {
		state := v1alpha1.CacheState{ObservedAt: now, Reason: at.reasons[o.Name]}
		if r := at.resources[keyOf(&o.Spec)]; r != nil && r.object == o.Name {
			r.each(func(s *stream, m *monitor) { state.Encodings = append(state.Encodings, s.live(&r.Resource, m)) })
		}
		if state.Reason == "" && len(state.Encodings) == 0 {
			state.Reason = "it is about to be read"
		}
		states[o.Name] = state
	}
	return states
}

func (s *stream) live(r *Resource, m *monitor) v1alpha1.CachedEncoding {
	status := s.status(r)
	e := v1alpha1.CachedEncoding{
		Encoding: v1alpha1.EncodingJSON, Ready: status.Ready, Objects: int64(status.Objects), Bytes: status.Bytes, Memory: status.Memory, Watchers: int64(status.Watchers),
	}
	if s.encoding == wire.Protobuf {
		e.Encoding = v1alpha1.EncodingProtobuf
	}
	if status.ResourceVersion > 0 {
		e.ResourceVersion = strconv.FormatUint(status.ResourceVersion, 10)
	}
	m.state(&e)
	return e
}

package cache

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// revocations follows roles and bindings, so that who loses a permission loses it
// here, too.
type revocations struct {
	cache *Cache
	once  sync.Once
	// count is of how many of the resources changes are known at the moment.
	count atomic.Int32
}

func newRevocations(c *Cache) *revocations { return &revocations{cache: c} }

// start begins to follow them, with its first call.
func (v *revocations) start(ctx context.Context) {
	v.once.Do(func() {
		for i := range revoking {
			v.cache.follow(ctx, v.cache.ask(&revoking[i], wire.Protobuf), &revocationSink{of: v})
		}
	})
}

// followed tells that every change is known at once.
func (v *revocations) followed() bool { return int(v.count.Load()) == len(revoking) }

// revocationSink is told that something has changed. Of the objects it keeps no more
// than which there are in which version: a whole that is read anew after an outage,
// and is the one from before, takes nothing back.
type revocationSink struct {
	of        *revocations
	connected bool
	// known are resource versions by key, next those of a whole that is being read.
	known, next map[string]uint64
}

var _ upstream.Sink = (*revocationSink)(nil)

// Begin implements upstream.Sink.
func (s *revocationSink) Begin() { s.next = map[string]uint64{} }

// Add implements upstream.Sink.
func (s *revocationSink) Add(_ []byte, meta *wire.Meta) {
	s.next[store.Key(meta.Namespace, meta.Name)] = meta.ResourceVersion
}

// Complete implements upstream.Sink.
func (s *revocationSink) Complete(uint64) error {
	if s.known == nil || !maps.Equal(s.known, s.next) {
		s.of.cache.access.revoke()
	}
	s.known, s.next = s.next, nil
	return nil
}

// Apply implements upstream.Sink.
func (s *revocationSink) Apply(t wire.EventType, _ []byte, meta *wire.Meta) error {
	key := store.Key(meta.Namespace, meta.Name)
	if t == wire.Deleted {
		delete(s.known, key)
	} else {
		s.known[key] = meta.ResourceVersion
	}
	s.of.cache.access.revoke()
	return nil
}

// Abandon implements upstream.Sink.
func (s *revocationSink) Abandon(error) { s.known = nil }

// Warnings implements upstream.Sink.
func (s *revocationSink) Warnings([]string) {}

// Bookmark implements upstream.Sink.
func (s *revocationSink) Bookmark(uint64, []byte) error { return nil }

// Connected implements upstream.Sink.
func (s *revocationSink) Connected() {
	if !s.connected {
		s.connected = true
		s.of.count.Add(1)
	}
}

// Disconnected implements upstream.Sink.
func (s *revocationSink) Disconnected(error) {
	if s.connected {
		s.connected = false
		s.of.count.Add(-1)
	}
}

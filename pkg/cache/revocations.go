package cache

import (
	"sync/atomic"

	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// revocations follows roles and bindings, so that who loses a permission loses it
// here, too.
type revocations struct {
	cache *Cache
	// count is of how many of the resources changes are known at the moment.
	count atomic.Int32
}

func newRevocations(c *Cache) *revocations { return &revocations{cache: c} }

func (v *revocations) start() {
	for i := range revoking {
		v.cache.follow(&revoking[i], wire.Protobuf, &revocationSink{of: v})
	}
}

// followed tells that every change is known at once.
func (v *revocations) followed() bool { return int(v.count.Load()) == len(revoking) }

// revocationSink is told that something has changed, and does not ask what.
type revocationSink struct {
	of        *revocations
	connected bool
}

var _ upstream.Sink = (*revocationSink)(nil)

func (s *revocationSink) Begin()                        {}
func (s *revocationSink) Add([]byte, *wire.Meta)        {}
func (s *revocationSink) Complete(uint64) error         { s.of.cache.access.revoke(); return nil }
func (s *revocationSink) Abandon(error)                 {}
func (s *revocationSink) Warnings([]string)             {}
func (s *revocationSink) Bookmark(uint64, []byte) error { return nil }

func (s *revocationSink) Apply(wire.EventType, []byte, *wire.Meta) error {
	s.of.cache.access.revoke()
	return nil
}

func (s *revocationSink) Connected() {
	if !s.connected {
		s.connected = true
		s.of.count.Add(1)
	}
}

func (s *revocationSink) Disconnected(error) {
	if s.connected {
		s.connected = false
		s.of.count.Add(-1)
	}
}

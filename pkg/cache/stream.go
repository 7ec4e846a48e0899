package cache

import (
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/watch"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

const (
	// compressAbove is the size of bodies that are kept compressed, in bytes.
	compressAbove = 4 << 10
	// historyEvents is how far back watches can begin, and states be asked for.
	historyEvents = 4096
	// maxObject bounds one object, in bytes: etcd takes 1.5 MiB of protobuf, which
	// JSON can make several times as large.
	maxObject = 16 << 20
)

// stream is the state of a resource in one encoding, as upstream.Stream feeds it.
type stream struct {
	kind     *wire.Kind
	encoding wire.Encoding
	hub      *watch.Hub
	probe    *prober
	strict   strictness
	learned  *learned
	clock    clock.Clock
	// restart has everything read anew.
	restart func(why error)

	// ready tells that the hub has a state that may be served.
	ready atomic.Bool
	// disconnected is since when changes are not followed, in Unix nanoseconds; 0
	// while they are.
	disconnected atomic.Int64
	// highest is the highest resource version there was: one below it is another
	// history.
	highest uint64
	// bookmark is what a bookmark of this kind looks like.
	bookmark atomic.Pointer[wire.BookmarkTemplate]
	warnings atomic.Pointer[[]string]

	// pending are the objects of a whole that is being read.
	pending []*store.Object
}

func newStream(r *Resource, encoding wire.Encoding, clock clock.Clock) *stream {
	indexes := []store.Index{store.NameIndex()}
	if !r.Namespaced {
		indexes = nil
	}
	for i := range r.Fields {
		indexes = append(indexes, store.FieldIndex(i))
	}
	s := &stream{
		kind: &r.Kind, encoding: encoding, clock: clock,
		hub: watch.NewHub(watch.NewFormats(&r.Kind, encoding), historyEvents, indexes...),
	}
	s.learned = newLearned(s.hub)
	s.disconnected.Store(clock.Now().UnixNano())
	return s
}

func (s *stream) object(body []byte, meta *wire.Meta) *store.Object {
	return store.NewObject(*meta, wire.NewBody(body, compressAbove), s.hub.Formats().Of(watch.Whole).ItemSize(len(body)))
}

// Begin implements upstream.Sink.
func (s *stream) Begin() { s.pending = nil }

// Add implements upstream.Sink.
func (s *stream) Add(body []byte, meta *wire.Meta) {
	s.pending = append(s.pending, s.object(body, meta))
}

// Complete implements upstream.Sink.
func (s *stream) Complete(rv uint64) error {
	if rv < s.highest {
		return fmt.Errorf("a whole at resource version %d after %d: upstream's history is another one", rv, s.highest)
	}
	s.highest = rv
	s.hub.Reset(rv, slices.Values(s.pending))
	s.pending = nil
	s.ready.Store(true)
	return nil
}

// Apply implements upstream.Sink.
func (s *stream) Apply(t wire.EventType, body []byte, meta *wire.Meta) error {
	s.highest = max(s.highest, meta.ResourceVersion)
	return s.hub.Apply(t, s.object(body, meta))
}

// Bookmark implements upstream.Sink.
func (s *stream) Bookmark(rv uint64, body []byte) error {
	if s.bookmark.Load() == nil {
		template, err := wire.NewBookmark(s.kind, s.encoding, body)
		if err != nil {
			return err
		}
		s.bookmark.Store(template)
	}
	s.highest = max(s.highest, rv)
	return s.hub.Progress(rv)
}

// Connected implements upstream.Sink.
func (s *stream) Connected() { s.disconnected.Store(0) }

// Disconnected implements upstream.Sink.
func (s *stream) Disconnected(error) {
	s.disconnected.CompareAndSwap(0, s.clock.Now().UnixNano())
}

// Abandon implements upstream.Sink.
func (s *stream) Abandon(error) {
	s.ready.Store(false)
	s.highest = 0
	s.pending = nil
	s.hub.Reset(0, none)
}

// Warnings implements upstream.Sink.
func (s *stream) Warnings(values []string) { s.warnings.Store(&values) }

var none iter.Seq[*store.Object] = func(func(*store.Object) bool) {}

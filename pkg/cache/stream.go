package cache

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/watch"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// maxObject bounds one object, in bytes: etcd takes 1.5 MiB of protobuf, which JSON
// can make several times as large.
const maxObject = 16 << 20

// stream is the state of a resource in one encoding, as upstream.Stream feeds it.
type stream struct {
	kind     *wire.Kind
	encoding wire.Encoding
	// compressAbove is the size of bodies that are kept compressed, in bytes.
	compressAbove int
	hub           *watch.Hub
	asker         *asker
	probe         *together[uint64]
	fence         *together[uint64]
	outlines      outlines
	proofs        proofs
	lift          lift
	relaxed       relaxed
	learned       *learned
	clock         clock.WithTicker
	// restart has everything read anew.
	restart func(why error)

	// ready tells that the hub has a state that may be served.
	ready atomic.Bool
	// disconnected is since when changes are not followed, in Unix nanoseconds; 0
	// while they are.
	disconnected atomic.Int64
	// shown is the highest resource version of lists that were answered ahead of the
	// state.
	shown atomic.Uint64
	// highest is the highest resource version there was: one below it is another
	// history.
	highest uint64
	// bookmark is what a bookmark of this kind looks like.
	bookmark atomic.Pointer[wire.BookmarkTemplate]
	warnings atomic.Pointer[[]string]

	// pending are the objects of a whole that is being read, and pendingSize how much
	// memory they take. What does not fit is dropped at once, and refused at the end.
	pending     []*store.Object
	pendingSize int64
	tooLarge    error
	// memory is what the state takes of the budget.
	memory share
}

func newStream(r *Resource, keep *settings, encoding wire.Encoding, ask *asker, clock clock.WithTicker) *stream {
	s := &stream{
		kind: &r.Kind, encoding: encoding, compressAbove: keep.compressAbove, clock: clock, asker: ask,
		hub: watch.NewHub(watch.NewFormats(&r.Kind, encoding), keep.history, keep.indexes(r)...),
	}
	s.probe = &together[uint64]{ask: ask.probe, clock: clock, pace: probePace}
	s.fence = &together[uint64]{ask: s.raiseFence, clock: clock, pace: probePace}
	s.learned = newLearned(s.hub)
	s.disconnected.Store(clock.Now().UnixNano())
	return s
}

func (s *stream) object(body []byte, meta *wire.Meta) *store.Object {
	return store.NewObject(*meta, wire.NewBody(body, s.compressAbove), s.hub.Formats().Of(watch.Whole).ItemSize(len(body)))
}

// Begin implements upstream.Sink.
func (s *stream) Begin() { s.pending, s.pendingSize, s.tooLarge = nil, 0, nil }

// Add implements upstream.Sink.
func (s *stream) Add(body []byte, meta *wire.Meta) {
	if s.tooLarge != nil {
		return
	}
	o := s.object(body, meta)
	s.pending = append(s.pending, o)
	s.pendingSize += o.Memory()
	if s.tooLarge = s.makeRoom(); s.tooLarge != nil {
		s.pending, s.pendingSize = nil, 0
		// Nobody else is to do without what is not taken after all.
		_ = s.memory.resize(s.held())
	}
}

// makeRoom takes from the budget what is being read, and for as long as it is not
// complete what there was before, with its history. If that is too much, what there was
// before goes first: half of the budget would be for nothing else.
func (s *stream) makeRoom() error {
	err := s.memory.resize(s.held() + s.pendingSize)
	if err != nil && s.held() > 0 {
		s.ready.Store(false)
		s.hub.Reset(0, none)
		err = s.memory.resize(s.pendingSize)
	}
	return err
}

// held is how much memory the state takes with its history, in bytes.
func (s *stream) held() int64 { return s.hub.Snapshot().Sum("", "").Memory + s.hub.Past() }

// Complete implements upstream.Sink.
func (s *stream) Complete(rv uint64) error {
	if s.tooLarge != nil {
		return s.tooLarge
	}
	if highest := max(s.highest, s.hub.Snapshot().ResourceVersion()); rv < highest {
		return fmt.Errorf("a whole at resource version %d after %d: upstream's history is another one", rv, highest)
	}
	s.highest = rv
	s.hub.Reset(rv, slices.Values(s.pending))
	s.pending = nil
	s.ready.Store(true)
	return s.weigh()
}

// Apply implements upstream.Sink.
func (s *stream) Apply(t wire.EventType, body []byte, meta *wire.Meta) error {
	s.highest = max(s.highest, meta.ResourceVersion)
	if err := s.hub.Apply(t, s.object(body, meta)); err != nil {
		return err
	}
	return s.weigh()
}

// weigh takes from the budget what the state needs, and its history, without which it
// is better than nothing.
func (s *stream) weigh() error {
	err := s.memory.resize(s.held())
	if err != nil && s.hub.Past() > 0 {
		s.hub.Trim(0)
		err = s.memory.resize(s.held())
	}
	return err
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
	err := s.hub.Progress(rv)
	if errors.Is(err, store.ErrBackwards) {
		// A fence, at an apiserver that is ahead of the stream's, has shown more.
		return nil
	}
	return err
}

// show remembers that a list was answered at a resource version that the state has
// not reached.
func (s *stream) show(rv uint64) {
	for {
		shown := s.shown.Load()
		if shown >= rv || s.shown.CompareAndSwap(shown, rv) {
			return
		}
	}
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
	s.proofs.newest.Store(nil)
	s.shown.Store(0)
	s.highest = 0
	s.pending, s.pendingSize, s.tooLarge = nil, 0, nil
	s.hub.Reset(0, none)
	// Nothing fits in any budget.
	_ = s.memory.resize(0)
}

// Warnings implements upstream.Sink.
func (s *stream) Warnings(values []string) { s.warnings.Store(&values) }

var none iter.Seq[*store.Object] = func(func(*store.Object) bool) {}

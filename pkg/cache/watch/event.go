package watch

import (
	"sync/atomic"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// Event is a change of one object, shared by all who watch it. It is immutable but
// for the frames, which are made when they are first needed.
type Event struct {
	Type wire.EventType
	// ResourceVersion is that of the change.
	ResourceVersion uint64
	// Object is the object after the change; of one that was deleted as it was last,
	// with the resource version of its deletion.
	Object *store.Object
	// Previous is the object before; nil if it was not there.
	Previous *store.Object

	// frames by View and type.
	frames [viewCount][3]atomic.Pointer[[]byte]
	// old tells that frames are not kept any more: few will ask for them.
	old atomic.Bool

	// sequence counts the events of a hub.
	sequence uint64
	// past is how much memory the event keeps that the state does not need, in bytes.
	past int64
}

// View is how much of an object is shown.
type View uint8

const (
	// Whole objects, as they are.
	Whole View = iota
	// Metadata is PartialObjectMetadata.
	Metadata
	viewCount
)

// Frame returns the bytes of the event as one of the type, which is not always
// its own: to a watcher with a selector, an object that no longer matches is
// deleted (see Seen).
func (e *Event) Frame(f *Formats, view View, as wire.EventType) ([]byte, error) {
	slot := &e.frames[view][as]
	if frame := slot.Load(); frame != nil {
		return *frame, nil
	}
	frame, err := f.frame(e, view, as)
	if err != nil {
		return nil, err
	}
	if !e.old.Load() {
		slot.CompareAndSwap(nil, &frame)
		if e.old.Load() {
			e.forget()
		}
	}
	return frame, nil
}

// forget drops the frames; who still asks makes them anew.
func (e *Event) forget() {
	e.old.Store(true)
	for view := range e.frames {
		for as := range e.frames[view] {
			e.frames[view][as].Store(nil)
		}
	}
}

// Seen tells what the event is to somebody who sees only what matches: false if
// nothing. The rules are kube-apiserver's (cacher's convertToWatchEvent).
func (e *Event) Seen(matches func(*store.Object) bool) (as wire.EventType, seen bool) {
	now := e.Type != wire.Deleted && matches(e.Object)
	before := e.Previous != nil && matches(e.Previous)
	switch {
	case now && before:
		return wire.Modified, true
	case now:
		return wire.Added, true
	case before:
		return wire.Deleted, true
	}
	return 0, false
}

// Formats is how a hub's events are written.
type Formats struct {
	whole    *wire.Format
	metadata *wire.Format // nil where it cannot be spliced
}

// NewFormats returns the formats of a kind in an encoding.
func NewFormats(kind *wire.Kind, encoding wire.Encoding) *Formats {
	f := &Formats{whole: wire.NewFormat(kind, encoding)}
	if metadata, ok := wire.NewMetadataFormat(kind, encoding); ok {
		f.metadata = metadata
	}
	return f
}

// Of returns the format of a view; nil where it cannot be had.
func (f *Formats) Of(view View) *wire.Format {
	if view == Metadata {
		return f.metadata
	}
	return f.whole
}

func (f *Formats) frame(e *Event, view View, as wire.EventType) ([]byte, error) {
	o := e.Object
	if as == wire.Deleted && e.Type != wire.Deleted {
		// It has left what the watcher sees: the content from before, at the time of
		// the change.
		o = e.Previous
	}
	format := f.Of(view)
	body := o.Body.AppendTo(make([]byte, 0, o.Body.Size()))
	body = body[:format.Part(&o.Meta, len(body))]
	if o == e.Previous {
		var err error
		if body, err = format.WithResourceVersion(body, formatRV(e.ResourceVersion)); err != nil {
			return nil, err
		}
	}
	frame := make([]byte, 0, len(body)+frameOverhead)
	frame = format.AppendEventHead(frame, as, len(body))
	frame = append(frame, body...)
	return format.AppendEventTail(frame), nil
}

// frameOverhead is more than stands around the body of any event, in bytes.
const frameOverhead = 256

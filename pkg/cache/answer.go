package cache

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/watch"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Answer is an answer with status 200. It is written once.
type Answer struct {
	stream    *stream
	form      form
	selection *selection.Selection
	point     point
	query     *query
	encoding  wire.ContentEncoding
	// client is who asks.
	client *request.Attributes

	// outage tells that changes are not followed at the moment.
	outage bool
	// outlined tells that upstream has told what is in the list.
	outlined bool

	// Header is what belongs to it: Content-Type and the like.
	Header http.Header
	write  func(ctx context.Context, w io.Writer, flush func() error) error
}

// WriteTo writes the body. Flush sends what was written on its way. Errors are
// those of w and flush; a watch ends without one, between two events, whatever ends
// it.
func (a *Answer) WriteTo(ctx context.Context, w io.Writer, flush func() error) error {
	return a.write(ctx, w, flush)
}

// gzipAbove is the size above which kube-apiserver compresses lists and objects,
// in bytes (k8s.io/apiserver pkg/endpoints/handlers/responsewriters).
const gzipAbove = 128 << 10

// SnappyFramed is the name of framed snappy in Accept-Encoding and
// Content-Encoding.
const SnappyFramed = "x-snappy-framed"

// contentEncoding returns the one that a client takes, as kube-apiserver reads the
// header: gzip must stand there by itself.
func contentEncoding(h http.Header) wire.ContentEncoding {
	accepts := h.Get("Accept-Encoding")
	if accepts == "" {
		return wire.Identity
	}
	found := wire.Identity
	for token := range strings.SplitSeq(accepts, ",") {
		switch strings.TrimSpace(token) {
		case SnappyFramed:
			return wire.Snappy
		case "gzip":
			found = wire.Gzip
		}
	}
	return found
}

func (a *Answer) format() *wire.Format { return a.stream.hub.Formats().Of(a.form.view) }

// prepare gets the state that the answer is made of, and finds out whether it can
// be made.
func (a *Answer) prepare(ctx context.Context, verb string, now time.Time) (*Answer, Reason) {
	a.Header = http.Header{"Content-Type": {a.format().ContentType(verb == "watch")}}
	if warnings := a.stream.warnings.Load(); warnings != nil && len(*warnings) > 0 {
		a.Header["Warning"] = *warnings
	}
	if warning := a.stream.outage(now); warning != "" {
		a.outage = true
		a.Header["Warning"] = append(slices.Clip(a.Header["Warning"]), warning)
	}
	if p := &a.point; p.kind == newest && verb != "get" && p.limit == 0 && a.selection.Everything() {
		p.need.bytes = a.stream.hub.Snapshot().Sum(a.selection.Prefix(), "").ItemSize
	}
	if verb == "watch" {
		return a.prepareWatch(ctx, now)
	}
	snapshot, reason := a.stream.state(ctx, a.point)
	switch {
	case verb == "list" && (reason == Strict || reason == Future && a.query.token != ""):
		return a.prepareOutlined(ctx, reason)
	case reason != Hit:
		return nil, reason
	case verb == "get":
		return a.prepareGet(snapshot)
	}
	a.prepareList(snapshot)
	return a, Hit
}

// compress chooses the content encoding for a body of that many bytes.
func (a *Answer) compress(size int64) {
	switch {
	case a.encoding == wire.Gzip && size > gzipAbove:
		a.Header["Content-Encoding"] = []string{"gzip"}
		a.Header["Vary"] = []string{"Accept-Encoding"}
	case a.encoding == wire.Snappy && size > gzipAbove:
		a.Header["Content-Encoding"] = []string{SnappyFramed}
		a.Header["Vary"] = []string{"Accept-Encoding"}
	default:
		a.encoding = wire.Identity
	}
}

func (a *Answer) prepareGet(snapshot *store.Snapshot) (*Answer, Reason) {
	key := a.selection.Name()
	if a.selection.Namespace() != "" {
		key = store.Key(a.selection.Namespace(), key)
	}
	o := snapshot.Get(key)
	if o == nil {
		return nil, Missing
	}
	f := a.format()
	size := f.Part(&o.Meta, o.Body.Size())
	a.compress(int64(size))
	head, tail := f.AppendObjectHead(nil, size), f.AppendObjectTail(nil)
	if a.encoding == wire.Identity {
		a.Header["Content-Length"] = []string{strconv.Itoa(len(head) + size + len(tail))}
	}
	a.write = func(_ context.Context, w io.Writer, _ func() error) error {
		out := wire.NewWriter(w, a.encoding)
		out.Literal(head)
		part(out, o, size)
		out.Literal(tail)
		return out.Close()
	}
	return a, Hit
}

func part(out *wire.Writer, o *store.Object, size int) {
	if size == o.Body.Size() {
		out.Body(o.Body)
	} else {
		out.BodyPart(o.Body, size)
	}
}

// page is what a list shows.
type page struct {
	meta wire.ListMeta
	// size is the sum of the items' sizes in the list, in bytes.
	size int64
	// objects are the items; nil where they are visited in the snapshot.
	objects []*store.Object
	visit   func(func(*store.Object) bool)
}

func (a *Answer) prepareList(snapshot *store.Snapshot) {
	a.stream.learned.note(a.selection, snapshot)
	a.preparePage(a.page(snapshot))
}

func (a *Answer) preparePage(p *page) {
	f := a.format()
	a.compress(p.size)
	a.write = func(_ context.Context, w io.Writer, _ func() error) error {
		out := wire.NewWriter(w, a.encoding)
		out.Literal(f.AppendListHead(nil, &p.meta, p.size))
		empty := a.writeItems(out, p)
		out.Literal(f.AppendListTail(nil, &p.meta, empty))
		return out.Close()
	}
}

// writeItems writes a list's items, and tells whether there are none.
func (a *Answer) writeItems(out *wire.Writer, p *page) (empty bool) {
	f := a.format()
	empty = true
	if a.selection.Everything() && a.form.view == watch.Whole {
		runs := wire.NewRuns(out, f)
		namespace := ""
		p.visit(func(o *store.Object) bool {
			runs.Item(o.Body, !empty && o.Namespace != namespace)
			empty, namespace = false, o.Namespace
			return out.Err() == nil
		})
		runs.Close()
		return empty
	}
	var buffer [64]byte
	p.visit(func(o *store.Object) bool {
		size := f.Part(&o.Meta, o.Body.Size())
		out.Literal(f.AppendItemHead(buffer[:0], empty, size))
		part(out, o, size)
		empty = false
		return out.Err() == nil
	})
	return empty
}

func (a *Answer) page(snapshot *store.Snapshot) *page {
	rv := snapshot.ResourceVersion()
	if a.point.kind == exactly {
		rv = a.point.rv
	}
	p := &page{meta: wire.ListMeta{ResourceVersion: strconv.FormatUint(rv, 10)}}
	prefix := a.selection.Prefix()
	if a.selection.Everything() && a.point.limit == 0 && a.form.view == watch.Whole {
		p.size = snapshot.Sum(prefix, a.point.from).ItemSize
		p.visit = func(visit func(*store.Object) bool) { snapshot.Range(prefix, a.point.from, visit) }
		return p
	}
	f := a.format()
	more := false
	a.selection.Range(snapshot, a.point.from, func(o *store.Object) bool {
		if a.point.limit > 0 && int64(len(p.objects)) == a.point.limit {
			more = true
			return false
		}
		p.objects = append(p.objects, o)
		p.size += int64(f.ItemSize(f.Part(&o.Meta, o.Body.Size())))
		return true
	})
	if more {
		last := p.objects[len(p.objects)-1].Key
		p.meta.Continue = nextPage(rv, last, prefix)
		if a.selection.Everything() {
			remaining := int64(snapshot.Sum(prefix, last+"\x00").Objects)
			p.meta.Remaining = &remaining
		}
	}
	p.visit = p.visitObjects
	return p
}

func (p *page) visitObjects(visit func(*store.Object) bool) {
	for _, o := range p.objects {
		if !visit(o) {
			return
		}
	}
}

const (
	// minWatch is how long a watch lasts at least if its client does not say; up to
	// twice of it (kube-apiserver's --min-request-timeout).
	minWatch = 30 * time.Minute
)

func (a *Answer) prepareWatch(ctx context.Context, now time.Time) (*Answer, Reason) {
	s := a.stream
	if a.query.bookmarks && s.bookmark.Load() == nil {
		return nil, Loading
	}
	least, reason := s.await(ctx, a.point)
	if reason != Hit {
		return nil, reason
	}
	if a.query.initialEvents != nil && a.query.bookmarks {
		// Of watches, kube-apiserver compresses those that stand for a list.
		a.compress(math.MaxInt64)
	} else {
		a.encoding = wire.Identity
	}
	last := a.query.timeout
	if last == 0 {
		last = minWatch + rand.N(minWatch)
	}
	options := watch.Options{Selection: a.selection, Bookmarks: a.query.bookmarks, Deadline: now.Add(last)}
	var watcher *watch.Watcher
	var snapshot *store.Snapshot
	if a.point.kind == after {
		var err error
		if watcher, err = s.hub.WatchFrom(a.point.rv, options, now); err != nil {
			return nil, Expired
		}
	} else {
		if watcher, snapshot = s.hub.WatchNow(options, now); snapshot.ResourceVersion() < least {
			// It was dropped meanwhile.
			watcher.Stop()
			return nil, Loading
		}
		s.learned.note(a.selection, snapshot)
	}
	a.write = func(ctx context.Context, w io.Writer, flush func() error) error {
		defer watcher.Stop()
		// The client is to know that the watch has begun.
		if err := flush(); err != nil {
			return err
		}
		out := wire.NewWriter(w, a.encoding)
		if snapshot != nil {
			a.writeInitial(out, snapshot)
			// It is not to be held for as long as the watch lasts.
			snapshot = nil
			if err := flushed(out, flush); err != nil {
				return err
			}
		}
		if err := a.writeChanges(ctx, watcher, out, flush); err != nil {
			return err
		}
		return out.Close()
	}
	return a, Hit
}

func flushed(out *wire.Writer, flush func() error) error {
	if err := out.Flush(); err != nil {
		return err
	}
	return flush()
}

// writeInitial writes the state, an event for each object, and the bookmark behind.
func (a *Answer) writeInitial(out *wire.Writer, snapshot *store.Snapshot) {
	f := a.format()
	var buffer [256]byte
	a.selection.Range(snapshot, "", func(o *store.Object) bool {
		size := f.Part(&o.Meta, o.Body.Size())
		out.Literal(f.AppendEventHead(buffer[:0], wire.Added, size))
		part(out, o, size)
		out.Literal(f.AppendEventTail(buffer[:0]))
		return out.Err() == nil
	})
	if a.query.bookmarks {
		rv := strconv.FormatUint(snapshot.ResourceVersion(), 10)
		out.Literal(a.stream.bookmark.Load().AppendEvent(nil, f, rv, true))
	}
}

// writeChanges writes events until the watch ends.
func (a *Answer) writeChanges(ctx context.Context, watcher *watch.Watcher, out *wire.Writer, flush func() error) error {
	f := a.stream.hub.Formats()
	for {
		items, err := watcher.Next(ctx)
		if err != nil {
			return nil
		}
		for _, item := range items {
			var frame []byte
			if item.Event == nil {
				frame = a.stream.bookmark.Load().AppendEvent(nil, a.format(), strconv.FormatUint(item.ResourceVersion, 10), false)
			} else if frame, err = item.Event.Frame(f, a.form.view, item.As); err != nil {
				return err
			}
			out.Literal(frame)
		}
		if err := flushed(out, flush); err != nil {
			return err
		}
	}
}

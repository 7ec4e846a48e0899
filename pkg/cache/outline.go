package cache

import (
	"context"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// outlineAbove is the size of a list above which it is worth an outline, in bytes:
	// what is smaller an apiserver encodes in less than half a millisecond.
	outlineAbove = 32 << 10
	// outlineTimeout bounds the wait for one; who waits is forwarded then.
	outlineTimeout = 2 * time.Second
	// outlineAccept asks for metadata alone. There it is protobuf for custom
	// resources, too.
	outlineAccept = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)

// outlineKind is what the objects of an outline are.
var outlineKind = of("meta.k8s.io", "v1", "PartialObjectMetadata")

// outline is what upstream has told of a list besides the objects themselves: which
// they are, and at what resource versions. An object is the same wherever its UID
// and resource version are, so a state that has them all has the list, although it
// is not known to have everything else: the resource is quiet, and where others are
// written no probe can show that it is. An apiserver takes about 90 us to encode an
// object of 8 KB, and a fifth of that to name it.
type outline struct {
	rv   uint64
	meta wire.ListMeta
	// objects are in the order of the list, newest is the highest of their versions.
	objects []outlined
	newest  uint64
}

type outlined struct {
	key, uid string
	rv       uint64
}

// outlines asks for the outlines of lists, for all who want the same one.
type outlines struct {
	mu     sync.Mutex
	asking map[outlineKey]*sharedOutline

	// misses are the outlines in a row that were of no use; asked counts lists while
	// they are given up.
	misses atomic.Int32
	asked  atomic.Uint32
}

// hopeful tells whether to ask for one: after a few that were of no use, as with
// probes, one list in many finds out when they are again.
func (o *outlines) hopeful() bool {
	return o.misses.Load() < despair || o.asked.Add(1)%sample == 0
}

// outlineKey is what an outline is of: a collection and a query; and for which
// clients, who are served alike.
type outlineKey struct {
	path, query string
	class       string
	priority    v1alpha1.Priority
}

type sharedOutline struct {
	together[*outline]
	members int
}

// outline returns one that was asked for after the call, on behalf of a client.
func (s *stream) outline(ctx context.Context, key outlineKey, client *request.Attributes) (told[*outline], error) {
	all := &s.outlines
	all.mu.Lock()
	shared := all.asking[key]
	if shared == nil {
		shared = &sharedOutline{}
		shared.ask = func() (*outline, error) { return s.asker.outline(key, client) }
		shared.clock = s.clock
		if all.asking == nil {
			all.asking = map[outlineKey]*sharedOutline{}
		}
		all.asking[key] = shared
	}
	shared.members++
	all.mu.Unlock()
	defer func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		if shared.members--; shared.members == 0 {
			delete(all.asking, key)
		}
	}()
	return shared.now(ctx, false)
}

// outline asks upstream for one, as the client's own list would be: it costs an
// apiserver nearly as much, which the limits of its group are for.
func (a *asker) outline(key outlineKey, client *request.Attributes) (*outline, error) {
	ctx, cancel := context.WithTimeout(request.OnBehalf(context.Background(), client), outlineTimeout)
	defer cancel()
	body, err := a.get(ctx, outlineAccept, key.path, key.query)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	o := &outline{}
	o.meta, err = wire.ReadList(body, &outlineKind, wire.Protobuf, maxObject, func(_ []byte, meta *wire.Meta) error {
		name := meta.Name
		if meta.Namespace != "" {
			name = store.Key(meta.Namespace, name)
		}
		o.objects = append(o.objects, outlined{name, meta.UID, meta.ResourceVersion})
		o.newest = max(o.newest, meta.ResourceVersion)
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.rv, err = strconv.ParseUint(o.meta.ResourceVersion, 10, 64)
	return o, err
}

// of finds the objects in a state; false if they are not all there as they were.
func (o *outline) of(snapshot *store.Snapshot) (objects []*store.Object, ok bool) {
	objects = make([]*store.Object, len(o.objects))
	for i, want := range o.objects {
		found := snapshot.Get(want.key)
		if found == nil || found.ResourceVersion != want.rv || found.UID != want.uid {
			return nil, false
		}
		objects[i] = found
	}
	return objects, true
}

// prepareOutlined answers a list of the newest state where the state cannot be
// proved to be that, and a further page of a list that began ahead of the state:
// upstream tells what is in the list, the state has it. If not, why is the reason.
func (a *Answer) prepareOutlined(ctx context.Context, why Reason) (*Answer, Reason) {
	s := a.stream
	// However that ends, an index would have helped.
	s.learned.note(a.selection, s.hub.Snapshot())
	if s.disconnected.Load() != 0 || !a.worthOutline() || !s.outlines.hopeful() {
		return nil, why
	}
	if !a.outlineIn(ctx) {
		if ctx.Err() == nil {
			s.outlines.misses.Add(1)
		}
		return nil, why
	}
	s.outlines.misses.Store(0)
	return a, Hit
}

// outlineIn gets the outline, and prepares the answer if the state has it all.
func (a *Answer) outlineIn(ctx context.Context) bool {
	s := a.stream
	ctx, cancel := context.WithTimeout(ctx, outlineTimeout)
	defer cancel()
	before := s.hub.Snapshot().ResourceVersion()
	asked, err := s.outline(ctx, a.outlineKey(), a.client)
	if err != nil {
		return false
	}
	o, now := asked.value, a.point.kind == newest
	if now && o.rv < before {
		s.restart(restored(o.rv, before))
		return false
	}
	if !s.reach(ctx, o.newest, patience) {
		return false
	}
	snapshot := s.hub.Snapshot()
	if now && snapshot.ResourceVersion() >= o.rv {
		s.proofs.noteOther(asked.at, o.rv)
		a.preparePage(a.page(snapshot))
		return true
	}
	objects, ok := o.of(snapshot)
	if !ok {
		return false
	}
	a.outlined = true
	s.show(o.rv)
	p := &page{meta: o.meta, objects: objects}
	p.visit = p.visitObjects
	f := a.format()
	for _, object := range objects {
		p.size += int64(f.ItemSize(f.Part(&object.Meta, object.Body.Size())))
	}
	a.preparePage(p)
	return true
}

// worthOutline tells whether the list is large, by what is known of it.
func (a *Answer) worthOutline() bool {
	size := 0
	a.selection.Range(a.stream.hub.Snapshot(), a.point.from, func(o *store.Object) bool {
		size += o.Body.Size()
		return size <= outlineAbove
	})
	return size > outlineAbove
}

// outlineKey is what upstream is asked for, in the one spelling of it.
func (a *Answer) outlineKey() outlineKey {
	query := url.Values{}
	for name, value := range map[string]string{"labelSelector": a.query.labelSelector, "fieldSelector": a.query.fieldSelector, "continue": a.query.token} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if a.point.limit > 0 {
		query.Set("limit", strconv.FormatInt(a.point.limit, 10))
	}
	return outlineKey{a.stream.asker.resource.path(a.selection.Namespace(), ""), query.Encode(), a.client.Class, a.client.Priority}
}

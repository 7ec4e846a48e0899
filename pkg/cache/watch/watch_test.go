package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

var pods = &wire.Kind{Version: "v1", Kind: "Pod", ListKind: "PodList", Fields: []wire.Field{
	{Name: "spec.nodeName", Path: []string{"spec", "nodeName"}, Numbers: []int32{2, 10}},
}}

// now is when everything happens unless a test moves on.
var now = time.Unix(1_000_000, 0)

func newHub(history int) *Hub {
	return NewHub(NewFormats(pods, wire.JSON), history, store.NameIndex(), store.FieldIndex(0))
}

// pod is a pod on a node, with labels as "key=value".
func pod(namespace, name string, rv uint64, node string, labels ...string) *store.Object {
	body := fmt.Sprintf(`"metadata":{"name":%q,"namespace":%q,"resourceVersion":"%d"},"spec":{"nodeName":%q}}`, name, namespace, rv, node)
	meta := wire.Meta{Namespace: namespace, Name: name, ResourceVersion: rv, Fields: []string{node}}
	meta.MetadataEnd = strings.Index(body, `,"spec"`)
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		meta.Labels = append(meta.Labels, wire.Label{Key: key, Value: value})
	}
	return store.NewObject(meta, wire.NewBody([]byte(body), -1), len(body))
}

func selected(t testing.TB, namespace, labels, fields string) *selection.Selection {
	t.Helper()
	s, err := selection.Parse(pods, true, namespace, "", labels, fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain returns what is there for a watcher, as text, and how it has ended.
func drain(w *Watcher) (seen []string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		items, err := w.Next(ctx)
		for _, item := range items {
			if item.Event == nil {
				seen = append(seen, fmt.Sprintf("BOOKMARK %d", item.ResourceVersion))
				continue
			}
			o := item.Event.Object
			seen = append(seen, fmt.Sprintf("%s %s %d", item.As, o.Key, item.Event.ResourceVersion))
		}
		if err != nil {
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			return seen, err
		}
	}
}

func apply(t testing.TB, h *Hub, what wire.EventType, o *store.Object) {
	t.Helper()
	if err := h.Apply(what, o); err != nil {
		t.Fatal(err)
	}
}

// TestEveryChangeIsSeenOnceInOrder compares what watchers with all kinds of
// selectors get with what looking at every change would give them, whether they
// were there from the beginning or came later and were served from the history.
func TestEveryChangeIsSeenOnceInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	selectors := []struct{ namespace, labels, fields string }{
		{}, {namespace: "a"}, {namespace: "a-b"}, {fields: "spec.nodeName=n1"}, {fields: "spec.nodeName!=n1"}, {fields: "metadata.name=p1"},
		{namespace: "a", fields: "metadata.name=p1"}, {labels: "app=x"}, {labels: "app in (x,y)"}, {labels: "app notin (x)"}, {labels: "!app"}, {labels: "app"},
		{namespace: "a", labels: "app=y", fields: "spec.nodeName=n2"}, {fields: "spec.nodeName=,metadata.namespace=a"}, {labels: "app=x,tier=1"},
	}
	for round := range 50 {
		h := newHub(64)
		h.Reset(10, slices.Values([]*store.Object{pod("a", "p0", 5, "n1", "app=x")}))
		type watching struct {
			name     string
			s        *selection.Selection
			w        *Watcher
			expected []string
		}
		var all []*watching
		watch := func(from uint64, missed []*Event) {
			for _, q := range selectors {
				s := selected(t, q.namespace, q.labels, q.fields)
				w, err := h.WatchFrom(from, Options{Selection: s}, now)
				if err != nil {
					t.Fatal(err)
				}
				x := &watching{name: fmt.Sprintf("%+v from %d", q, from), s: s, w: w}
				for _, e := range missed {
					if as, seen := e.Seen(s.Matches); seen {
						x.expected = append(x.expected, fmt.Sprintf("%s %s %d", as, e.Object.Key, e.ResourceVersion))
					}
				}
				all = append(all, x)
			}
		}
		watch(10, nil)
		current := map[string]*store.Object{"a/p0": h.Snapshot().Get("a/p0")}
		var events []*Event
		for rv := uint64(11); rv < 70; rv++ {
			namespace, name := []string{"a", "a-b", "b"}[random.IntN(3)], fmt.Sprintf("p%d", random.IntN(3))
			var labels []string
			for _, label := range []string{"app=x", "app=y", "app=z"} {
				if random.IntN(4) == 0 && len(labels) == 0 {
					labels = append(labels, label)
				}
			}
			if random.IntN(2) == 0 {
				labels = append(labels, "tier=1")
			}
			o := pod(namespace, name, rv, []string{"", "n1", "n2"}[random.IntN(3)], labels...)
			what := wire.Modified
			switch {
			case current[o.Key] == nil:
				what = wire.Added
			case random.IntN(4) == 0:
				what = wire.Deleted
			}
			e := &Event{Type: what, ResourceVersion: rv, Object: o, Previous: current[o.Key]}
			if current[o.Key] = o; what == wire.Deleted {
				delete(current, o.Key)
			}
			events = append(events, e)
			for _, x := range all {
				if as, seen := e.Seen(x.s.Matches); seen {
					x.expected = append(x.expected, fmt.Sprintf("%s %s %d", as, o.Key, rv))
				}
			}
			apply(t, h, what, o)
			if random.IntN(20) == 0 {
				i := random.IntN(len(events))
				watch(events[i].ResourceVersion, events[i+1:])
			}
		}
		for _, x := range all {
			got, err := drain(x.w)
			if err != nil || !slices.Equal(got, x.expected) {
				t.Fatalf("round %d: %s: %v\ngot  %v\nwant %v", round, x.name, err, got, x.expected)
			}
			x.w.Stop()
		}
		if n := h.Watchers(); n != 0 || len(h.watchers.listed) != 0 {
			t.Fatalf("%d watchers, listed by %d keys, after all have stopped", n, len(h.watchers.listed))
		}
	}
}

func TestAFrameIsWhatUpstreamSends(t *testing.T) {
	h := newHub(8)
	h.Reset(1, slices.Values([]*store.Object{pod("a", "p", 1, "n1", "app=x")}))
	all, err := h.WatchFrom(1, Options{Selection: selected(t, "", "", "")}, now)
	if err != nil {
		t.Fatal(err)
	}
	ofApp, err := h.WatchFrom(1, Options{Selection: selected(t, "", "app=x", "")}, now)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, h, wire.Modified, pod("a", "p", 1000, "n1"))
	frame := func(w *Watcher, view View) string {
		t.Helper()
		items, err := w.Next(t.Context())
		if err != nil || len(items) != 1 {
			t.Fatalf("%d items, %v", len(items), err)
		}
		frame, err := items[0].Event.Frame(h.Formats(), view, items[0].As)
		if err != nil {
			t.Fatal(err)
		}
		again, err := items[0].Event.Frame(h.Formats(), view, items[0].As)
		if err != nil || &again[0] != &frame[0] {
			t.Errorf("the frame was made twice, %v", err)
		}
		return string(frame)
	}
	if got, want := frame(all, Whole), `{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"a","resourceVersion":"1000"},"spec":{"nodeName":"n1"}}}`+"\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	// It has left: the content from before, as of the change.
	if got, want := frame(ofApp, Metadata), `{"type":"DELETED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"p","namespace":"a","resourceVersion":"1000"}}}`+"\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestAWatcherThatDoesNotKeepUpIsEnded(t *testing.T) {
	h := newHub(8)
	h.Reset(1, slices.Values([]*store.Object(nil)))
	slow, err := h.WatchFrom(1, Options{Selection: selected(t, "", "", "")}, now)
	if err != nil {
		t.Fatal(err)
	}
	for rv := uint64(2); rv < maxQueue+10; rv++ {
		apply(t, h, wire.Added, pod("a", fmt.Sprint(rv), rv, ""))
	}
	if seen, err := drain(slow); !errors.Is(err, ErrSlow) || len(seen) > 0 {
		t.Errorf("%d items, error %v", len(seen), err)
	}
	if h.Watchers() != 0 {
		t.Error("it is still listed")
	}
	slow.Stop()
	if h.Watchers() != 0 {
		t.Errorf("%d watchers after one was stopped twice", h.Watchers())
	}
}

func TestHistoryEndsWhereItBegins(t *testing.T) {
	h := newHub(4)
	h.Reset(10, slices.Values([]*store.Object(nil)))
	for rv := uint64(11); rv <= 20; rv++ {
		apply(t, h, wire.Added, pod("a", fmt.Sprint(rv), rv, ""))
	}
	if err := h.Progress(30); err != nil {
		t.Fatal(err)
	}
	everything := Options{Selection: selected(t, "", "", "")}
	for from, want := range map[uint64][]string{
		16: {"ADDED a/17 17", "ADDED a/18 18", "ADDED a/19 19", "ADDED a/20 20"}, 19: {"ADDED a/20 20"}, 20: nil, 25: nil, 30: nil,
	} {
		w, err := h.WatchFrom(from, everything, now)
		if err != nil {
			t.Fatalf("from %d: %v", from, err)
		}
		if got, err := drain(w); err != nil || !slices.Equal(got, want) {
			t.Errorf("from %d: got %v, %v; want %v", from, got, err, want)
		}
	}
	for _, from := range []uint64{0, 10, 15} {
		if _, err := h.WatchFrom(from, everything, now); !errors.Is(err, ErrExpired) {
			t.Errorf("from %d: error %v", from, err)
		}
	}
}

// TestWatcherThatDoesNotReadKeepsNoHistory is about a client that has not read one event:
// of all that happen later nothing is held for it, unless it watches them, too.
func TestWatcherThatDoesNotReadKeepsNoHistory(t *testing.T) {
	h := newHub(4)
	h.Reset(10, slices.Values([]*store.Object(nil)))
	apply(t, h, wire.Added, pod("a", "seen", 11, ""))
	queued, _ := h.WatchNow(Options{Selection: selected(t, "a", "", "")}, now)
	resumed, err := h.WatchFrom(10, Options{Selection: selected(t, "a", "", "")}, now)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, h, wire.Added, pod("a", "queued", 12, ""))
	later := func() weak.Pointer[store.Object] {
		o := pod("b", "later", 13, "")
		apply(t, h, wire.Added, o)
		return weak.Make(o)
	}()
	apply(t, h, wire.Deleted, pod("b", "later", 14, ""))
	for rv := uint64(15); rv < 30; rv++ {
		apply(t, h, wire.Modified, pod("b", "other", rv, ""))
	}
	runtime.GC()
	if later.Value() != nil {
		t.Error("an object is held that is in no state and no history")
	}
	if seen, err := drain(queued); err != nil || !slices.Equal(seen, []string{"ADDED a/queued 12"}) {
		t.Errorf("who has not read sees %q, %v", seen, err)
	}
	if seen, err := drain(resumed); !errors.Is(err, ErrSlow) || len(seen) != 0 {
		t.Errorf("who has not read the history sees %q, %v", seen, err)
	}
	runtime.KeepAlive(h)
}

// TestHistoryIsBoundedInBytes: events and states go together.
func TestHistoryIsBoundedInBytes(t *testing.T) {
	h := newHub(100)
	h.Reset(10, slices.Values([]*store.Object(nil)))
	for rv := uint64(11); rv <= 60; rv++ {
		apply(t, h, wire.Modified, pod("a", "p", rv, strings.Repeat("n", 1000)))
	}
	each := h.Snapshot().Get("a/p").Memory()
	if got, want := h.Past(), 49*each; got != want {
		t.Errorf("the history is said to take %d bytes, want %d", got, want)
	}
	everything := Options{Selection: selected(t, "", "", "")}
	slow, err := h.WatchFrom(10, everything, now)
	if err != nil {
		t.Fatal(err)
	}
	h.Trim(5*each + each/2)
	if got, want := h.Past(), 5*each; got != want {
		t.Errorf("%d bytes are left, want %d", got, want)
	}
	for rv, held := range map[uint64]bool{54: false, 55: true, 60: true} {
		if _, err := h.WatchFrom(rv, everything, now); (err == nil) != held {
			t.Errorf("a watch from %d: %v", rv, err)
		}
		if _, ok := h.At(rv); ok != held {
			t.Errorf("the state at %d is held: %v", rv, ok)
		}
	}
	if seen, err := drain(slow); !errors.Is(err, ErrSlow) || len(seen) != 0 {
		t.Errorf("who was reading sees %q, %v", seen, err)
	}
	h.Trim(0)
	if h.Past() != 0 || h.Snapshot().Get("a/p").ResourceVersion != 60 {
		t.Errorf("%d bytes are left, and the state is at %d", h.Past(), h.Snapshot().ResourceVersion())
	}
	apply(t, h, wire.Deleted, pod("a", "p", 61, ""))
	if w, err := h.WatchFrom(60, everything, now); err != nil {
		t.Error(err)
	} else if seen, err := drain(w); err != nil || !slices.Equal(seen, []string{"DELETED a/p 61"}) {
		t.Errorf("behind the trimmed history: %q, %v", seen, err)
	}
}

// TestNoWatchBeginsInAnotherHistory is about a watch that has seen its resource version
// reached, just before everything was dropped.
func TestNoWatchBeginsInAnotherHistory(t *testing.T) {
	h := newHub(4)
	h.Reset(20, slices.Values([]*store.Object(nil)))
	everything := Options{Selection: selected(t, "", "", "")}
	for _, rv := range []uint64{0, 15} {
		h.Reset(rv, slices.Values([]*store.Object(nil)))
		if _, err := h.WatchFrom(20, everything, now); !errors.Is(err, ErrExpired) {
			t.Errorf("a watch from 20 at a state of %d: error %v", rv, err)
		}
	}
}

// TestWatchFromTheFuture is about the watch behind a list that an apiserver has
// answered, whose resource version is ahead of that of a quiet resource.
func TestWatchFromTheFuture(t *testing.T) {
	h := newHub(4)
	h.random = func() float64 { return 0 }
	h.Reset(10, slices.Values([]*store.Object(nil)))
	w, err := h.WatchFrom(15, Options{Selection: selected(t, "", "", ""), Bookmarks: true, Deadline: now.Add(time.Hour)}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, rv := range []uint64{11, 15} {
		apply(t, h, wire.Added, pod("a", fmt.Sprint(rv), rv, ""))
		// A bookmark that is due takes nobody back.
		h.Tick(now.Add(time.Duration(rv) * time.Minute))
	}
	apply(t, h, wire.Added, pod("a", "16", 16, ""))
	h.Tick(now.Add(20 * time.Minute))
	want := []string{"BOOKMARK 15", "ADDED a/16 16", "BOOKMARK 16"}
	if got, err := drain(w); err != nil || !slices.Equal(got, want) {
		t.Errorf("saw %q, %v; want %q", got, err, want)
	}
}

func TestAGapEndsEveryWatch(t *testing.T) {
	h := newHub(4)
	h.Reset(10, slices.Values([]*store.Object(nil)))
	w, _ := h.WatchNow(Options{Selection: selected(t, "a", "", "")}, now)
	apply(t, h, wire.Added, pod("a", "p", 11, ""))
	h.Reset(20, slices.Values([]*store.Object{pod("a", "q", 15, "")}))
	seen, err := drain(w)
	if !errors.Is(err, ErrGap) || !slices.Equal(seen, []string{"ADDED a/p 11"}) {
		t.Errorf("saw %v, error %v", seen, err)
	}
	if _, err := h.WatchFrom(15, Options{Selection: selected(t, "", "", "")}, now); !errors.Is(err, ErrExpired) {
		t.Errorf("a watch over the gap: %v", err)
	}
}

func TestBookmarksAndDeadlines(t *testing.T) {
	h := newHub(4)
	h.random = func() float64 { return 0 }
	h.Reset(10, slices.Values([]*store.Object(nil)))
	s := selected(t, "", "app in (x,y)", "")
	marked, _ := h.WatchNow(Options{Selection: s, Bookmarks: true, Deadline: now.Add(100 * time.Second)}, now)
	plain, _ := h.WatchNow(Options{Selection: s}, now)
	for second := range 101 {
		if err := h.Progress(uint64(10 + second)); err != nil {
			t.Fatal(err)
		}
		h.Tick(now.Add(time.Duration(second) * time.Second))
	}
	seen, err := drain(marked)
	if !errors.Is(err, ErrDeadline) || !slices.Equal(seen, []string{"BOOKMARK 70", "BOOKMARK 108"}) {
		t.Errorf("saw %v, error %v", seen, err)
	}
	if seen, err := drain(plain); err != nil || len(seen) > 0 {
		t.Errorf("saw %v, error %v", seen, err)
	}
	if h.Watchers() != 1 {
		t.Errorf("%d watchers are left", h.Watchers())
	}
}

func TestReached(t *testing.T) {
	h := newHub(4)
	h.Reset(10, slices.Values([]*store.Object(nil)))
	if h.Reached(10) != nil {
		t.Error("10 is reached")
	}
	event, bookmark, never := h.Reached(11), h.Reached(15), h.Reached(16)
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	apply(t, h, wire.Added, pod("a", "p", 12, ""))
	if !closed(event) || closed(bookmark) {
		t.Error("after 12")
	}
	if err := h.Progress(15); err != nil {
		t.Fatal(err)
	}
	if !closed(bookmark) || closed(never) {
		t.Error("after 15")
	}
	h.Forget(never)
	if len(h.waiting) != 0 {
		t.Errorf("%d still wait", len(h.waiting))
	}
}

// TestOnlyWhoIsInterestedIsAsked counts, for it is what an event costs.
func TestOnlyWhoIsInterestedIsAsked(t *testing.T) {
	h := newHub(4)
	h.Reset(1, slices.Values([]*store.Object{pod("a", "p", 1, "n1")}))
	for i := range 1000 {
		h.WatchNow(Options{Selection: selected(t, "", "", fmt.Sprintf("spec.nodeName=n%d", i))}, now)
		h.WatchNow(Options{Selection: selected(t, fmt.Sprintf("ns%d", i), "", "")}, now)
		h.WatchNow(Options{Selection: selected(t, "", fmt.Sprintf("app=%d", i), "")}, now)
		h.WatchNow(Options{Selection: selected(t, "a", "", fmt.Sprintf("metadata.name=p%d", i))}, now)
	}
	asked := 0
	h.watchers.interested(&Event{Object: pod("a", "p", 2, "n2", "app=7"), Previous: pod("a", "p", 1, "n1")}, func(*Watcher) { asked++ })
	// Those of n1, n2 and app=7.
	if asked != 3 {
		t.Errorf("%d of %d watchers were asked", asked, h.Watchers())
	}
}

func TestEndedHubEndsWhoComesLater(t *testing.T) {
	h := newHub(8)
	h.Reset(10, slices.Values([]*store.Object{pod("a", "p", 9, "n1")}))
	before, _ := h.WatchNow(Options{Selection: selected(t, "", "", "")}, now)
	apply(t, h, wire.Modified, pod("a", "p", 11, "n2"))
	over := errors.New("over")
	h.End(over)
	later, snapshot := h.WatchNow(Options{Selection: selected(t, "", "", "")}, now)
	earlier, err := h.WatchFrom(10, Options{Selection: selected(t, "", "", "")}, now)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, h, wire.Modified, pod("a", "p", 12, "n3"))
	for name, tc := range map[string]struct {
		w    *Watcher
		want int
	}{"from before": {before, 1}, "from the state": {later, 0}, "from the history": {earlier, 1}} {
		if seen, err := drain(tc.w); len(seen) != tc.want || !errors.Is(err, over) {
			t.Errorf("%s: %q, %v", name, seen, err)
		}
		tc.w.Stop()
	}
	if snapshot.ResourceVersion() != 11 || h.Watchers() != 0 {
		t.Errorf("state %d, %d watchers", snapshot.ResourceVersion(), h.Watchers())
	}
}

// BenchmarkApply is what a change costs with watchers each on its own node.
func BenchmarkApply(b *testing.B) {
	for _, watchers := range []int{10, 10000} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			h := newHub(1024)
			var objects []*store.Object
			for i := range 10000 {
				objects = append(objects, pod("a", fmt.Sprintf("p%05d", i), uint64(i+1), fmt.Sprintf("n%d", i)))
			}
			h.Reset(10000, slices.Values(objects))
			var all []*Watcher
			for i := range watchers {
				w, _ := h.WatchNow(Options{Selection: selected(b, "", "", fmt.Sprintf("spec.nodeName=n%d", i))}, now)
				all = append(all, w)
			}
			rv := uint64(10000)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				rv++
				o := pod("a", fmt.Sprintf("p%05d", i%10), rv, fmt.Sprintf("n%d", i%10))
				b.StartTimer()
				apply(b, h, wire.Modified, o)
				if i%100 == 99 {
					b.StopTimer()
					for _, w := range all[:10] {
						_, _ = drain(w)
					}
					b.StartTimer()
				}
			}
		})
	}
}

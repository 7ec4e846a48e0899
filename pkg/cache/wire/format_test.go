package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// kept is an object with what is kept of it.
type kept struct {
	object runtime.Object
	sent   []byte
	body   []byte
	meta   *Meta
}

func keep(t testing.TB, s *sample, e Encoding, o runtime.Object) kept {
	t.Helper()
	k := kept{object: o, sent: encode(t, s, e, o)}
	var err error
	if k.body, k.meta, err = ParseObject(&s.Kind, e, k.sent); err != nil {
		t.Fatalf("%v\n%q", err, k.sent)
	}
	return k
}

// list puts a list together.
func list(f *Format, m *ListMeta, objects []kept) []byte {
	var size int64
	for _, o := range objects {
		size += int64(f.ItemSize(f.Part(o.meta, len(o.body))))
	}
	b := f.AppendListHead(nil, m, size)
	from := len(b)
	for i, o := range objects {
		part := o.body[:f.Part(o.meta, len(o.body))]
		b = append(f.AppendItemHead(b, i == 0, len(part)), part...)
	}
	if f.encoding == Protobuf && int64(len(b)-from) != size {
		panic("ItemSize is wrong")
	}
	return f.AppendListTail(b, m, len(objects) == 0)
}

func object(f *Format, o kept) []byte {
	part := o.body[:f.Part(o.meta, len(o.body))]
	return f.AppendObjectTail(append(f.AppendObjectHead(nil, len(part)), part...))
}

func event(f *Format, kind EventType, o kept) []byte {
	part := o.body[:f.Part(o.meta, len(o.body))]
	return f.AppendEventTail(append(f.AppendEventHead(nil, kind, len(part)), part...))
}

func TestWhatIsSplicedIsWhatApiserversSend(t *testing.T) {
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		f := NewFormat(&s.Kind, e)
		metadata, spliceable := NewMetadataFormat(&s.Kind, e)
		if spliceable == s.Custom {
			t.Fatalf("PartialObjectMetadata of %s: %v", s.Kind.Kind, spliceable)
		}
		for round := range rounds {
			g := newGenerator(int64(round))
			var objects []runtime.Object
			var all []kept
			for range round % 5 {
				o := g.object(t, s)
				objects = append(objects, o)
				k := keep(t, s, e, o)
				all = append(all, k)
				check(t, "object", object(f, k), k.sent)
				for _, kind := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
					of, _ := eventType([]byte(kind))
					check(t, "event", event(f, of, k), frame(t, s, e, kind, k.sent))
				}
				if spliceable {
					sent := encodePartial(t, e, partial(t, o))
					check(t, "partial object", object(metadata, k), sent)
					check(t, "event of partial object", event(metadata, Added, k), frame(t, s, e, watch.Added, sent))
				}
			}
			m := &ListMeta{ResourceVersion: strconv.Itoa(1 + round)}
			if round%2 == 0 {
				m.Continue = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OX0"
			}
			if round%3 == 0 {
				n := int64(round) << (round % 50)
				m.Remaining = &n
			}
			check(t, "list", list(f, m, all), encode(t, s, e, setList(t, s, objects, m)))
			if spliceable {
				check(t, "list of partial objects", list(metadata, m, all), encodePartial(t, e, partialList(t, objects, m)))
			}
		}
	})
}

func TestErrorsOfApiserversAreRead(t *testing.T) {
	status := &metav1.Status{Status: metav1.StatusFailure, Message: "too old resource version: 1 (2) <&>", Reason: metav1.StatusReasonExpired, Code: 410}
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		r := NewEventReader(bytes.NewReader(errorFrame(t, s, e, status)), &s.Kind, e, 1<<20)
		event, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event.Type != Error || event.Status.Code != 410 || event.Status.Message != status.Message {
			t.Fatalf("%+v", event.Status)
		}
	})
}

// errorFrame is what an apiserver sends for an error in a watch.
func errorFrame(t testing.TB, s *sample, e Encoding, status *metav1.Status) []byte {
	t.Helper()
	return frame(t, s, e, watch.Error, encodeWith(t, codecs.EncoderForVersion(info(codecs, e).Serializer, metav1.SchemeGroupVersion), status))
}

// bookmark is the object that an apiserver makes for bookmarks.
func bookmark(t testing.TB, s *sample, version string, end bool) runtime.Object {
	t.Helper()
	o := s.object()
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	m.SetResourceVersion(version)
	if end {
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return o
}

func TestBookmarksAreWhatApiserversSend(t *testing.T) {
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		f := NewFormat(&s.Kind, e)
		metadata, spliceable := NewMetadataFormat(&s.Kind, e)
		for _, learnedFromEnd := range []bool{false, true} {
			sent := frame(t, s, e, watch.Bookmark, encode(t, s, e, bookmark(t, s, "77", learnedFromEnd)))
			learned, err := NewEventReader(bytes.NewReader(sent), &s.Kind, e, 1<<20).Next()
			if err != nil {
				t.Fatal(err)
			}
			if learned.Type != Bookmark || learned.Meta.ResourceVersion != 77 || learned.InitialEventsEnd != learnedFromEnd {
				t.Fatalf("%+v", learned)
			}
			template, err := NewBookmark(&s.Kind, e, learned.Body)
			if err != nil {
				t.Fatal(err)
			}
			for _, version := range []string{"1", "77", "18446744073709551615"} {
				for _, end := range []bool{false, true} {
					o := bookmark(t, s, version, end)
					check(t, "bookmark", template.AppendEvent(nil, f, version, end), frame(t, s, e, watch.Bookmark, encode(t, s, e, o)))
					if spliceable {
						sent := encodePartial(t, e, partial(t, o))
						check(t, "partial bookmark", template.AppendEvent(nil, metadata, version, end), frame(t, s, e, watch.Bookmark, sent))
					}
				}
			}
		}
	})
}

func TestBookmarksOfOlderServersAreLearned(t *testing.T) {
	for _, c := range []struct{ kind, body, want string }{
		{"Pod", `"metadata":{"resourceVersion":"5","creationTimestamp":null},"spec":{"containers":null},"status":{}}`,
			`{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"9","creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}},"spec":{"containers":null},"status":{}}}` + "\n"},
		{"Widget", `"apiVersion":"example.org/v1","kind":"Widget","metadata":{"creationTimestamp":null,"resourceVersion":"5"}}`,
			`{"type":"BOOKMARK","object":{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"annotations":{"k8s.io/initial-events-end":"true"},"creationTimestamp":null,"resourceVersion":"9"}}}` + "\n"},
	} {
		s := pods
		if c.kind == "Widget" {
			s = widgets
		}
		template, err := NewBookmark(&s.Kind, JSON, []byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		check(t, "bookmark", template.AppendEvent(nil, NewFormat(&s.Kind, JSON), "9", true), []byte(c.want))
	}
}

func TestBookmarksWithMoreThanTheirOwnAreRefused(t *testing.T) {
	for _, body := range []string{
		``, `"metadata":{}}`, `"metadata":{"resourceVersion":"5","name":"a"}}`, `"metadata":{"resourceVersion":"5","annotations":{"a":"b"}}}`,
		`"metadata":{"resourceVersion":"5","resourceVersion":"5"}}`, `"metadata":{"resourceVersion":5}}`, `"metadata":{"resourceVersion":"5"}`, `"metadata":{"resourceVersion":"5"}}}`, `"spec":{}}`,
	} {
		if _, err := NewBookmark(&pods.Kind, JSON, []byte(body)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{"", "\x0a\x00", "\x0a\x02\x32\x00\xff", "\x0a\x04\x32\x00\x0a\x00", "\x0a\x06\x32\x00\x62\x02\x0a\x00"} {
		if _, err := NewBookmark(&pods.Kind, Protobuf, []byte(body)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestAnotherResourceVersionIsAsIfItHadBeenEncoded(t *testing.T) {
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		f := NewFormat(&s.Kind, e)
		metadata, spliceable := NewMetadataFormat(&s.Kind, e)
		for round := range rounds {
			g := newGenerator(int64(round))
			k := keep(t, s, e, g.object(t, s))
			version := strconv.FormatUint(1+g.random.Uint64()>>(round%64), 10)
			m, err := meta.Accessor(k.object)
			if err != nil {
				t.Fatal(err)
			}
			m.SetResourceVersion(version)
			want := keep(t, s, e, k.object)
			got, err := f.WithResourceVersion(k.body, version)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "body", got, want.body)
			if !spliceable {
				continue
			}
			for _, body := range [][]byte{k.body, k.body[:k.meta.MetadataEnd]} {
				if got, err = metadata.WithResourceVersion(body, version); err != nil {
					t.Fatal(err)
				}
				check(t, "metadata", got, want.body[:want.meta.MetadataEnd])
			}
		}
	})
}

func TestAnotherResourceVersionMustBeOne(t *testing.T) {
	k := keep(t, pods, JSON, typical(0))
	for _, version := range []string{"", "0", "-1", "01", "+1", "1a", "18446744073709551616"} {
		if _, err := NewFormat(&pods.Kind, JSON).WithResourceVersion(k.body, version); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestFormatsSayTheirContentType(t *testing.T) {
	for _, c := range []struct {
		encoding Encoding
		watch    bool
		want     string
	}{
		{JSON, false, "application/json"}, {JSON, true, "application/json"},
		{Protobuf, false, "application/vnd.kubernetes.protobuf"}, {Protobuf, true, "application/vnd.kubernetes.protobuf;stream=watch"},
	} {
		if got := NewFormat(&pods.Kind, c.encoding).ContentType(c.watch); got != c.want {
			t.Errorf("%v %v: %s", c.encoding, c.watch, got)
		}
	}
}

func TestListsAndWatchesAreReadAsSent(t *testing.T) {
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		for round := range rounds {
			g := newGenerator(int64(round))
			var objects []runtime.Object
			var all []kept
			var stream []byte
			for range round % 5 {
				o := g.object(t, s)
				objects = append(objects, o)
				all = append(all, keep(t, s, e, o))
				stream = append(stream, frame(t, s, e, watch.Modified, all[len(all)-1].sent)...)
			}
			m := ListMeta{ResourceVersion: "12", Continue: "a<b"}
			sent := encode(t, s, e, setList(t, s, objects, &m))
			i := 0
			// One byte at a time shows whether anything depends on how bytes come.
			got, err := ReadList(oneByte{bytes.NewReader(sent)}, &s.Kind, e, 1<<20, func(body []byte, meta *Meta) error {
				check(t, "body", body, all[i].body)
				same(t, meta, all[i].meta, all[i].object, s)
				i++
				return nil
			})
			if err != nil {
				t.Fatalf("%v\n%q", err, sent)
			}
			if i != len(all) || got.ResourceVersion != m.ResourceVersion || got.Continue != m.Continue || got.Remaining != nil {
				t.Fatalf("%d items, %+v", i, got)
			}
			r := NewEventReader(oneByte{bytes.NewReader(stream)}, &s.Kind, e, 1<<20)
			for _, k := range all {
				event, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				if event.Type != Modified {
					t.Fatalf("type %v", event.Type)
				}
				check(t, "body", event.Body, k.body)
				same(t, &event.Meta, k.meta, k.object, s)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Fatal(err)
			}
		}
	})
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(len(b), 1)]) }

// same compares a Meta with another and with the object it was made of.
func same(t *testing.T, got, other *Meta, o runtime.Object, s *sample) {
	t.Helper()
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", other) {
		t.Fatalf("%+v\n%+v", got, other)
	}
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	var owners []string
	for _, owner := range m.GetOwnerReferences() {
		owners = append(owners, string(owner.UID))
	}
	if got.Name != m.GetName() || got.Namespace != m.GetNamespace() || got.UID != string(m.GetUID()) || strconv.FormatUint(got.ResourceVersion, 10) != m.GetResourceVersion() || !slices.Equal(got.Owners, owners) {
		t.Fatalf("%+v of %+v", got, m)
	}
	if len(got.Labels) != len(m.GetLabels()) || !slices.IsSortedFunc(got.Labels, func(a, b Label) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) }) {
		t.Fatalf("labels %q of %q", got.Labels, m.GetLabels())
	}
	for key, value := range m.GetLabels() {
		if got.Labels.Get(key) != value || !got.Labels.Has(key) {
			t.Fatalf("labels %q of %q", got.Labels, m.GetLabels())
		}
	}
	if want := selectable(o); !slices.Equal(got.Fields, want) {
		t.Fatalf("fields %q, not %q", got.Fields, want)
	}
}

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

const fuzzMost = 1 << 16

// seeds are small objects, as they are sent.
func seeds(t testing.TB, s *sample, e Encoding) (objects []runtime.Object, sent [][]byte) {
	for seed := int64(0); len(objects) < 8; seed++ {
		o := newGeneratorOfDepth(seed, 5).object(t, s)
		if b := encode(t, s, e, o); len(b) < 4000 {
			objects, sent = append(objects, o), append(sent, b)
		}
	}
	return objects, sent
}

// metadataOnly is what encoding/json makes of an object.
type metadataOnly struct {
	Metadata struct {
		Name, Namespace, UID, ResourceVersion string
		Labels                                map[string]string
		OwnerReferences                       []struct{ UID *string }
	}
	Spec   json.RawMessage
	Status json.RawMessage
}

// agree compares what was found in a body of JSON with what encoding/json finds.
func agree(t *testing.T, body []byte, meta *Meta) {
	t.Helper()
	object := append([]byte("{"), body...)
	if !json.Valid(object) {
		t.Fatalf("took %q", object)
	}
	// encoding/json takes keys of any case, and values of null as absent like here. Where
	// keys differ in case only, it is not the one to ask.
	if bytes.ContainsRune(body, '\\') || hasFoldedKeys(body) {
		return
	}
	var want metadataOnly
	if err := json.Unmarshal(object, &want); err != nil {
		t.Fatalf("%v: %q", err, object)
	}
	m := want.Metadata
	if meta.Name != m.Name || meta.Namespace != m.Namespace || meta.UID != m.UID || strconv.FormatUint(meta.ResourceVersion, 10) != m.ResourceVersion {
		t.Fatalf("%+v, not %+v: %q", meta, m, object)
	}
	if len(meta.Labels) != len(m.Labels) {
		t.Fatalf("labels %q, not %q", meta.Labels, m.Labels)
	}
	for _, l := range meta.Labels {
		if m.Labels[l.Key] != l.Value {
			t.Fatalf("labels %q, not %q", meta.Labels, m.Labels)
		}
	}
	var owners []string
	for _, owner := range m.OwnerReferences {
		if owner.UID != nil {
			owners = append(owners, *owner.UID)
		}
	}
	if !slices.Equal(meta.Owners, owners) {
		t.Fatalf("owners %q, not %q", meta.Owners, owners)
	}
}

// hasFoldedKeys tells whether a key that is looked at is there in another case.
func hasFoldedKeys(body []byte) bool {
	for _, key := range []string{"metadata", "name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "spec", "status"} {
		lower := bytes.ToLower(body)
		quoted := []byte(`"` + key + `"`)
		if bytes.Count(lower, bytes.ToLower(quoted)) != bytes.Count(body, quoted) {
			return true
		}
	}
	// The Kelvin sign and the long s fold to letters.
	return bytes.ContainsAny(body, "\u212a\u017f")
}

func FuzzEventReaderJSON(f *testing.F) {
	for _, s := range []*sample{pods, widgets} {
		_, sent := seeds(f, s, JSON)
		for _, b := range sent {
			f.Add(frame(f, s, JSON, watch.Added, b), s.Custom)
		}
		f.Add(frame(f, s, JSON, watch.Bookmark, encode(f, s, JSON, bookmark(f, s, "1", true))), s.Custom)
	}
	f.Add(errorFrame(f, pods, JSON, &metav1.Status{Code: 410}), false)
	f.Fuzz(func(t *testing.T, b []byte, custom bool) {
		s := pods
		if custom {
			s = widgets
		}
		r := NewEventReader(bytes.NewReader(b), &s.Kind, JSON, fuzzMost)
		for {
			event, err := r.Next()
			if err != nil {
				expected(t, err)
				return
			}
			switch event.Type {
			case Error:
				continue
			case Bookmark:
				if !json.Valid(append([]byte("{"), event.Body...)) {
					t.Fatalf("took %q", event.Body)
				}
				again(t, s, JSON, event)
				continue
			}
			if !s.Custom {
				agree(t, event.Body, &event.Meta)
			} else if !json.Valid(append([]byte("{"), event.Body...)) {
				t.Fatalf("took %q", event.Body)
			}
			f := NewFormat(&s.Kind, JSON)
			spliced := f.AppendEventTail(append(f.AppendEventHead(nil, event.Type, len(event.Body)), event.Body...))
			if !bytes.Contains(b, spliced) {
				t.Fatalf("spliced %q of %q", spliced, b)
			}
		}
	})
}

// expected are the errors that a reader may return.
func expected(t *testing.T, err error) {
	t.Helper()
	if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, ErrMalformed) && err != ErrTooLarge {
		t.Fatal(err)
	}
}

// again makes a template of a bookmark that was read, if it can be one, and reads what
// that makes.
func again(t *testing.T, s *sample, e Encoding, event *Event) {
	t.Helper()
	template, err := NewBookmark(&s.Kind, e, event.Body)
	if err != nil {
		expected(t, err)
		return
	}
	made := template.AppendEvent(nil, NewFormat(&s.Kind, e), "98765", true)
	read, err := NewEventReader(bytes.NewReader(made), &s.Kind, e, 2*fuzzMost).Next()
	if err != nil {
		t.Fatalf("%v: %q of %q", err, made, event.Body)
	}
	if read.Type != Bookmark || read.Meta.ResourceVersion != 98765 || !read.InitialEventsEnd {
		t.Fatalf("%+v", read)
	}
}

func FuzzEventReaderProtobuf(f *testing.F) {
	_, sent := seeds(f, pods, Protobuf)
	for _, b := range sent {
		f.Add(frame(f, pods, Protobuf, watch.Deleted, b))
	}
	f.Add(frame(f, pods, Protobuf, watch.Bookmark, encode(f, pods, Protobuf, bookmark(f, pods, "1", true))))
	f.Add(errorFrame(f, pods, Protobuf, &metav1.Status{Code: 410}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewEventReader(bytes.NewReader(b), &pods.Kind, Protobuf, fuzzMost)
		for {
			event, err := r.Next()
			if err != nil {
				expected(t, err)
				return
			}
			switch event.Type {
			case Error:
				continue
			case Bookmark:
				again(t, pods, Protobuf, event)
				continue
			}
			// The real decoder knows more types of fields than are looked at here. Where it
			// agrees that it is a pod, it must be the same one.
			var pod corev1.Pod
			if pod.Unmarshal(event.Body) != nil {
				continue
			}
			if event.Meta.Name != pod.Name || event.Meta.Namespace != pod.Namespace || event.Meta.UID != string(pod.UID) || strconv.FormatUint(event.Meta.ResourceVersion, 10) != pod.ResourceVersion || len(event.Meta.Labels) != len(pod.Labels) || len(event.Meta.Owners) != len(pod.OwnerReferences) {
				t.Fatalf("%+v, not %+v", event.Meta, pod.ObjectMeta)
			}
			for _, l := range event.Meta.Labels {
				if pod.Labels[l.Key] != l.Value {
					t.Fatalf("%+v, not %+v", event.Meta, pod.ObjectMeta)
				}
			}
		}
	})
}

func FuzzReadList(f *testing.F) {
	for _, s := range []*sample{pods, widgets} {
		for _, e := range []Encoding{JSON, Protobuf} {
			if e == Protobuf && s.Custom {
				continue
			}
			objects, _ := seeds(f, s, e)
			for n := range 4 {
				f.Add(encode(f, s, e, setList(f, s, objects[:n], &ListMeta{ResourceVersion: "5", Continue: "a"})), e == Protobuf, s.Custom)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, protobuf, custom bool) {
		s, e := pods, JSON
		if custom {
			s = widgets
		} else if protobuf {
			e = Protobuf
		}
		var items []kept
		m, err := ReadList(bytes.NewReader(b), &s.Kind, e, fuzzMost, func(body []byte, meta *Meta) error {
			if e == JSON && !s.Custom {
				agree(t, body, meta)
			}
			copied := *meta
			items = append(items, kept{body: slices.Clone(body), meta: &copied})
			return nil
		})
		if err != nil {
			expected(t, err)
			return
		}
		if e == JSON && !json.Valid(b) {
			t.Fatalf("took %q", b)
		}
		// What has been taken can be put together again.
		made := list(NewFormat(&s.Kind, e), &m, items)
		n := 0
		again, err := ReadList(bytes.NewReader(made), &s.Kind, e, fuzzMost, func(body []byte, _ *Meta) error {
			check(t, "body", body, items[n].body)
			n++
			return nil
		})
		if err != nil || n != len(items) || again.ResourceVersion != m.ResourceVersion || again.Continue != m.Continue {
			t.Fatalf("%v: %+v, then %+v: %q of %q", err, m, again, made, b)
		}
	})
}

func FuzzWithResourceVersion(f *testing.F) {
	for _, s := range []*sample{pods, widgets} {
		for _, e := range []Encoding{JSON, Protobuf} {
			if e == Protobuf && s.Custom {
				continue
			}
			_, sent := seeds(f, s, e)
			for i, b := range sent {
				f.Add(b, uint64(1)<<(3*i%60), e == Protobuf, s.Custom)
			}
		}
	}
	f.Fuzz(func(t *testing.T, object []byte, version uint64, protobuf, custom bool) {
		s, e := pods, JSON
		if custom {
			s = widgets
		} else if protobuf {
			e = Protobuf
		}
		body, before, err := ParseObject(&s.Kind, e, object)
		if err != nil {
			expected(t, err)
			return
		}
		format := NewFormat(&s.Kind, e)
		revised, err := format.WithResourceVersion(body, strconv.FormatUint(version, 10))
		if version == 0 {
			expected(t, err)
			return
		}
		if err != nil {
			t.Fatalf("%v: %q", err, body)
		}
		_, after, err := ParseObject(&s.Kind, e, format.AppendObjectTail(append(format.AppendObjectHead(nil, len(revised)), revised...)))
		if err != nil {
			t.Fatalf("%v: %q", err, revised)
		}
		if after.ResourceVersion != version || after.Name != before.Name || after.UID != before.UID || !slices.Equal(after.Labels, before.Labels) || !slices.Equal(after.Fields, before.Fields) {
			t.Fatalf("%+v, then %+v", before, after)
		}
		back, err := format.WithResourceVersion(revised, strconv.FormatUint(before.ResourceVersion, 10))
		if err != nil {
			t.Fatal(err)
		}
		if e == JSON {
			// In protobuf the lengths may have been written longer than needed.
			check(t, "body", back, body)
		}
		if metadata, ok := NewMetadataFormat(&s.Kind, e); ok {
			part, err := metadata.WithResourceVersion(body, strconv.FormatUint(version, 10))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "metadata", part, revised[:after.MetadataEnd])
		}
	})
}

func FuzzParseObject(f *testing.F) {
	for _, e := range []Encoding{JSON, Protobuf} {
		_, sent := seeds(f, pods, e)
		for _, b := range sent {
			f.Add(b, e == Protobuf)
		}
	}
	f.Fuzz(func(t *testing.T, sent []byte, protobuf bool) {
		e := JSON
		if protobuf {
			e = Protobuf
		}
		body, meta, err := ParseObject(&pods.Kind, e, sent)
		if err != nil {
			expected(t, err)
			return
		}
		if e == JSON {
			agree(t, body, meta)
			made := object(NewFormat(&pods.Kind, e), kept{body: body, meta: meta})
			check(t, "object", bytes.TrimSuffix(made, []byte("\n")), bytes.TrimSuffix(sent, []byte("\n")))
		}
	})
}

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

const least = `"metadata":{"name":"a","resourceVersion":"1"}`

func readEvents(b []byte, s *sample, e Encoding, maxObject int) (events []Event, err error) {
	r := NewEventReader(bytes.NewReader(b), &s.Kind, e, maxObject)
	for {
		event, err := r.Next()
		if err != nil {
			if _, again := r.Next(); again != err {
				return events, fmt.Errorf("%v, and then %v", err, again)
			}
			return events, err
		}
		events = append(events, *event)
	}
}

func TestMalformedEventsAreRefused(t *testing.T) {
	object := func(body string) string {
		return `{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1",` + body + `}` + "\n"
	}
	for _, s := range []string{
		"\n", "{}\n", "null\n", `{"type":"ADDED","object":{` + "\n", `{"type":"ADDED","object":{}}` + "\n", `{"type":"OTHER","object":{}}` + "\n", `{"type":"ADDED"` + "\n",
		`{"type":"ADDED","object":{"kind":"Node","apiVersion":"v1",` + least + `}}` + "\n",
		`{"type":"ADDED","object":{"apiVersion":"v1","kind":"Pod",` + least + `}}` + "\n",
		`{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1",` + least + "}}\r\n",
		` {"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1",` + least + "}}\n",
		object(least), object(least + `}x`), object(least + `,}`), object(`"spec":{},` + least + `}`), object(least + `,` + least + `}`),
		object(least + `,"kind":"Pod"}`), object(least + `,"apiVersion":"v1"}`), object(least + `,"spec":{"nodeName":1}}`), object(least + `,"spec":{"hostNetwork":"true"}}`), object(least + `,"spec":{"nodeName":{}}}`),
		object(least + `,"spec":{},"spec":{}}`), object(least + `,"spec":{"nodeName":"a","node\u004eame":"b"}}`),
		object(`"metadata":{"name":"a"}}`), object(`"metadata":{"resourceVersion":"1"}}`), object(`"metadata":{"name":"","resourceVersion":"1"}}`), object(`"metadata":null}`), object(`"metadata":[]}`),
		object(`"metadata":{"name":"a","resourceVersion":1}}`), object(`"metadata":{"name":"a","resourceVersion":"0"}}`), object(`"metadata":{"name":"a","resourceVersion":"-1"}}`), object(`"metadata":{"name":"a","resourceVersion":"18446744073709551616"}}`),
		object(`"metadata":{"name":"a","name":"b","resourceVersion":"1"}}`), object(`"metadata":{"name":{},"resourceVersion":"1"}}`),
		object(`"metadata":{"name":"a","resourceVersion":"1","labels":{"a":1}}}`), object(`"metadata":{"name":"a","resourceVersion":"1","labels":{"a":"1","a":"1"}}}`), object(`"metadata":{"name":"a","resourceVersion":"1","labels":{"b":"1","a":"1","b":"2"}}}`), object(`"metadata":{"name":"a","resourceVersion":"1","labels":[]}}`), object(`"metadata":{"name":"a","resourceVersion":"1","labels":{}"a":1}}`),
		object(`"metadata":{"name":"a","resourceVersion":"1","ownerReferences":{}}}`), object(`"metadata":{"name":"a","resourceVersion":"1","ownerReferences":[1]}}`), object(`"metadata":{"name":"a","resourceVersion":"1","ownerReferences":[{"uid":1}]}}`), object(`"metadata":{"name":"a","resourceVersion":"1","ownerReferences":[{"uid":"a"}{}]}}`),
		`{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{}}}` + "\n",
		`{"type":"ERROR","object":{"kind":"Pod","apiVersion":"v1",` + least + `}}` + "\n", `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","code":"x"}}` + "\n",
	} {
		if _, err := readEvents([]byte(s), pods, JSON, 1<<20); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, body := range []string{
		least, `"apiVersion":"example.org/v1",` + least, `"kind":"Widget",` + least, `"apiVersion":"example.org/v2","kind":"Widget",` + least, `"apiVersion":"example.org/v1","kind":"Other",` + least,
		`"apiVersion":"example.org/v1","kind":"Widget","kind":"Widget",` + least, `"apiVersion":"example.org/v1","kind":"Widget"`,
	} {
		if _, err := readEvents([]byte(`{"type":"ADDED","object":{`+body+"}}\n"), widgets, JSON, 1<<20); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestUnusualObjectsAreReadRight(t *testing.T) {
	for _, c := range []struct {
		body string
		want Meta
	}{
		{`"metadata":{"resourceVersion":"18446744073709551615","name":"\u0061\"\\","namespace":"\ud83d\ude00\ud83d","uid":"u","labels":{"b":"2","a":"\n","\u00e9":""},"unknown":{"name":"x","labels":{"x":"y"}}},"spec":null}`,
			Meta{Name: "a\"\\", Namespace: "😀\ufffd", UID: "u", ResourceVersion: 1<<64 - 1, Labels: Labels{{"a", "\n"}, {"b", "2"}, {"é", ""}}, Fields: []string{"", "false", "", ""}}},
		{`"metadata":{"n\u0061me":"a","resourceVersion":"1","labels":null,"ownerReferences":[{"name":"x","uid":"1"},{"uid":"2","name":"uid"},{}],"uid":null},"spec":{"hostNetwork":true,"nodeName":null},"status":{"podIPs":[],"phase":"Running"}}`,
			Meta{Name: "a", ResourceVersion: 1, Owners: []string{"1", "2"}, Fields: []string{"", "true", "Running", ""}}},
		{least + `,"status":{"podIPs":[{"ip":"1"},{"ip":"2"}]},"spec":{"nodeName":"n","hostNetwork":false}}`,
			Meta{Name: "a", ResourceVersion: 1, Fields: []string{"n", "false", "", "1"}}},
		{least + `,"status":{"podIPs":[{},{"ip":"2"}]},"spec":[{"nodeName":"n"}]}`,
			Meta{Name: "a", ResourceVersion: 1, Fields: []string{"n", "false", "", ""}}},
		{least + `,"status":"a","spec":{"nodeName":"` + "\xff" + `"}}`,
			Meta{Name: "a", ResourceVersion: 1, Fields: []string{"\ufffd", "false", "", ""}}},
	} {
		body, meta, err := ParseObject(&pods.Kind, JSON, []byte(`{"kind":"Pod","apiVersion":"v1",`+c.body+"\n"))
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if string(body) != c.body || string(body[:meta.MetadataEnd]) != c.body[:strings.Index(c.body, "},\"s")+1] {
			t.Errorf("%s: %s, metadata to %d", c.body, body, meta.MetadataEnd)
		}
		meta.MetadataEnd = 0
		if !reflect.DeepEqual(*meta, c.want) {
			t.Errorf("%s:\n%+v\n%+v", c.body, *meta, c.want)
		}
	}
}

func TestMalformedProtobufIsRefused(t *testing.T) {
	str := func(b []byte, number protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
	}
	num := func(b []byte, number protowire.Number, n uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), n)
	}
	meta := string(str(str(nil, metaName, "a"), metaVersion, "1"))
	body := string(str(nil, 1, meta))
	unknown := func(version, kind, raw, tail string) string {
		return unknownHead(version, kind) + string(str(nil, 2, raw)) + tail
	}
	for name, object := range map[string]string{
		"nothing":                      "",
		"no magic":                     unknown("v1", "Pod", body, unknownTail)[1:],
		"another kind":                 unknown("v1", "Node", body, unknownTail),
		"another version":              unknown("v2", "Pod", body, unknownTail),
		"a content type":               unknown("v1", "Pod", body, "\x1a\x00\x22\x01x"),
		"no content type":              unknown("v1", "Pod", body, "\x1a\x00"),
		"more behind it":               unknown("v1", "Pod", body, unknownTail+"\x00"),
		"no metadata":                  unknown("v1", "Pod", string(str(nil, 2, "")), unknownTail),
		"metadata twice":               unknown("v1", "Pod", body+body, unknownTail),
		"a truncated field":            unknown("v1", "Pod", body+"\x12\x05abc", unknownTail),
		"a tag of zero":                unknown("v1", "Pod", body+"\x00\x00", unknownTail),
		"a group":                      unknown("v1", "Pod", body+"\x1b\x1c", unknownTail),
		"a name twice":                 unknown("v1", "Pod", string(str(nil, 1, meta+string(str(nil, metaName, "b")))), unknownTail),
		"a name that is a number":      unknown("v1", "Pod", string(str(nil, 1, string(num(str(nil, metaVersion, "1"), metaName, 1)))), unknownTail),
		"an empty name":                unknown("v1", "Pod", string(str(nil, 1, string(str(str(nil, metaName, ""), metaVersion, "1")))), unknownTail),
		"a resource version of zero":   unknown("v1", "Pod", string(str(nil, 1, string(str(str(nil, metaName, "a"), metaVersion, "0")))), unknownTail),
		"no resource version":          unknown("v1", "Pod", string(str(nil, 1, string(str(nil, metaName, "a")))), unknownTail),
		"a label that is a number":     unknown("v1", "Pod", string(str(nil, 1, string(num([]byte(meta), metaLabels, 1)))), unknownTail),
		"a label that is broken":       unknown("v1", "Pod", string(str(nil, 1, meta+string(str(nil, metaLabels, "\x0a\x05a")))), unknownTail),
		"a label twice":                unknown("v1", "Pod", string(str(nil, 1, meta+strings.Repeat(string(str(nil, metaLabels, "\x0a\x01a\x12\x01b")), 2))), unknownTail),
		"an annotation that is broken": unknown("v1", "Pod", string(str(nil, 1, meta+string(str(nil, metaAnnotations, "\x0a\x05a")))), unknownTail),
		"an owner that is a number":    unknown("v1", "Pod", string(str(nil, 1, string(num([]byte(meta), metaOwners, 1)))), unknownTail),
		"an owner that is broken":      unknown("v1", "Pod", string(str(nil, 1, meta+string(str(nil, metaOwners, "\x22\x05a")))), unknownTail),
		"a field of another type":      unknown("v1", "Pod", string(str([]byte(body), 2, string(num(nil, 10, 1)))), unknownTail),
		"a field on a broken way":      unknown("v1", "Pod", string(str([]byte(body), 2, "\x0a")), unknownTail),
	} {
		if _, _, err := ParseObject(&pods.Kind, Protobuf, []byte(object)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		extension := string(str(nil, 1, object))
		frame := string(str(str(nil, 1, "ADDED"), 2, extension))
		if _, err := readEvents(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...), pods, Protobuf, 1<<20); !errors.Is(err, ErrMalformed) {
			t.Errorf("event with %s: %v", name, err)
		}
	}
	good := unknown("v1", "Pod", body, unknownTail)
	for name, event := range map[string]string{
		"nothing":            "",
		"no type":            string(str(nil, 2, string(str(nil, 1, good)))),
		"an unknown type":    string(str(str(nil, 1, "OTHER"), 2, string(str(nil, 1, good)))),
		"no object":          string(str(nil, 1, "ADDED")),
		"an empty extension": string(str(str(nil, 1, "ADDED"), 2, "")),
		"two objects":        string(str(str(nil, 1, "ADDED"), 2, strings.Repeat(string(str(nil, 1, good)), 2))),
		"something behind":   string(str(str(str(nil, 1, "ADDED"), 2, string(str(nil, 1, good))), 3, "")),
		"an error of a pod":  string(str(str(nil, 1, "ERROR"), 2, string(str(nil, 1, good)))),
		"a broken status":    string(str(str(nil, 1, "ERROR"), 2, string(str(nil, 1, unknown("v1", "Status", "\x0a", unknownTail))))),
	} {
		if _, err := readEvents(append(binary.BigEndian.AppendUint32(nil, uint32(len(event))), event...), pods, Protobuf, 1<<20); !errors.Is(err, ErrMalformed) {
			t.Errorf("event with %s: %v", name, err)
		}
	}
	if _, _, err := ParseObject(&pods.Kind, Protobuf, []byte(good)); err != nil {
		t.Error(err)
	}
}

func TestMalformedListsAreRefused(t *testing.T) {
	const head, tail = `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":`, "}\n"
	for _, c := range []struct {
		s    *sample
		list string
	}{
		{pods, strings.Replace(head, "Pod", "Bad", 1) + "[]" + tail}, {pods, head + "[]" + tail + "x"}, {pods, head + "[]" + "]" + tail}, {pods, head + "[1]" + tail}, {pods, head + "[,]" + tail}, {pods, head + "nope" + tail}, {pods, head + "{}" + tail},
		{pods, head + "[{" + least + "},]" + tail}, {pods, head + "[{" + least + "} ]" + tail}, {pods, head + "[{" + least + "}{" + least + "}]" + tail}, {pods, head + `[{"spec":{}}]` + tail}, {pods, head + `[{"kind":"Pod",` + least + "}]" + tail},
		{pods, strings.Replace(head, `"1"`, `"0"`, 1) + "[]" + tail}, {pods, strings.Replace(head, `"1"`, `1`, 1) + "[]" + tail}, {pods, strings.Replace(head, `"1"`, `"1","resourceVersion":"1"`, 1) + "[]" + tail}, {pods, strings.Replace(head, `"1"`, `"1","shardInfo":{"selector":"a"}`, 1) + "[]" + tail}, {pods, strings.Replace(head, `"1"`, `"1","remainingItemCount":1.5`, 1) + "[]" + tail}, {pods, strings.Replace(head, `"1"`, `"1","selfLink":"a"`, 1) + "[]" + tail}, {pods, strings.Replace(head, `"1"`, `"1""a":1`, 1) + "[]" + tail},
		{widgets, `{"apiVersion":"example.org/v2","items":[],"kind":"WidgetList","metadata":{"continue":"","resourceVersion":"1"}}`}, {widgets, `{"apiVersion":"example.org/v1","items":[],"kind":"OtherList","metadata":{"continue":"","resourceVersion":"1"}}`}, {widgets, `{"apiVersion":"example.org/v1","items":[],"kind":"WidgetList","metadata":{"continue":""}}`},
	} {
		if _, err := ReadList(strings.NewReader(c.list), &c.s.Kind, JSON, 1<<20, func([]byte, *Meta) error { return nil }); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", c.list, err)
		}
	}
	for _, list := range []string{head + "[]}", head + "null" + tail, strings.Replace(head, `"1"`, `"1","remainingItemCount":-5,"selfLink":"","continue":"\u0061"`, 1) + "[]" + tail} {
		if _, err := ReadList(strings.NewReader(list), &pods.Kind, JSON, 1<<20, func([]byte, *Meta) error { return nil }); err != nil {
			t.Errorf("%s: %v", list, err)
		}
	}
	sent := encode(t, pods, Protobuf, setList(t, pods, []runtime.Object{typical(1), typical(2)}, &ListMeta{ResourceVersion: "1"}))
	at := len(unknownHead("v1", "PodList"))
	for name, change := range map[string]func(b []byte) []byte{
		"no magic":                func(b []byte) []byte { b[0]++; return b },
		"something behind":        func(b []byte) []byte { return append(b, 0) },
		"another tag":             func(b []byte) []byte { b[at]++; return b },
		"an endless length":       func(b []byte) []byte { return append(b[:at+1], bytes.Repeat([]byte{0xff}, 20)...) },
		"a length too small":      func(b []byte) []byte { b[at+1]--; return b },
		"a content type":          func(b []byte) []byte { b[len(b)-1] = 1; return append(b, 'x') },
		"a field that is no item": func(b []byte) []byte { return bytes.Replace(b, []byte("\x12"), []byte("\x1a"), -1) },
	} {
		if _, err := ReadList(bytes.NewReader(change(slices.Clone(sent))), &pods.Kind, Protobuf, 1<<20, func([]byte, *Meta) error { return nil }); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTruncatedAnswersAreUnexpectedEnds(t *testing.T) {
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		g := newGenerator(1)
		var stream []byte
		var objects []runtime.Object
		ends := map[int]bool{0: true}
		for range 2 {
			o := g.object(t, s)
			objects = append(objects, o)
			stream = append(stream, frame(t, s, e, watch.Added, encode(t, s, e, o))...)
			ends[len(stream)] = true
		}
		list := encode(t, s, e, setList(t, s, objects, &ListMeta{ResourceVersion: "1"}))
		for n := 0; n < len(stream); n += 1 + n/16 {
			want := io.ErrUnexpectedEOF
			if ends[n] {
				want = io.EOF
			}
			if _, err := readEvents(stream[:n], s, e, 1<<20); err != want {
				t.Fatalf("%d of %d bytes: %v", n, len(stream), err)
			}
		}
		for n := 0; n < len(list)-1; n += 1 + n/16 {
			if _, err := ReadList(bytes.NewReader(list[:n]), &s.Kind, e, 1<<20, func([]byte, *Meta) error { return nil }); err != io.ErrUnexpectedEOF {
				t.Fatalf("%d of %d bytes: %v", n, len(list), err)
			}
		}
	})
}

// endless repeats what it has, and counts.
type endless struct {
	with byte
	n    int
}

func (r *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.with
	}
	r.n += len(b)
	return len(b), nil
}

func TestObjectsThatAreTooLargeAreNotBuffered(t *testing.T) {
	const most = 100 << 10
	none := func([]byte, *Meta) error { return errors.New("an item") }
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], 1<<31)
	for name, read := range map[string]func(r io.Reader) error{
		`{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"`: func(r io.Reader) error {
			_, err := NewEventReader(r, &pods.Kind, JSON, most).Next()
			return err
		},
		`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"`: func(r io.Reader) error {
			_, err := ReadList(r, &pods.Kind, JSON, most, none)
			return err
		},
		`{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"`: func(r io.Reader) error {
			_, err := ReadList(r, &pods.Kind, JSON, most, none)
			return err
		},
		string(size[:]): func(r io.Reader) error {
			_, err := NewEventReader(r, &pods.Kind, Protobuf, most).Next()
			return err
		},
		unknownHead("v1", "PodList") + "\x12\x80\x80\x80\x80\x08\x0a\x05\x0a\x00\x12\x011\x12\x80\x80\x80\x80\x04": func(r io.Reader) error {
			_, err := ReadList(r, &pods.Kind, Protobuf, most, none)
			return err
		},
	} {
		more := &endless{with: 'x'}
		if err := read(io.MultiReader(strings.NewReader(name), more)); err != ErrTooLarge {
			t.Errorf("%q: %v", name, err)
		}
		if more.n > 4*most+listBuffer {
			t.Errorf("%q: %d bytes read", name, more.n)
		}
	}
}

func TestTheBoundIsThatOfTheBody(t *testing.T) {
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		o := newGenerator(1).object(t, s)
		k := keep(t, s, e, o)
		stream := frame(t, s, e, watch.Added, k.sent)
		list := encode(t, s, e, setList(t, s, []runtime.Object{o}, &ListMeta{ResourceVersion: "1"}))
		for _, c := range []struct {
			most                int
			ofEvents, ofObjects error
		}{{len(k.body), io.EOF, nil}, {len(k.body) - 1, ErrTooLarge, ErrTooLarge}} {
			if _, err := readEvents(stream, s, e, c.most); err != c.ofEvents {
				t.Errorf("events of %d bytes: %v", c.most, err)
			}
			if _, err := ReadList(bytes.NewReader(list), &s.Kind, e, c.most, func([]byte, *Meta) error { return nil }); err != c.ofObjects {
				t.Errorf("items of %d bytes: %v", c.most, err)
			}
		}
	})
}

// broken fails after what it has, or reads nothing for ever.
type broken struct {
	r   io.Reader
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func TestErrorsOfTheConnectionAndOfTheCallerAreHandedOn(t *testing.T) {
	connection := errors.New("connection reset")
	caller := errors.New("enough")
	eachKind(t, func(t *testing.T, s *sample, e Encoding) {
		o := newGenerator(1).object(t, s)
		stream := frame(t, s, e, watch.Added, encode(t, s, e, o))
		list := encode(t, s, e, setList(t, s, []runtime.Object{o}, &ListMeta{ResourceVersion: "1"}))
		for _, n := range []int{0, 3, len(stream) / 2} {
			r := NewEventReader(&broken{bytes.NewReader(stream[:n]), connection}, &s.Kind, e, 1<<20)
			if _, err := r.Next(); err != connection {
				t.Error(err)
			}
			if _, err := ReadList(&broken{bytes.NewReader(list[:n]), connection}, &s.Kind, e, 1<<20, func([]byte, *Meta) error { return nil }); err != connection {
				t.Error(err)
			}
		}
		if _, err := NewEventReader(&broken{bytes.NewReader(nil), nil}, &s.Kind, e, 1<<20).Next(); err != io.ErrNoProgress {
			t.Error(err)
		}
		if _, err := ReadList(bytes.NewReader(list), &s.Kind, e, 1<<20, func([]byte, *Meta) error { return caller }); err != caller {
			t.Error(err)
		}
	})
}

func TestBuffersShrinkWhenALargeObjectHasPassed(t *testing.T) {
	large := typical(0)
	large.Annotations["large"] = strings.Repeat("x", 2*bufferKept)
	var stream []byte
	for _, o := range []runtime.Object{large, typical(1), large, typical(2)} {
		stream = append(stream, frame(t, pods, JSON, watch.Added, encode(t, pods, JSON, o))...)
	}
	reading, writing := io.Pipe()
	go func() {
		for _, line := range bytes.SplitAfter(stream, []byte("\n")) {
			_, _ = writing.Write(line)
		}
		_ = writing.Close()
	}()
	r := NewEventReader(reading, &pods.Kind, JSON, 4*bufferKept)
	for i := range 4 {
		event, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(event.Body) > bufferKept != (i%2 == 0) {
			t.Fatalf("event %d of %d bytes", i, len(event.Body))
		}
		if i%2 == 1 && len(r.source.buffer) > bufferKept {
			t.Fatalf("a buffer of %d bytes", len(r.source.buffer))
		}
	}
}

func TestInterningIsBounded(t *testing.T) {
	var table interner
	for i := range 3 * internMax {
		s := fmt.Sprintf("value-%d", i)
		if got := table.intern([]byte(s)); got != s {
			t.Fatal(got)
		}
	}
	if len(table.known) > internMax {
		t.Fatalf("%d strings", len(table.known))
	}
	if table.intern([]byte("")) != "" || len(table.intern(bytes.Repeat([]byte("x"), 2*internMaxLength))) != 2*internMaxLength {
		t.Fatal("not what was given")
	}
}

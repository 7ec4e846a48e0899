package wire

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// budget is how many allocations an object may cost to read: its name and UID, its
// labels, its owners, its fields, an IP address that no other pod has, and some for
// strings met for the first time.
const budget = 8

func stream(t testing.TB, e Encoding, n int) []byte {
	var b []byte
	for i := range n {
		b = append(b, frame(t, pods, e, watch.Added, encode(t, pods, e, typical(i)))...)
	}
	return b
}

func TestReadingAnObjectAllocatesLittle(t *testing.T) {
	const n = 400
	for _, e := range []Encoding{JSON, Protobuf} {
		sent := stream(t, e, n)
		var objects []runtime.Object
		for i := range n {
			objects = append(objects, typical(i))
		}
		list := encode(t, pods, e, setList(t, pods, objects, &ListMeta{ResourceVersion: "1"}))
		for what, read := range map[string]func() error{
			"events": func() error {
				r := NewEventReader(bytes.NewReader(sent), &pods.Kind, e, 1<<20)
				for {
					if _, err := r.Next(); err != nil {
						return err
					}
				}
			},
			"items": func() error {
				_, err := ReadList(bytes.NewReader(list), &pods.Kind, e, 1<<20, func([]byte, *Meta) error { return nil })
				if err == nil {
					err = io.EOF
				}
				return err
			},
		} {
			got := testing.AllocsPerRun(3, func() {
				if err := read(); err != io.EOF {
					t.Fatal(err)
				}
			}) / n
			t.Logf("%.2f allocations for each of %s in %s", got, what, e.MediaType())
			if got > budget {
				t.Errorf("%.1f allocations for each of %s in %s", got, what, e.MediaType())
			}
		}
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	bodies := someBodies(t, 20, 0)
	f := NewFormat(&pods.Kind, JSON)
	around := make([]byte, 0, 256)
	for _, e := range encodings {
		write := func() {
			w := NewWriter(io.Discard, e)
			for i, b := range bodies {
				w.Literal(f.AppendItemHead(around, i == 0, b.Size()))
				w.Body(b)
				w.BodyPart(b, b.Size()/2)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		write()
		// The Writer is one; the garbage collector may have emptied the pools.
		if got := testing.AllocsPerRun(20, write); got > 4 {
			t.Errorf("encoding %d: %.0f allocations", e, got)
		}
	}
}

func someBodies(t testing.TB, n, above int) []*Body {
	bodies := make([]*Body, n)
	for i := range bodies {
		bodies[i] = NewBody(keep(t, pods, JSON, typical(i)).body, above)
	}
	return bodies
}

func benchmarkRead(b *testing.B, e Encoding) {
	const n = 1000
	sent := stream(b, e, n)
	b.SetBytes(int64(len(sent) / n))
	b.ReportAllocs()
	r := NewEventReader(bytes.NewReader(sent), &pods.Kind, e, 1<<20)
	for b.Loop() {
		_, err := r.Next()
		if err == io.EOF {
			r.err, r.source.r = nil, bytes.NewReader(sent)
			_, err = r.Next()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadEventsJSON(b *testing.B)     { benchmarkRead(b, JSON) }
func BenchmarkReadEventsProtobuf(b *testing.B) { benchmarkRead(b, Protobuf) }

func BenchmarkReadListJSON(b *testing.B) {
	var objects []runtime.Object
	for i := range 1000 {
		objects = append(objects, typical(i))
	}
	sent := encode(b, pods, JSON, setList(b, pods, objects, &ListMeta{ResourceVersion: "1"}))
	b.SetBytes(int64(len(sent)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadList(bytes.NewReader(sent), &pods.Kind, JSON, 1<<20, func([]byte, *Meta) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkWrite(b *testing.B, e ContentEncoding) {
	bodies := someBodies(b, 1000, 0)
	f := NewFormat(&pods.Kind, JSON)
	m := &ListMeta{ResourceVersion: "123456"}
	around := make([]byte, 0, 1024)
	var size, resident, sent int64
	write := func() {
		counter := &counter{}
		w := NewWriter(counter, e)
		w.Literal(f.AppendListHead(around, m, 0))
		runs := NewRuns(w, f)
		for _, body := range bodies {
			runs.Item(body, false)
		}
		runs.Close()
		w.Literal(f.AppendListTail(around, m, false))
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		sent = counter.n
	}
	// The forms for gzip are made here.
	write()
	for _, body := range bodies {
		size += int64(body.Size())
		resident += int64(body.Resident())
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		write()
	}
	b.ReportMetric(float64(size)/float64(sent), "ratio")
	b.ReportMetric(float64(resident)/float64(len(bodies)), "resident-B/object")
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

func BenchmarkWriteListIdentity(b *testing.B) { benchmarkWrite(b, Identity) }
func BenchmarkWriteListGzip(b *testing.B)     { benchmarkWrite(b, Gzip) }
func BenchmarkWriteListSnappy(b *testing.B)   { benchmarkWrite(b, Snappy) }

// BenchmarkRuns tells what it is worth to compress pods of a Deployment together.
func BenchmarkRuns(b *testing.B) {
	f := NewFormat(&pods.Kind, JSON)
	for _, n := range []int{1, 2, 4, 6} {
		bodies := someBodies(b, n, -1)
		plain := oneByOne(f, bodies)[1:]
		for name, form := range map[string]func() int{
			"gzip":   func() int { return len(newDeflated(plain).data) },
			"snappy": func() int { return len(*newChunk(plain)) },
		} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.SetBytes(int64(len(plain)))
				size := 0
				for b.Loop() {
					size = form()
				}
				b.ReportMetric(float64(len(plain))/float64(size), "ratio")
			})
		}
	}
}

func BenchmarkNewBody(b *testing.B) {
	body := keep(b, pods, JSON, typical(1)).body
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		NewBody(body, 0)
	}
}

func BenchmarkDeflate(b *testing.B) {
	body := keep(b, pods, JSON, typical(1)).body
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		newDeflated(body)
	}
}

func BenchmarkWithResourceVersion(b *testing.B) {
	for _, e := range []Encoding{JSON, Protobuf} {
		b.Run(e.MediaType(), func(b *testing.B) {
			k := keep(b, pods, e, typical(1))
			f := NewFormat(&pods.Kind, e)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.WithResourceVersion(k.body, "987654321"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package wire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"testing"

	"github.com/klauspost/compress/snappy"
)

// reader decodes an answer like a client.
func reader(t testing.TB, e ContentEncoding, r io.Reader) io.Reader {
	t.Helper()
	switch e {
	case Gzip:
		gz, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return gz
	case Snappy:
		return snappy.NewReader(r)
	default:
		return r
	}
}

var encodings = []ContentEncoding{Identity, Gzip, Snappy}

// writeAll writes by a script: what each byte of it does is up to the text at hand.
func writeAll(w *Writer, script []byte, bodies []*Body, texts [][]byte) (want []byte) {
	for i, step := range script {
		at := int(step>>3) % len(bodies)
		body, text := bodies[at], texts[at]
		switch step & 7 {
		case 0, 1:
			w.Body(body)
			want = append(want, text...)
		case 2:
			n := len(text) * i / len(script)
			w.BodyPart(body, n)
			want = append(want, text[:n]...)
		case 3, 4:
			n := min(len(text), int(step))
			w.Literal(text[:n])
			want = append(want, text[:n]...)
		case 5:
			w.Literal(text)
			want = append(want, text...)
		case 6:
			w.Literal([]byte(",{"))
			want = append(want, ",{"...)
		default:
			_ = w.Flush()
		}
	}
	return want
}

func allBodies(above int) (bodies []*Body, all [][]byte) {
	all = texts()
	for _, text := range all {
		bodies = append(bodies, NewBody(text, above))
	}
	return bodies, all
}

func TestAnswersDecodeToWhatWasWritten(t *testing.T) {
	for _, e := range encodings {
		for _, above := range []int{-1, 0} {
			bodies, all := allBodies(above)
			random := rand.New(rand.NewSource(1))
			for range 30 {
				script := make([]byte, random.Intn(30))
				random.Read(script)
				var out bytes.Buffer
				w := NewWriter(&out, e)
				want := writeAll(w, script, bodies, all)
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(reader(t, e, &out))
				if err != nil {
					t.Fatalf("encoding %d: %v", e, err)
				}
				check(t, fmt.Sprintf("encoding %d", e), got, want)
			}
		}
	}
}

func TestWhatIsFlushedCanBeDecoded(t *testing.T) {
	bodies, all := allBodies(0)
	for _, e := range encodings {
		// A reader that needs more than was flushed finds an end here, which it keeps.
		var sent bytes.Buffer
		var r io.Reader
		w := NewWriter(&sent, e)
		flush := func(want []byte) {
			t.Helper()
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if w.buffer != nil {
				t.Fatal("an idle writer holds a buffer")
			}
			if r == nil {
				r = reader(t, e, &sent)
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(r, got); err != nil {
				t.Fatalf("encoding %d: %v", e, err)
			}
			check(t, "what was flushed", got, want)
		}
		for i, b := range bodies {
			w.Literal([]byte("literal"))
			flush([]byte("literal"))
			w.Body(b)
			flush(all[i])
			w.Body(b)
			w.Literal([]byte("x"))
			flush(append(append([]byte(nil), all[i]...), 'x'))
			half := len(all[i]) / 2
			w.BodyPart(b, half)
			flush(all[i][:half])
			flush(nil)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
			t.Fatalf("encoding %d: %d bytes more, %v", e, n, err)
		}
	}
}

func TestAnEmptyAnswerDecodesToNothing(t *testing.T) {
	for _, e := range encodings {
		var out bytes.Buffer
		w := NewWriter(&out, e)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(reader(t, e, &out)); err != nil || len(got) > 0 {
			t.Fatalf("encoding %d: %q, %v", e, got, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal("closed twice:", err)
		}
	}
}

func TestSplicedBodiesAreNotEncodedAgain(t *testing.T) {
	text := bytes.Repeat([]byte(`{"name":"a","value":"b"},`), 400)
	b := NewBody(text, 0)
	d, err := b.deflate()
	if err != nil {
		t.Fatal(err)
	}
	for e, piece := range map[ContentEncoding][]byte{Gzip: d.data, Snappy: b.data} {
		var out bytes.Buffer
		w := NewWriter(&out, e)
		w.Literal([]byte("["))
		w.Body(b)
		w.Literal([]byte(","))
		w.Body(b)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out.Bytes(), piece); n != 2 {
			t.Fatalf("encoding %d has the piece %d times", e, n)
		}
	}
}

// failing fails from the second write on.
type failing struct{ writes int }

var errFull = errors.New("full")

func (f *failing) Write(b []byte) (int, error) {
	if f.writes++; f.writes > 1 {
		return 0, errFull
	}
	return len(b), nil
}

func TestTheFirstErrorSticks(t *testing.T) {
	bodies, all := allBodies(0)
	for _, e := range encodings {
		w := NewWriter(&failing{}, e)
		if w.Err() != nil {
			t.Fatal(w.Err())
		}
		for range 3 {
			writeAll(w, []byte{0, 5, 2, 6, 7, 0xf0, 0xf5, 0xff, 0xe0, 0xe8, 0xf8}, bodies, all)
		}
		if w.Err() != errFull || w.Flush() != errFull || w.Close() != errFull || w.Close() != errFull || w.Flush() != errFull {
			t.Fatalf("encoding %d: %v", e, w.Err())
		}
	}
}

func TestBodiesAreWrittenInLargePieces(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789"), 800)
	b := NewBody(text, 0)
	counter := &failing{writes: -1 << 40}
	w := NewWriter(counter, Identity)
	for range 1000 {
		w.Literal([]byte(",{"))
		w.Body(b)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := counter.writes + 1<<40; n > 70 {
		t.Fatalf("%d writes for 8 MB", n)
	}
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte{0, 7, 1, 2, 3, 4, 5, 6, 7}, []byte("literal and body"), false)
	f.Add([]byte{8, 16, 24, 250, 251, 252, 253}, bytes.Repeat([]byte("ab"), 40000), true)
	f.Fuzz(func(t *testing.T, script, text []byte, compress bool) {
		if len(script) > 64 {
			script = script[:64]
		}
		above := -1
		if compress {
			above = 0
		}
		texts := [][]byte{text, bytes.Repeat(text, 3), text[:len(text)/2], bytes.Repeat([]byte("x"), 70000)}
		var bodies []*Body
		for _, text := range texts {
			bodies = append(bodies, NewBody(text, above))
		}
		for _, e := range encodings {
			var out bytes.Buffer
			w := NewWriter(&out, e)
			want := writeAll(w, script, bodies, texts)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(reader(t, e, &out))
			if err != nil {
				t.Fatalf("encoding %d: %v", e, err)
			}
			check(t, fmt.Sprintf("encoding %d", e), got, want)
		}
	})
}

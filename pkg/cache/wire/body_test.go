package wire

import (
	"bytes"
	"math/rand"
	"sync"
	"testing"
	"unsafe"
)

// texts are bytes of many sizes, that shrink and that do not.
func texts() [][]byte {
	random := rand.New(rand.NewSource(1))
	var all [][]byte
	for _, n := range []int{0, 1, plainMin - 1, plainMin, 5000, chunkMax - 1, chunkMax, chunkMax + 1, 3*chunkMax + 17, 1 << 20} {
		noise := make([]byte, n)
		random.Read(noise)
		text := bytes.Repeat([]byte(`{"name":"a","value":"b"},`), n/25+1)[:n]
		half := append(append([]byte(nil), text[:n/2]...), noise[n/2:]...)
		all = append(all, noise, text, half)
	}
	return all
}

func TestBodiesGiveBackWhatTheyKeep(t *testing.T) {
	for _, text := range texts() {
		for _, above := range []int{-1, 0, 4096} {
			b := NewBody(text, above)
			if got := b.AppendTo([]byte("x")); string(got) != "x"+string(text) || b.Size() != len(text) {
				t.Fatalf("%d bytes above %d: %d of %d", len(text), above, len(got), b.Size())
			}
			for _, n := range []int{0, 1, len(text) / 3, len(text) - 1} {
				if n < 0 || n > len(text) {
					continue
				}
				if got, err := b.appendPart([]byte("x"), n); err != nil || string(got) != "x"+string(text[:n]) {
					t.Fatalf("%d of %d bytes above %d: %d, %v", n, len(text), above, len(got), err)
				}
			}
			if b.framed && len(b.data) >= len(text) {
				t.Fatalf("%d bytes in %d", len(text), len(b.data))
			}
			if above < 0 && b.framed || b.framed && len(text) <= above {
				t.Fatal("compressed against orders")
			}
		}
	}
}

func TestBodiesKeepACopy(t *testing.T) {
	text := []byte("text")
	b := NewBody(text, -1)
	text[0] = 'n'
	if got := string(b.AppendTo(nil)); got != "text" {
		t.Fatal(got)
	}
}

func TestBodiesSayWhatTheyHold(t *testing.T) {
	text := bytes.Repeat([]byte("text "), 2000)
	b := NewBody(text, 0)
	before := b.Resident()
	if before > len(text)/5 {
		t.Fatalf("%d bytes for %d", before, len(text))
	}
	d, err := b.deflate()
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Resident(); got <= before+len(d.data) {
		t.Fatalf("%d bytes, then %d", before, got)
	}
	if cap(d.data) != len(d.data) || cap(b.data) != len(b.data) {
		t.Fatal("room that nobody uses")
	}
	if size := unsafe.Sizeof(*b); size > 48 {
		t.Fatalf("%d bytes besides the content", size)
	}
}

func TestAllGetTheSameDeflatedForm(t *testing.T) {
	b := NewBody(bytes.Repeat([]byte("text "), 2000), 0)
	forms := make([]*deflated, 8)
	var group sync.WaitGroup
	for i := range forms {
		group.Go(func() { forms[i], _ = b.deflate() })
	}
	group.Wait()
	for _, form := range forms {
		if form == nil || form != forms[0] {
			t.Fatal("another form")
		}
	}
}

func TestBytesThatChangedInMemoryAreAnError(t *testing.T) {
	text := bytes.Repeat([]byte("text "), 2000)
	for _, change := range []func(b *Body){
		func(b *Body) { b.data[chunkHeader]++ },
		func(b *Body) { b.data = append([]byte(nil), b.data[:len(b.data)-1]...); b.data[1]-- },
		func(b *Body) { b.data[0] = chunkUncompressed },
		func(b *Body) { b.data = appendChunks(nil, text[1:]) },
	} {
		for _, e := range []ContentEncoding{Identity, Gzip} {
			b := NewBody(text, 0)
			change(b)
			var out bytes.Buffer
			w := NewWriter(&out, e)
			w.Body(b)
			if err := w.Close(); err != errCorrupt {
				t.Fatalf("encoding %d: %v", e, err)
			}
		}
	}
}

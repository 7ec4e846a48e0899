package wire

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// listed writes a list of bodies in runs, with a namespace for every n of them, and
// returns it decoded, and its size as it was sent.
func listed(t testing.TB, f *Format, e ContentEncoding, bodies []*Body, n int) (text []byte, sent int) {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, e)
	runs := NewRuns(w, f)
	for i, b := range bodies {
		runs.Item(b, i > 0 && i%n == 0)
	}
	runs.Close()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sent = out.Len()
	text, err := io.ReadAll(reader(t, e, &out))
	if err != nil {
		t.Fatal(err)
	}
	return text, sent
}

// oneByOne is what a list of bodies is.
func oneByOne(f *Format, bodies []*Body) (text []byte) {
	for i, b := range bodies {
		text = f.AppendItemHead(text, i == 0, b.Size())
		text = b.AppendTo(text)
	}
	return text
}

func bodiesOf(sizes []int, above int) (bodies []*Body) {
	for i, size := range sizes {
		text := strings.Repeat(fmt.Sprintf(`"name-%d":{"a":"b"},`, i), size/16+1)
		bodies = append(bodies, NewBody([]byte(text[:size]), above))
	}
	return bodies
}

func TestListsInRunsDecodeToTheirItems(t *testing.T) {
	for name, sizes := range map[string][]int{
		"none":           nil,
		"one":            {100},
		"an empty one":   {0, 5, 0},
		"many small":     slicesOf(1000, 300),
		"usual":          slicesOf(100, 8000),
		"a full run":     {runMax - 200, 100, 100},
		"too large":      {10, runMax, runMax + 1, 3 * runMax, 10},
		"nearly so":      {runMax - 63, runMax - 64, runMax - 65},
		"large and tiny": {30000, 1, 30000, 1, 30000, 1, 70000, 1, 1},
	} {
		for _, kind := range []Encoding{JSON, Protobuf} {
			for _, e := range encodings {
				for _, above := range []int{-1, 0} {
					t.Run(fmt.Sprintf("%s/%d/%d/%d", name, kind, e, above), func(t *testing.T) {
						f := NewFormat(&pods.Kind, kind)
						bodies := bodiesOf(sizes, above)
						want := oneByOne(f, bodies)
						for range 2 {
							got, _ := listed(t, f, e, bodies, 20)
							check(t, "list", got, want)
						}
					})
				}
			}
		}
	}
}

func slicesOf(n, size int) (sizes []int) {
	for range n {
		sizes = append(sizes, size)
	}
	return sizes
}

// TestARunIsMadeAnewForWhatHasChanged: what is kept for a body is of those that stood
// behind it then.
func TestARunIsMadeAnewForWhatHasChanged(t *testing.T) {
	f := NewFormat(&pods.Kind, JSON)
	for _, e := range []ContentEncoding{Gzip, Snappy} {
		bodies := bodiesOf(slicesOf(200, 4000), 0)
		for i := range 50 {
			switch i % 3 {
			case 0: // changed
				bodies[i*3] = NewBody(bytes.Repeat([]byte("x"), 4000), 0)
			case 1: // inserted
				bodies = append(bodies[:i*3], append(bodiesOf([]int{500 * i}, 0), bodies[i*3:]...)...)
			case 2: // deleted
				bodies = append(bodies[:i*3], bodies[i*3+1:]...)
			}
			got, _ := listed(t, f, e, bodies, 50)
			check(t, "list", got, oneByOne(f, bodies))
			// A namespace, and a page.
			part := bodies[50:100]
			got, _ = listed(t, f, e, part, 50)
			check(t, "namespace", got, oneByOne(f, part))
			part = bodies[i : i+60]
			got, _ = listed(t, f, e, part, 50)
			check(t, "page", got, oneByOne(f, part))
		}
	}
}

// TestAChangeLeavesTheOtherRuns: a list after one compresses what is near to it.
func TestAChangeLeavesTheOtherRuns(t *testing.T) {
	f := NewFormat(&pods.Kind, JSON)
	bodies := bodiesOf(slicesOf(2000, 8000), 0)
	runs := func() map[*run]bool {
		all := map[*run]bool{}
		for _, b := range bodies {
			if forms := b.made.Load(); forms != nil {
				if r := forms.run.Load(); r != nil {
					all[r] = true
				}
			}
		}
		return all
	}
	listed(t, f, Gzip, bodies, 500)
	before := runs()
	if n := len(before); n < 2000/8 || n > 2000/4 {
		t.Fatalf("%d runs of 2000 bodies of 8 KB", n)
	}
	bodies[1000] = bodiesOf([]int{8100}, 0)[0]
	bodies = append(bodies[:1500], bodies[1501:]...)
	listed(t, f, Gzip, bodies, 500)
	anew := 0
	for r := range runs() {
		if !before[r] {
			anew++
		}
	}
	if anew == 0 || anew > 20 {
		t.Errorf("%d of %d runs were made anew for two changes", anew, len(before))
	}
}

func TestRunsAreMadeOnceForManyLists(t *testing.T) {
	f := NewFormat(&pods.Kind, JSON)
	bodies := bodiesOf(slicesOf(50, 8000), 0)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { listed(t, f, Gzip, bodies, 100) })
	}
	all.Wait()
	want := oneByOne(f, bodies)
	got, _ := listed(t, f, Gzip, bodies, 100)
	check(t, "list", got, want)
}

func TestACorruptBodyIsNotWrittenInARun(t *testing.T) {
	bodies := bodiesOf(slicesOf(3, 8000), 0)
	bodies[1].data[chunkHeader] ^= 0xff
	w := NewWriter(io.Discard, Gzip)
	runs := NewRuns(w, NewFormat(&pods.Kind, JSON))
	for _, b := range bodies {
		runs.Item(b, false)
	}
	runs.Close()
	if err := w.Close(); err == nil {
		t.Error("it was")
	}
}

func FuzzRuns(f *testing.F) {
	f.Add([]byte{10, 200, 0, 255, 3}, uint16(8000), uint8(2), true)
	f.Add([]byte{1, 1, 1, 1, 1, 1, 1, 1, 1}, uint16(9000), uint8(3), false)
	f.Fuzz(func(t *testing.T, sizes []byte, unit uint16, namespace uint8, compress bool) {
		if len(sizes) > 64 {
			sizes = sizes[:64]
		}
		above := -1
		if compress {
			above = 0
		}
		var lengths []int
		for _, n := range sizes {
			lengths = append(lengths, int(n)*int(unit)/8)
		}
		for _, kind := range []Encoding{JSON, Protobuf} {
			bodies := bodiesOf(lengths, above)
			format := NewFormat(&pods.Kind, kind)
			for _, e := range encodings {
				for _, part := range [][]*Body{bodies, bodies[len(bodies)/3:], bodies[:len(bodies)/2]} {
					got, _ := listed(t, format, e, part, int(namespace)+1)
					check(t, "list", got, oneByOne(format, part))
				}
			}
		}
	})
}

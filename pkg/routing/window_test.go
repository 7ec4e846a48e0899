package routing

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestWindowKnowsDurationsToAnEighth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, most := range []float64{10e3, 1e6, 1e9, 100e9} {
		var w window
		var all []time.Duration
		for range 1000 {
			d := time.Duration(random.Float64() * most)
			all = append(all, d)
			w.add(d)
		}
		slices.Sort(all)
		for _, part := range []float64{0.25, 0.5, 0.99} {
			w := clone(&w)
			got, n := w.take(part, len(all))
			want := all[int(part*float64(len(all)))-1]
			// Below a microsecond it knows nothing.
			if off := (got - want).Abs(); n != len(all) || off > want/8+time.Microsecond {
				t.Errorf("of durations up to %s %v are up to %s, want %s", time.Duration(most), part, got, want)
			}
		}
	}
}

func clone(w *window) *window {
	var c window
	for i := range w.counts {
		c.counts[i].Store(w.counts[i].Load())
	}
	return &c
}

func TestWindowHoldsAnyDuration(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{-time.Second: 0, 0: 0, 900: 0, 1 << 62: middleOf(windowSizes - 1)} {
		var w window
		w.add(d)
		if got, n := w.take(1, 1); n != 1 || got.Truncate(time.Microsecond) != want.Truncate(time.Microsecond) {
			t.Errorf("%s is read as %s, want %s", d, got, want)
		}
	}
}

func TestWindowIsEmptiedWhenThereIsEnoughInIt(t *testing.T) {
	var w window
	var adding sync.WaitGroup
	for range 4 {
		adding.Go(func() {
			for range 25 {
				w.add(time.Millisecond)
			}
		})
	}
	adding.Wait()
	if _, n := w.take(0.5, 101); n != 0 {
		t.Error("it was read though there was too little in it")
	}
	if _, n := w.take(0.5, 100); n != 100 {
		t.Error("it was not read, or what was in it is gone")
	}
	if _, n := w.take(0.5, 1); n != 0 {
		t.Error("it was not emptied")
	}
}

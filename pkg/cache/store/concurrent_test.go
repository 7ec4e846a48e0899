package store

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// TestReadersSeeWholeStatesWhileOneWrites is for the race detector, and looks at every
// snapshot as a whole.
func TestReadersSeeWholeStatesWhileOneWrites(t *testing.T) {
	u := universe{namespaces: []string{"a", "a-b", "b"}, names: 100}
	s := New(20, NameIndex(), FieldIndex(0))
	var all []*Object
	for n := range 300 {
		all = append(all, u.object(n, byte(n), 1))
	}
	s.Replace(1, slices.Values(all))
	var done atomic.Bool
	var readers sync.WaitGroup
	for seed := range uint64(4) {
		readers.Go(func() { readUntil(t, s, &done, rand.New(rand.NewPCG(seed, 1))) })
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for rv := uint64(2); rv < 6000; rv++ {
		var err error
		switch n := rng.IntN(300); rng.IntN(20) {
		case 0:
			err = s.Progress(rv)
		case 1, 2, 3, 4, 5:
			_, err = s.Delete(Key(u.key(n)), rv)
		case 6:
			s.AddIndex(LabelIndex("app"))
		case 7:
			s.RemoveIndex(LabelIndex("app"))
		default:
			_, err = s.Put(u.object(n, byte(rng.Uint32()), rv), rv)
		}
		if err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	readers.Wait()
}

func readUntil(t *testing.T, s *Store, done *atomic.Bool, rng *rand.Rand) {
	last := uint64(0)
	for !done.Load() {
		snapshot := s.Snapshot()
		rv := snapshot.ResourceVersion()
		if rv < last {
			t.Errorf("%d after %d", rv, last)
			return
		}
		last = rv
		if held, ok := s.At(rv - min(rv, rng.Uint64N(30))); ok {
			whole(t, held)
		}
		whole(t, snapshot)
	}
}

// whole tells whether the trees of a snapshot are of the same state.
func whole(t *testing.T, s *Snapshot) {
	visited, found := Sum{}, 0
	s.Range("", "", func(o *Object) bool {
		visited = visited.plus(o.weight())
		return true
	})
	for _, value := range []string{"", "n1", "n2", "n3"} {
		n := 0
		s.Lookup(FieldIndex(0), value, "", "", func(o *Object) bool {
			if o.Fields[0] != value || s.Get(o.Key) != o {
				t.Errorf("%s has %q instead of %q", o.Key, o.Fields[0], value)
			}
			n++
			return true
		})
		if n != s.Count(FieldIndex(0), value, "") {
			t.Errorf("%d of %q, counted %d", n, value, s.Count(FieldIndex(0), value, ""))
		}
		found += n
	}
	if visited != s.Sum("", "") || found != visited.Objects || s.Len() != found {
		t.Errorf("visited %v, found %d, sum %v", visited, found, s.Sum("", ""))
	}
}

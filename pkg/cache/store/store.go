package store

import (
	"cmp"
	"iter"
	"slices"
)

// usual is the fan-out of a Store's trees. BenchmarkFanout finds that time says
// little: from 16 to 128 Get, Put, Lookup and Sum differ by less than a third and
// have no common best, for wide nodes cost copying and narrow ones depth. So memory
// decides, here that of 50,000 objects and what a Put allocates among them:
//
//	leaf/inner   B/object   B/index entry   B/Put
//	16/16            16.3            41.2    2116
//	32/16            12.0            37.7    2091
//	64/16            10.0            35.0    2005
//	64/32             9.9            34.9    2656
//	64/64             9.8            34.8    3680
//	128/32            8.9            38.2    2976
var usual = fanout{leaf: 64, inner: 16}

// Store has the newest state and the ones before. One goroutine writes; Snapshot
// and At can be called by any at any time. Snapshot takes no lock, and At one that the
// writer has only while it stores a pointer, never while it changes a tree.
type Store struct {
	fanout  fanout
	history history
}

// New returns an empty store at resource version 0 that holds the last states, as
// many as history says and at least the newest.
func New(history int, indexes ...Index) *Store {
	return newStore(usual, history, indexes...)
}

func newStore(f fanout, history int, indexes ...Index) *Store {
	s := &Store{fanout: f}
	s.history.ring = make([]*Snapshot, max(history, 1))
	var distinct []Index
	for _, i := range indexes {
		if !slices.Contains(distinct, i) {
			distinct = append(distinct, i)
		}
	}
	s.history.newest.Store(&Snapshot{indexes: distinct, postings: make([]postings, len(distinct))})
	return s
}

// Snapshot returns the newest state.
func (s *Store) Snapshot() *Snapshot { return s.history.newest.Load() }

// At returns the state at exactly that resource version, which is also what the
// snapshot says its resource version is. It is false if the store has not come
// there yet, or does not hold the state any more, or never had one (before the
// first Replace or Put).
func (s *Store) At(rv uint64) (*Snapshot, bool) { return s.history.at(rv) }

// Replace forgets everything, also the states before, and begins with objects at rv. They
// need not be in order, but are best so; of two with the same key the last
// counts. They can be ones of the states before, where a list has brought nothing
// newer. The resource version can be any.
func (s *Store) Replace(rv uint64, objects iter.Seq[*Object]) {
	all := ordering(slices.Collect(objects))
	was := s.Snapshot()
	next := &Snapshot{rv: rv, objects: build[name](s.fanout, all), indexes: was.indexes}
	for _, i := range next.indexes {
		next.postings = append(next.postings, i.build(s.fanout, next.objects))
	}
	s.history.restart(next)
}

// ordering returns objects by key, the last of each.
func ordering(objects []*Object) []*Object {
	byKey := func(a, b *Object) int { return cmp.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(objects, byKey) {
		slices.SortStableFunc(objects, byKey)
	}
	distinct := objects[:0]
	for i, o := range objects {
		if i+1 == len(objects) || objects[i+1].Key != o.Key {
			distinct = append(distinct, o)
		}
	}
	return distinct
}

// Put adds an object or a version of one, as of an event with that resource version,
// and returns the version before, nil if there was none. The object belongs to
// the store from then on, and must never have been in one: Put makes its key,
// namespace and name one string with those of the version before.
func (s *Store) Put(o *Object, rv uint64) (previous *Object, err error) {
	was := s.Snapshot()
	if rv <= was.rv {
		return nil, ErrBackwards
	}
	next := &Snapshot{rv: rv, indexes: was.indexes}
	next.objects, previous, _ = was.objects.put(s.fanout, o)
	if previous != nil {
		o.setKey(previous.Key)
	}
	next.postings = s.reindexed(was, previous, o)
	s.history.add(next)
	return previous, nil
}

// Delete removes the object with the key, as of an event with that resource version,
// and returns it, nil if there was none. The store has come to the resource
// version in either case.
func (s *Store) Delete(key string, rv uint64) (previous *Object, err error) {
	was := s.Snapshot()
	if rv <= was.rv {
		return nil, ErrBackwards
	}
	next := &Snapshot{rv: rv, indexes: was.indexes, postings: was.postings}
	next.objects, previous, _ = was.objects.delete(s.fanout, cut{key: key})
	if previous == nil {
		return nil, s.Progress(rv)
	}
	next.postings = s.reindexed(was, previous, nil)
	s.history.add(next)
	return previous, nil
}

// Progress says that nothing has changed up to that resource version, as a bookmark
// does. It may be the one that the store has come to.
func (s *Store) Progress(rv uint64) error {
	was := s.Snapshot()
	if rv < was.rv {
		return ErrBackwards
	}
	if rv > was.rv {
		s.history.progress(rv)
	}
	return nil
}

// Forget drops the states before a resource version, but not the newest.
func (s *Store) Forget(before uint64) { s.history.forget(before) }

// AddIndex adds an index, of the newest state and those to come. It takes as long as
// building it does: O(n), and sorting its values. An index that is there is left.
func (s *Store) AddIndex(i Index) {
	was := s.Snapshot()
	if was.Indexed(i) {
		return
	}
	s.history.amend(append(slices.Clone(was.indexes), i), append(slices.Clone(was.postings), i.build(s.fanout, was.objects)))
}

// RemoveIndex removes an index from the newest state and those to come.
func (s *Store) RemoveIndex(i Index) {
	was := s.Snapshot()
	at := slices.Index(was.indexes, i)
	if at < 0 {
		return
	}
	s.history.amend(spliced(was.indexes, at, at+1), spliced(was.postings, at, at+1))
}

// reindexed returns the postings of a state after an object has changed. They are the
// same slice if none of them have.
func (s *Store) reindexed(was *Snapshot, from, to *Object) []postings {
	next := was.postings
	for i, index := range was.indexes {
		t := index.reindex(s.fanout, was.postings[i], from, to)
		if t == was.postings[i] {
			continue
		}
		if &next[0] == &was.postings[0] {
			next = slices.Clone(next)
		}
		next[i] = t
	}
	return next
}

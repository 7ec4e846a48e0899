package store

import "slices"

// Snapshot is the state at one resource version. It is immutable, costs nothing to
// hold but memory, and its methods can be called concurrently.
//
// A prefix selects the keys that start with it: namespace and slash for what a
// namespace holds, "" for all. From selects the keys that are not less; a list
// goes on behind a key from that key and a zero byte on.
type Snapshot struct {
	rv      uint64
	objects tree[name, *Object]
	// indexes is shared by all snapshots until it changes, and so is each of
	// postings, which has one for each index.
	indexes  []Index
	postings []postings
}

// as returns the snapshot as the one of another resource version.
func (s *Snapshot) as(rv uint64) *Snapshot {
	if s.rv == rv {
		return s
	}
	as := *s
	as.rv = rv
	return &as
}

// with returns the snapshot with other indexes.
func (s *Snapshot) with(indexes []Index, postings []postings) *Snapshot {
	return &Snapshot{rv: s.rv, objects: s.objects, indexes: indexes, postings: postings}
}

// ResourceVersion returns what the state is of. It is 0 before the first Replace.
func (s *Snapshot) ResourceVersion() uint64 { return s.rv }

// Len returns the number of objects.
func (s *Snapshot) Len() int { return s.objects.sum.Objects }

// Get returns the object with the key, nil if there is none.
func (s *Snapshot) Get(key string) *Object {
	o, _ := s.objects.get(cut{key: key})
	return o
}

// Range visits the objects selected by prefix and from in key order, until visit
// returns false.
func (s *Snapshot) Range(prefix, from string, visit func(*Object) bool) {
	lo, hi := between("", prefix, from)
	s.objects.ascend(lo, hi, new(int), visit)
}

// Sum returns the sum over the objects that Range would visit, without visiting
// them: it is O(log n).
func (s *Snapshot) Sum(prefix, from string) Sum {
	lo, hi := between("", prefix, from)
	return s.objects.between(lo, hi)
}

// Indexed tells whether there is that index. Lookup and Count work also without
// it, and then look at all objects.
func (s *Snapshot) Indexed(i Index) bool { return slices.Contains(s.indexes, i) }

// Indexes returns the indexes. The slice is not to be changed.
func (s *Snapshot) Indexes() []Index { return s.indexes }

// Lookup visits the objects selected by prefix and from that have the value in the
// index, in key order, until visit returns false. With the index it is O(log n)
// for each that it visits, less if they are near to each other. Where Count is
// more than about half of the objects, to visit all with Range and look is faster
// (BenchmarkLookup, BenchmarkFilter).
func (s *Snapshot) Lookup(i Index, value, prefix, from string, visit func(*Object) bool) {
	s.lookup(i, value, prefix, from, visit)
}

// lookup is Lookup, and returns how many nodes it has looked at.
func (s *Snapshot) lookup(i Index, value, prefix, from string, visit func(*Object) bool) (nodes int) {
	lo, hi := between(value, prefix, from)
	at := slices.Index(s.indexes, i)
	if at < 0 {
		lo.value, hi.value = "", ""
		s.objects.ascend(lo, hi, &nodes, func(o *Object) bool { return !i.finds(o, value) || visit(o) })
		return nodes
	}
	// Eight steps are more than a tree of the usual fan-out ever has.
	var path [8]step[name, *Object]
	finger := finger[name, *Object]{path: path[:0]}
	s.postings[at].ascend(lo, hi, &nodes, func(p posting) bool {
		// A key that is in an index and not among the objects would be a bug, and to
		// leave it out a wrong list: better the panic of who visits.
		o, _ := finger.seek(s.objects, cut{key: p.key})
		return visit(o)
	})
	return nodes + finger.nodes
}

// Count returns how many objects Lookup would visit from the beginning, to choose
// the index that leaves the fewest. With the index it is O(log n).
func (s *Snapshot) Count(i Index, value, prefix string) int {
	lo, hi := between(value, prefix, "")
	at := slices.Index(s.indexes, i)
	if at < 0 {
		n := 0
		s.Range(prefix, "", func(o *Object) bool {
			if i.finds(o, value) {
				n++
			}
			return true
		})
		return n
	}
	return s.postings[at].between(lo, hi).Objects
}

package selection

import (
	"slices"
	"strings"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
)

// Range visits what is selected of a snapshot, in key order and from the given
// key on, until visit returns false. It looks at the objects of the most selective
// index there is.
func (s *Selection) Range(snapshot *store.Snapshot, from string, visit func(*store.Object) bool) {
	if s.nothing {
		return
	}
	checked := func(o *store.Object) bool { return !s.Matches(o) || visit(o) }
	if s.Everything() {
		checked = visit
	}
	if key, ok := s.key(snapshot); ok {
		if o := snapshot.Get(key); o != nil && o.Key >= from {
			checked(o)
		}
		return
	}
	best, found := s.best(snapshot)
	switch {
	case !found:
		snapshot.Range(s.Prefix(), from, checked)
	case len(best.Values) == 1:
		snapshot.Lookup(best.Index, best.Values[0], s.Prefix(), from, checked)
	default:
		merge(snapshot, best, s.Prefix(), from, checked)
	}
}

// key is that of the only object that can be selected, if there is just one.
func (s *Selection) key(snapshot *store.Snapshot) (string, bool) {
	if s.name == "" {
		return "", false
	}
	if s.namespace != "" {
		return store.Key(s.namespace, s.name), true
	}
	for _, c := range s.candidates {
		if c.Index == store.NameIndex() {
			return "", false
		}
	}
	// Of what has no namespace.
	return s.name, true
}

// best returns the candidate with the fewest objects, unless the namespace itself
// has no more.
func (s *Selection) best(snapshot *store.Snapshot) (best Candidate, found bool) {
	fewest := snapshot.Sum(s.Prefix(), "").Objects
	for _, c := range s.candidates {
		if !snapshot.Indexed(c.Index) {
			continue
		}
		n := 0
		for _, value := range c.Values {
			n += snapshot.Count(c.Index, value, s.Prefix())
		}
		if n < fewest {
			best, fewest, found = c, n, true
		}
	}
	return best, found
}

// merge visits the objects of several values in key order. An object has one value
// of an index, so that none comes twice.
func merge(snapshot *store.Snapshot, c Candidate, prefix, from string, visit func(*store.Object) bool) {
	var all []*store.Object
	for _, value := range c.Values {
		snapshot.Lookup(c.Index, value, prefix, from, func(o *store.Object) bool {
			all = append(all, o)
			return true
		})
	}
	slices.SortFunc(all, func(a, b *store.Object) int { return strings.Compare(a.Key, b.Key) })
	for _, o := range all {
		if !visit(o) {
			return
		}
	}
}

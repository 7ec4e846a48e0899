package store

import "slices"

// build returns a tree of entries, which are in order and without duplicates. It is
// linear, and keeps nothing of the slice.
func build[K ordered, E entry[K]](f fanout, entries []E) tree[K, E] {
	if len(entries) == 0 {
		return tree[K, E]{}
	}
	level := make([]child[K, E], 0, len(entries)/(f.leaf/2)+1)
	for part := range portions(entries, f.leaf) {
		level = append(level, child[K, E]{part[0].position(), &node[K, E]{entries: part}, sumOf[K](part)})
	}
	for len(level) > 1 {
		var above []child[K, E]
		for part := range portions(level, f.inner) {
			n := &node[K, E]{children: part}
			above = append(above, child[K, E]{part[0].first, n, n.sum()})
		}
		level = above
	}
	return tree[K, E]{level[0].node, level[0].sum}
}

// portions yields copies of parts of s, of even length, that can be nodes. They are
// about three quarters full, so that the next inserts do not split all of them.
func portions[S any](s []S, limit int) func(yield func([]S) bool) {
	n := (len(s)*4 + 3*limit - 1) / (3 * limit)
	for n > 1 && len(s)/n < limit/2 {
		n--
	}
	return func(yield func([]S) bool) {
		for i := range n {
			if !yield(slices.Clone(s[i*len(s)/n : (i+1)*len(s)/n])) {
				return
			}
		}
	}
}

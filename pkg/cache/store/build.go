package store

import (
	"iter"
	"slices"
)

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
// not quite full, so that the next inserts do not split all of them: seven eighths,
// and one less, for then 55 postings and the header that Go puts before them fill
// one of its allocation sizes, where 56 would leave an eighth of the next one empty.
func portions[S any](s []S, limit int) iter.Seq[[]S] {
	full := limit*7/8 - 1
	n := (len(s) + full - 1) / full
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

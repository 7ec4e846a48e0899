package store

// finger finds entries one after the other, in ascending order, in time that
// depends on how far they are from each other: what is in the same leaf as the
// last one is found without starting at the root again.
type finger[K ordered, E entry[K]] struct {
	// path leads from the root to the leaf.
	path []step[K, E]
	leaf *node[K, E]
	// at is where the last entry was, or would be, in the leaf.
	at int
	// nodes counts the nodes that were entered.
	nodes int
}

// step is an inner node and which of its children the path takes.
type step[K ordered, E entry[K]] struct {
	node *node[K, E]
	i    int
}

// seek returns the entry right behind the cut, if its position is that of the
// cut. The cut must not be before the last one.
func (f *finger[K, E]) seek(t tree[K, E], c cut) (found E, ok bool) {
	if t.root == nil {
		return found, false
	}
	if f.leaf == nil {
		f.descend(t.root, c)
	} else if d := f.outgrown(c); d >= 0 {
		s := &f.path[d]
		s.i = s.node.under(s.i, c)
		f.path = f.path[:d+1]
		f.descend(s.node.children[s.i].node, c)
	} else {
		f.advance(c)
	}
	if f.at < len(f.leaf.entries) && f.leaf.entries[f.at].position().compare(c) == 0 {
		return f.leaf.entries[f.at], true
	}
	return found, false
}

// outgrown returns the highest step of the path that does not lead to the cut any
// more, -1 if all do. A child ends where the next one begins, and the last child
// where its parent ends. The lowest end is looked at first, for the cut is often
// before it, and then the others from the root on, for otherwise it is often far.
func (f *finger[K, E]) outgrown(c cut) int {
	lowest := len(f.path) - 1
	for lowest >= 0 && f.path[lowest].last() {
		lowest--
	}
	if lowest < 0 || !f.path[lowest].endsBefore(c) {
		return -1
	}
	highest := 0
	for f.path[highest].last() || !f.path[highest].endsBefore(c) {
		highest++
	}
	return highest
}

// last tells that the path takes the last child.
func (s *step[K, E]) last() bool { return s.i+1 == len(s.node.children) }

// endsBefore tells that the cut is in a child after the one that the path takes,
// which is not the last.
func (s *step[K, E]) endsBefore(c cut) bool { return s.node.children[s.i+1].first.compare(c) <= 0 }

func (f *finger[K, E]) descend(n *node[K, E], c cut) {
	f.nodes++
	for !n.leaf() {
		i := n.under(0, c)
		f.path = append(f.path, step[K, E]{n, i})
		n = n.children[i].node
		f.nodes++
	}
	f.leaf, f.at = n, n.before(c)
}

// advance moves on to the first entry of the leaf that is not before the cut. That is
// often a near one, so it tries longer and longer steps before it searches.
func (f *finger[K, E]) advance(c cut) {
	entries := f.leaf.entries
	lo, hi := f.at, f.at
	for width := 1; hi < len(entries) && entries[hi].position().compare(c) < 0; width *= 2 {
		lo = hi + 1
		hi += width
	}
	f.at = search(entries, lo, min(hi, len(entries)), c)
}

package store

import "slices"

// ordered is a position in a tree.
type ordered interface {
	// compare is cut.compare for the position.
	compare(cut) int
	// at returns the cut before the position.
	at() cut
}

// entry is what a tree holds, in the order of positions of type K.
type entry[K ordered] interface {
	position() K
	// weight is added up over parts of the tree. It never changes.
	weight() Sum
}

// fanout bounds nodes: a leaf has at most so many entries, an inner node so many
// children. Both are even. But for the root all have at least half of it.
type fanout struct{ leaf, inner int }

// tree is an ordered set of entries. It is a value, and immutable: what changes it
// returns another one. The zero tree is empty.
type tree[K ordered, E entry[K]] struct {
	// root is nil if there are no entries.
	root *node[K, E]
	sum  Sum
}

// node is a leaf with entries or an inner node with children. All leaves are at
// the same depth.
type node[K ordered, E entry[K]] struct {
	entries  []E
	children []child[K, E]
}

// child is a node as its parent sees it.
type child[K ordered, E entry[K]] struct {
	// first is not behind any entry of the child, and behind all of the child
	// before. It is not always the position of an entry, for that one can have gone. It is
	// not looked at in the first child.
	first K
	node  *node[K, E]
	sum   Sum
}

// Sum is taken over objects.
type Sum struct {
	// Objects is how many there are.
	Objects int
	// ItemSize is the sum of theirs, in bytes.
	ItemSize int64
	// Memory is about how much of it they take, without what is made for answers.
	Memory int64
}

func (s Sum) plus(t Sum) Sum {
	return Sum{s.Objects + t.Objects, s.ItemSize + t.ItemSize, s.Memory + t.Memory}
}

func (s Sum) minus(t Sum) Sum {
	return Sum{s.Objects - t.Objects, s.ItemSize - t.ItemSize, s.Memory - t.Memory}
}

func sumOf[K ordered, E entry[K]](entries []E) Sum {
	var s Sum
	for _, e := range entries {
		s = s.plus(e.weight())
	}
	return s
}

func (n *node[K, E]) sum() Sum {
	s := sumOf[K](n.entries)
	for i := range n.children {
		s = s.plus(n.children[i].sum)
	}
	return s
}

func (n *node[K, E]) leaf() bool { return n.children == nil }

// len is the number of entries or children.
func (n *node[K, E]) len() int { return len(n.entries) + len(n.children) }

// before returns how many entries of a leaf are before the cut.
func (n *node[K, E]) before(c cut) int {
	return search(n.entries, 0, len(n.entries), c)
}

// search returns the first of entries[lo:hi] that is not before the cut, or hi.
func search[K ordered, E entry[K]](entries []E, lo, hi int, c cut) int {
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if entries[mid].position().compare(c) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// under returns the child that the cut lies in, from the child lo on. That is also
// where an entry right behind the cut is or would be.
func (n *node[K, E]) under(lo int, c cut) int {
	lo++
	for hi := len(n.children); lo < hi; {
		mid := int(uint(lo+hi) / 2)
		if n.children[mid].first.compare(c) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// get returns the entry right behind the cut, if its position is that of the cut.
func (t tree[K, E]) get(c cut) (found E, ok bool) {
	if t.root == nil {
		return found, false
	}
	n := t.root
	for !n.leaf() {
		n = n.children[n.under(0, c)].node
	}
	if i := n.before(c); i < len(n.entries) && n.entries[i].position().compare(c) == 0 {
		return n.entries[i], true
	}
	return found, false
}

// first returns the first entry behind the cut.
func (t tree[K, E]) first(c cut) (found E, ok bool) {
	if t.root == nil {
		return found, false
	}
	t.root.ascend(&c, nil, new(int), func(e E) bool {
		found, ok = e, true
		return false
	})
	return found, ok
}

// before returns the sum over all entries before the cut.
func (t tree[K, E]) before(c cut) (s Sum) {
	n, total := t.root, t.sum
	if n == nil {
		return s
	}
	for !n.leaf() {
		i := n.under(0, c)
		for j := range n.children[:i] {
			s = s.plus(n.children[j].sum)
		}
		n, total = n.children[i].node, n.children[i].sum
	}
	// Entries are all over the memory, so as few of them as possible are looked at.
	i := n.before(c)
	if i <= len(n.entries)/2 {
		return s.plus(sumOf[K](n.entries[:i]))
	}
	return s.plus(total.minus(sumOf[K](n.entries[i:])))
}

// between returns the sum over the entries between two cuts.
func (t tree[K, E]) between(lo, hi cut) Sum {
	s := t.before(hi).minus(t.before(lo))
	if s.Objects <= 0 {
		return Sum{}
	}
	return s
}

// ascend visits the entries between two cuts in order, until visit returns false.
// It adds the number of nodes that it has looked at to nodes.
func (t tree[K, E]) ascend(lo, hi cut, nodes *int, visit func(E) bool) {
	if t.root != nil {
		t.root.ascend(&lo, &hi, nodes, visit)
	}
}

// ascend is without a cut where all of the node is on the right side of it, so that
// nothing is compared there.
func (n *node[K, E]) ascend(lo, hi *cut, nodes *int, visit func(E) bool) bool {
	*nodes++
	if n.leaf() {
		i, j := 0, len(n.entries)
		if lo != nil {
			i = n.before(*lo)
		}
		if hi != nil {
			j = n.before(*hi)
		}
		for ; i < j; i++ {
			if !visit(n.entries[i]) {
				return false
			}
		}
		return true
	}
	i, j := 0, len(n.children)-1
	if lo != nil {
		i = n.under(0, *lo)
	}
	if hi != nil {
		j = n.under(0, *hi)
	}
	for ; i <= j; i++ {
		var above *cut
		if i == j {
			above = hi
		}
		if !n.children[i].node.ascend(lo, above, nodes, visit) {
			return false
		}
		lo = nil
	}
	return true
}

// put returns the tree with the entry, in place of the one at its position if there
// is one.
func (t tree[K, E]) put(f fanout, e E) (with tree[K, E], previous E, replaced bool) {
	if t.root == nil {
		entries := []E{e}
		return tree[K, E]{&node[K, E]{entries: entries}, sumOf[K](entries)}, previous, false
	}
	root, right, previous, replaced := t.root.put(f, e, e.position().at())
	with = tree[K, E]{root, changed[K](t.sum, e, previous, replaced)}
	if right.node != nil {
		left := child[K, E]{node: root, sum: with.sum.minus(right.sum)}
		with.root = &node[K, E]{children: []child[K, E]{left, right}}
	}
	return with, previous, replaced
}

// changed returns the sum after a put.
func changed[K ordered, E entry[K]](s Sum, e, previous E, replaced bool) Sum {
	s = s.plus(e.weight())
	if replaced {
		s = s.minus(previous.weight())
	}
	return s
}

// put returns the node with the entry. If it is too large then, it is split, and
// the second half is right.
func (n *node[K, E]) put(f fanout, e E, at cut) (with *node[K, E], right child[K, E], previous E, replaced bool) {
	if n.leaf() {
		i := n.before(at)
		if i < len(n.entries) && n.entries[i].position().compare(at) == 0 {
			entries := slices.Clone(n.entries)
			previous, entries[i] = entries[i], e
			return &node[K, E]{entries: entries}, right, previous, true
		}
		with = &node[K, E]{entries: spliced(n.entries, i, i, e)}
		with, right = with.split(f)
		return with, right, previous, false
	}
	i := n.under(0, at)
	old := &n.children[i]
	below, second, previous, replaced := old.node.put(f, e, at)
	first := child[K, E]{old.first, below, changed[K](old.sum, e, previous, replaced)}
	if second.node == nil {
		return &node[K, E]{children: spliced(n.children, i, i+1, first)}, right, previous, replaced
	}
	first.sum = first.sum.minus(second.sum)
	with = &node[K, E]{children: spliced(n.children, i, i+1, first, second)}
	with, right = with.split(f)
	return with, right, previous, replaced
}

// spliced returns a copy of s, of just the right size, with values in place of s[i:j].
func spliced[S any](s []S, i, j int, values ...S) []S {
	out := make([]S, len(s)-(j-i)+len(values))
	copy(out, s[:i])
	copy(out[i:], values)
	copy(out[i+len(values):], s[j:])
	return out
}

// split halves a node that is too large. It is new, nobody else has it.
func (n *node[K, E]) split(f fanout) (left *node[K, E], right child[K, E]) {
	if len(n.entries) <= f.leaf && len(n.children) <= f.inner {
		return n, right
	}
	left, second := &node[K, E]{}, &node[K, E]{}
	if n.leaf() {
		half := len(n.entries) / 2
		left.entries, second.entries = slices.Clone(n.entries[:half]), slices.Clone(n.entries[half:])
		right.first = second.entries[0].position()
	} else {
		half := len(n.children) / 2
		left.children, second.children = slices.Clone(n.children[:half]), slices.Clone(n.children[half:])
		right.first = second.children[0].first
	}
	right.node, right.sum = second, second.sum()
	return left, right
}

// delete returns the tree without the entry right behind the cut, if its position is
// that of the cut.
func (t tree[K, E]) delete(f fanout, at cut) (without tree[K, E], previous E, found bool) {
	if t.root == nil {
		return t, previous, false
	}
	root, previous, found := t.root.delete(f, at)
	if !found {
		return t, previous, false
	}
	for len(root.children) == 1 {
		root = root.children[0].node
	}
	if root.len() == 0 {
		return without, previous, true
	}
	return tree[K, E]{root, t.sum.minus(previous.weight())}, previous, true
}

// delete returns the node without the entry. It can be too small then.
func (n *node[K, E]) delete(f fanout, at cut) (without *node[K, E], previous E, found bool) {
	if n.leaf() {
		i := n.before(at)
		if i == len(n.entries) || n.entries[i].position().compare(at) != 0 {
			return nil, previous, false
		}
		return &node[K, E]{entries: spliced(n.entries, i, i+1)}, n.entries[i], true
	}
	i := n.under(0, at)
	old := &n.children[i]
	below, previous, found := old.node.delete(f, at)
	if !found {
		return nil, previous, false
	}
	rest := child[K, E]{old.first, below, old.sum.minus(previous.weight())}
	if len(below.entries) >= f.leaf/2 || len(below.children) >= f.inner/2 {
		return &node[K, E]{children: spliced(n.children, i, i+1, rest)}, previous, true
	}
	// What is too small is joined with the child before or behind; an inner node has
	// at least two.
	if i == 0 {
		first, second := join(f, rest, n.children[1])
		return n.with(0, first, second), previous, true
	}
	first, second := join(f, n.children[i-1], rest)
	return n.with(i-1, first, second), previous, true
}

// with returns the inner node with first, and second if there is one, in place of two
// children.
func (n *node[K, E]) with(i int, first, second child[K, E]) *node[K, E] {
	if second.node == nil {
		return &node[K, E]{children: spliced(n.children, i, i+2, first)}
	}
	return &node[K, E]{children: spliced(n.children, i, i+2, first, second)}
}

// join makes one child of two neighbours, or two of even size if there is too much
// for one.
func join[K ordered, E entry[K]](f fanout, a, b child[K, E]) (first, second child[K, E]) {
	both := &node[K, E]{}
	if a.node.leaf() {
		both.entries = slices.Concat(a.node.entries, b.node.entries)
	} else {
		both.children = slices.Concat(a.node.children, b.node.children)
	}
	left, second := both.split(f)
	return child[K, E]{a.first, left, a.sum.plus(b.sum).minus(second.sum)}, second
}

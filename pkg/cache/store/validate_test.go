package store

import (
	"slices"
	"testing"
)

// validate checks what tree.go promises of a tree, and returns its entries.
func validate[K ordered, E entry[K]](t testing.TB, f fanout, tree tree[K, E]) []E {
	t.Helper()
	if tree.root == nil {
		if tree.sum != (Sum{}) {
			t.Fatalf("an empty tree has sum %v", tree.sum)
		}
		return nil
	}
	depth := -1
	entries := validateNode(t, f, tree.root, tree.sum, 0, &depth, true)
	for i := 1; i < len(entries); i++ {
		if entries[i].position().compare(entries[i-1].position().at()) <= 0 {
			t.Fatalf("%v is behind %v", entries[i].position(), entries[i-1].position())
		}
	}
	return entries
}

func validateNode[K ordered, E entry[K]](t testing.TB, f fanout, n *node[K, E], sum Sum, level int, depth *int, leftmost bool) []E {
	t.Helper()
	if n.sum() != sum {
		t.Fatalf("a node's sum is %v, its parent has %v", n.sum(), sum)
	}
	if n.leaf() {
		if *depth < 0 {
			*depth = level
		}
		if level != *depth {
			t.Fatalf("leaves at depth %d and %d", level, *depth)
		}
		if len(n.entries) > f.leaf || (level > 0 && len(n.entries) < f.leaf/2) || len(n.entries) == 0 {
			t.Fatalf("a leaf at depth %d has %d entries", level, len(n.entries))
		}
		return n.entries
	}
	if n.entries != nil {
		t.Fatal("a node has both entries and children")
	}
	least := f.inner / 2
	if level == 0 {
		least = 2
	}
	if len(n.children) > f.inner || len(n.children) < least {
		t.Fatalf("an inner node at depth %d has %d children", level, len(n.children))
	}
	var entries []E
	for i := range n.children {
		c := &n.children[i]
		below := validateNode(t, f, c.node, c.sum, level+1, depth, leftmost && i == 0)
		if i > 0 || !leftmost {
			if below[0].position().compare(c.first.at()) < 0 {
				t.Fatalf("%v is in a child from %v on", below[0].position(), c.first)
			}
			if len(entries) > 0 && entries[len(entries)-1].position().compare(c.first.at()) >= 0 {
				t.Fatalf("%v is before a child from %v on", entries[len(entries)-1].position(), c.first)
			}
			// Joining nodes relies on this.
			if !c.node.leaf() && c.node.children[0].first.compare(c.first.at()) != 0 {
				t.Fatalf("a child from %v on begins at %v", c.first, c.node.children[0].first)
			}
		}
		entries = append(entries, below...)
	}
	return entries
}

// validateSnapshot checks the trees, and that the indexes have what they should.
func validateSnapshot(t testing.TB, f fanout, s *Snapshot) {
	t.Helper()
	objects := validate(t, f, s.objects)
	if len(s.postings) != len(s.indexes) {
		t.Fatalf("%d indexes have %d trees", len(s.indexes), len(s.postings))
	}
	for i, index := range s.indexes {
		want := map[posting]bool{}
		for _, o := range objects {
			index.each(o, func(value string) { want[posting{value, o.Key}] = true })
		}
		got := validate(t, f, s.postings[i])
		if len(got) != len(want) || slices.ContainsFunc(got, func(p posting) bool { return !want[p] }) {
			t.Fatalf("index %v has %v instead of %v", index, got, want)
		}
	}
}

package request

import (
	"slices"
	"strings"
)

// bitset is a set of terms.
type bitset struct {
	words []uint64
	// blocks has a bit for each 64th of the words that is not all zero.
	blocks uint64
}

func newBitset(words int) *bitset { return &bitset{words: make([]uint64, words)} }

// blockWords is how many words a bit of blocks stands for.
func blockWords(words int) int { return (words + 63) / 64 }

func (b *bitset) set(i int) {
	b.words[i/64] |= 1 << (i % 64)
	b.blocks |= 1 << (i / 64 / blockWords(len(b.words)))
}

func (b *bitset) union(other *bitset) *bitset {
	u := &bitset{words: slices.Clone(b.words), blocks: b.blocks | other.blocks}
	for w, word := range other.words {
		u.words[w] |= word
	}
	return u
}

// dimension has, for each value that some term names, the terms it satisfies.
type dimension[K comparable] struct {
	// used is false if no term cares.
	used bool
	// any are the terms that do not care. They are in all sets, too.
	any  *bitset
	sets map[K]*bitset
}

func newDimension[K comparable](words int, all []alternative, valuesOf func(alternative) []K) dimension[K] {
	d := dimension[K]{any: newBitset(words), sets: map[K]*bitset{}}
	for i, alt := range all {
		if alt.padding() {
			continue
		}
		values := valuesOf(alt)
		if len(values) == 0 {
			d.any.set(i)
		}
		for _, value := range values {
			addTo(d.sets, value, i, words)
			d.used = true
		}
	}
	for value, set := range d.sets {
		d.sets[value] = set.union(d.any)
	}
	return d
}

// spread has every value satisfy what value all satisfies.
func (d *dimension[K]) spread(all K) {
	wild, ok := d.sets[all]
	if !ok {
		return
	}
	for value, set := range d.sets {
		d.sets[value] = set.union(wild)
	}
	d.any = wild
}

func addTo[K comparable](sets map[K]*bitset, value K, term, words int) {
	set, ok := sets[value]
	if !ok {
		set = newBitset(words)
	}
	set.set(term)
	sets[value] = set
}

func (d *dimension[K]) probe(value K, p *probe) {
	if !d.used {
		return
	}
	set, ok := d.sets[value]
	if !ok {
		set = d.any
	}
	p.one(set)
}

// nameDimension is the one of client names, with exact names and prefixes. What
// is behind the first "*" of a pattern is left to be verified.
type nameDimension struct {
	used     bool
	exact    map[string]*bitset
	prefixes *prefixNode
}

// prefixNode is a node of a trie over the prefixes. Its set has the terms of all
// prefixes that end here or before.
type prefixNode struct {
	set      *bitset
	children []prefixEdge
}

type prefixEdge struct {
	label byte
	node  *prefixNode
}

func newNameDimension(words int, all []alternative) nameDimension {
	d := nameDimension{exact: map[string]*bitset{}, prefixes: &prefixNode{set: newBitset(words)}}
	for i, alt := range all {
		if alt.padding() {
			continue
		}
		if len(alt.clients.UserAgents) == 0 {
			d.prefixes.set.set(i)
		}
		for _, pattern := range alt.clients.UserAgents {
			d.used = true
			if prefix, _, found := strings.Cut(pattern, "*"); found {
				d.prefixes.insert(prefix, words).set.set(i)
				continue
			}
			addTo(d.exact, pattern, i, words)
		}
	}
	d.prefixes.inherit()
	for name, set := range d.exact {
		d.exact[name] = set.union(d.prefixes.find(name))
	}
	return d
}

func (n *prefixNode) insert(prefix string, words int) *prefixNode {
	for i := range len(prefix) {
		next := n.child(prefix[i])
		if next == nil {
			next = &prefixNode{set: newBitset(words)}
			n.children = append(n.children, prefixEdge{prefix[i], next})
		}
		n = next
	}
	return n
}

func (n *prefixNode) child(label byte) *prefixNode {
	for i := range n.children {
		if n.children[i].label == label {
			return n.children[i].node
		}
	}
	return nil
}

// inherit makes every set include those of the prefixes before it.
func (n *prefixNode) inherit() {
	for _, edge := range n.children {
		edge.node.set = edge.node.set.union(n.set)
		edge.node.inherit()
	}
}

func (n *prefixNode) find(name string) *bitset {
	for i := range len(name) {
		next := n.child(name[i])
		if next == nil {
			break
		}
		n = next
	}
	return n.set
}

func (d *nameDimension) probe(name string, p *probe) {
	if !d.used {
		return
	}
	set, ok := d.exact[name]
	if !ok {
		set = d.prefixes.find(name)
	}
	p.one(set)
}

const (
	// probeSets holds twelve dimensions, of which three can have several sets.
	probeSets = 28
	// probeReserve is what the dimensions behind the groups of a user need.
	probeReserve = 5
)

// probe is what one request is looked up by: the intersection of unions of sets.
// It lives on the stack.
type probe struct {
	sets [probeSets]*bitset
	// ends has where the sets of each dimension end.
	ends       [probeSets]uint8
	dimensions int
	n          int
}

// one adds a dimension with one set.
func (p *probe) one(set *bitset) {
	p.sets[p.n] = set
	p.n++
	p.ends[p.dimensions] = uint8(p.n)
	p.dimensions++
}

// any adds a dimension to which or may add sets.
func (p *probe) any(set *bitset) { p.one(set) }

// or adds a set to the last dimension.
func (p *probe) or(set *bitset) {
	switch {
	case set == nil:
	case p.n >= probeSets-probeReserve:
		// A user of many groups that rules name; the last places are for the
		// dimensions to come.
		p.sets[p.n-1] = p.sets[p.n-1].union(set)
	default:
		p.sets[p.n] = set
		p.n++
		p.ends[p.dimensions-1] = uint8(p.n)
	}
}

// blocks returns the blocks in which the intersection may have terms.
func (p *probe) blocks() uint64 {
	live := ^uint64(0)
	i := uint8(0)
	for _, end := range p.ends[:p.dimensions] {
		var union uint64
		for ; i < end; i++ {
			union |= p.sets[i].blocks
		}
		live &= union
	}
	return live
}

// word returns word w of the intersection.
func (p *probe) word(w int) uint64 {
	live := ^uint64(0)
	i := uint8(0)
	for _, end := range p.ends[:p.dimensions] {
		var union uint64
		for ; i < end; i++ {
			union |= p.sets[i].words[w]
		}
		live &= union
		if live == 0 {
			return 0
		}
	}
	return live
}

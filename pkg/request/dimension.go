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
	// zero is what the zero value satisfies: the core group, no namespace. It is asked
	// for most, and a map costs more than all else in a lookup.
	zero *bitset
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
	d.zero = d.find(*new(K))
	return d
}

// find returns the terms that a value satisfies.
func (d *dimension[K]) find(value K) *bitset {
	if set, ok := d.sets[value]; ok {
		return set
	}
	return d.any
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
	d.zero = d.find(*new(K))
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
	switch {
	case !d.used:
	case value == *new(K):
		p.one(d.zero)
	default:
		p.one(d.find(value))
	}
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
	// probeDimensions is how many dimensions there are.
	probeDimensions = 12
	// probeAlternatives holds the sets of the three dimensions that can have several:
	// five for a subresource, a user's groups, three for a service account.
	probeAlternatives = 20
	// probeReserve is what the dimension behind the groups of a user needs.
	probeReserve = 1
)

// probe is what one request is looked up by: the intersection of sets, and of unions
// of sets. It lives on the stack.
type probe struct {
	// sets are of the dimensions that have one each.
	sets [probeDimensions]*bitset
	n    int
	// live has the blocks that are in all of sets.
	live uint64
	// alternatives are the sets of the others, ends where those of each end.
	alternatives [probeAlternatives]*bitset
	ends         [3]int
	unions       int
}

func newProbe() probe { return probe{live: ^uint64(0)} }

// one adds a dimension with one set.
func (p *probe) one(set *bitset) {
	p.sets[p.n] = set
	p.n++
	p.live &= set.blocks
}

// any adds a dimension to which or may add sets.
func (p *probe) any(set *bitset) {
	end := 0
	if p.unions > 0 {
		end = p.ends[p.unions-1]
	}
	p.alternatives[end] = set
	p.ends[p.unions] = end + 1
	p.unions++
}

// or adds a set to the last dimension.
func (p *probe) or(set *bitset) {
	end := &p.ends[p.unions-1]
	switch {
	case set == nil:
	case *end >= probeAlternatives-probeReserve:
		// A user of many groups that rules name; the last place is for the dimension
		// to come.
		p.alternatives[*end-1] = p.alternatives[*end-1].union(set)
	default:
		p.alternatives[*end] = set
		*end++
	}
}

// blocks returns the blocks in which the intersection may have terms.
func (p *probe) blocks() uint64 {
	live, i := p.live, 0
	for _, end := range p.ends[:p.unions] {
		var union uint64
		for ; i < end; i++ {
			union |= p.alternatives[i].blocks
		}
		live &= union
	}
	return live
}

// word returns word w of the intersection.
func (p *probe) word(w int) uint64 {
	live := ^uint64(0)
	for _, set := range p.sets[:p.n] {
		if live &= set.words[w]; live == 0 {
			return 0
		}
	}
	i := 0
	for _, end := range p.ends[:p.unions] {
		var union uint64
		for ; i < end; i++ {
			union |= p.alternatives[i].words[w]
		}
		live &= union
	}
	return live
}

package request

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// Entry is what an Index finds: requests that Match selects, without those that
// Except selects. An empty Match selects all, an empty Except none.
type Entry struct {
	Match, Except v1alpha1.Match
	// SpareVital passes over vital requests (see Attributes.Vital).
	SpareVital bool
}

// Index finds, among many entries, those that select a request. It is immutable.
//
// Every alternative of every entry is a term, and has a bit. For every dimension
// (client name, verb, resource, user, ...) and every value that some term names
// there is the set of terms that this value satisfies; terms that do not care
// are in all sets of the dimension. The terms that hold are the intersection of
// one set a dimension. Terms that care about the same things lie side by side, so
// that most blocks of the sets are empty in some dimension, and are passed over:
// what 500 entries cost is little more than what the 3 cost that match (see
// BenchmarkIndex).
type Index struct {
	entries []indexEntry
	terms   []term
	words   int

	clientNames nameDimension
	verbs       dimension[string]
	groups      dimension[string]
	// resources are for requests without subresource, and have what "*" selects in
	// all sets; subresources are for the others.
	resources    dimension[string]
	subresources dimension[resourceKey]
	namespaces   dimension[string]
	lists        dimension[listKey]
	listSets     [listKeyCount]*bitset
	users        dimension[string]
	userGroups   dimension[string]
	accounts     dimension[string]
	classes      dimension[string]
	priorities   dimension[v1alpha1.Priority]
	// nonResource are the terms that can hold outside of the resource API, resource
	// those that can inside.
	nonResource, resource *bitset
}

type indexEntry struct {
	matcher, except *Matcher
	spareVital      bool
}

// term is one alternative of an entry.
type term struct {
	entry int32
	// verify tells that the sets do not say it all: Matches must be asked.
	verify bool
}

type resourceKey struct{ resource, subresource string }

// listKey numbers scopes and shapes together; 0 is no list.
type listKey int

const listKeyCount = 9

func listKeyOf(scope v1alpha1.ListScope, shape v1alpha1.ListShape) listKey {
	var key listKey
	switch shape {
	case v1alpha1.ListShapeUnbounded:
		key = 1
	case v1alpha1.ListShapeRV0:
		key = 2
	case v1alpha1.ListShapeSelector:
		key = 3
	case v1alpha1.ListShapePaginated:
		key = 4
	default:
		return 0
	}
	if scope == v1alpha1.ListScopeNamespace {
		key += 4
	}
	return key
}

// NewIndex compiles entries; ids are their positions.
func NewIndex(entries []Entry) *Index {
	x := &Index{}
	var alternatives []alternative
	for i := range entries {
		match := &entries[i].Match
		e := indexEntry{matcher: NewMatcher(match), except: NewMatcher(&entries[i].Except), spareVital: entries[i].SpareVital}
		x.entries = append(x.entries, e)
		requests := match.Requests
		if len(requests) == 0 {
			requests = []v1alpha1.RequestMatch{{}}
		}
		for j := range requests {
			alternatives = append(alternatives, alternative{int32(i), &match.Clients, &requests[j]})
		}
	}
	alternatives = aligned(alternatives)
	for _, a := range alternatives {
		x.terms = append(x.terms, term{entry: a.entry, verify: !a.padding() && a.needsVerifying()})
	}
	x.words = (len(x.terms) + 63) / 64
	x.compile(alternatives)
	return x
}

// alternative is one of the ways in which an entry can match. The zero
// alternative is padding: it is in no set.
type alternative struct {
	entry   int32
	clients *v1alpha1.ClientMatch
	request *v1alpha1.RequestMatch
}

func (a alternative) padding() bool { return a.request == nil }

// largeFamily is from how many alternatives on it is worth some empty places to
// give them words of their own: half a word.
const largeFamily = 32

// aligned sorts alternatives by what they care about, and then by verbs and
// resources. Large families, which care about the same, have words of their own,
// the others share some: so most words are empty in some dimension, and passed
// over.
func aligned(all []alternative) []alternative {
	slices.SortStableFunc(all, func(a, b alternative) int {
		return cmp.Or(cmp.Compare(a.cares(), b.cares()), slices.Compare(a.request.Verbs, b.request.Verbs), slices.Compare(a.request.Resources, b.request.Resources))
	})
	var small, large []alternative
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].cares() == all[0].cares() {
			n++
		}
		if n < largeFamily {
			small = append(small, all[:n]...)
		} else {
			large = append(large, all[:n]...)
			large = append(large, make([]alternative, -len(large)&63)...)
		}
		all = all[n:]
	}
	if len(large) > 0 {
		small = append(small, make([]alternative, -len(small)&63)...)
	}
	return append(small, large...)
}

// cares has a bit for each dimension that the alternative looks at.
func (a alternative) cares() (mask int) {
	c, r := a.clients, a.request
	for i, n := range []int{
		len(r.Verbs), len(c.Priorities), len(c.Classes), len(r.ListShapes) + len(r.ListScope), len(r.APIGroups), len(r.NonResourceURLs),
		len(r.Namespaces), len(r.Resources), len(c.Groups), len(c.ServiceAccounts), len(c.Users), len(c.UserAgents),
	} {
		if n > 0 {
			mask |= 1 << i
		}
	}
	return mask
}

// needsVerifying tells what no set holds: address ranges, paths, and patterns
// that are not a prefix.
func (a alternative) needsVerifying() bool {
	c, r := a.clients, a.request
	if len(c.SourceCIDRs)+len(r.NonResourceURLs) > 0 {
		return true
	}
	for _, pattern := range c.UserAgents {
		if i := strings.Index(pattern, "*"); i >= 0 && i < len(pattern)-1 {
			return true
		}
	}
	return false
}

func (x *Index) compile(all []alternative) {
	x.nonResource, x.resource = newBitset(x.words), newBitset(x.words)
	for i, alt := range all {
		if alt.padding() {
			continue
		}
		matcher := requestMatcher{alt.request}
		if !matcher.ofResources() {
			x.nonResource.set(i)
		}
		if len(alt.request.NonResourceURLs) == 0 {
			x.resource.set(i)
		}
	}
	x.clientNames = newNameDimension(x.words, all)
	x.verbs = newDimension(x.words, all, func(a alternative) []string {
		verbs := wildcard(a.request.Verbs)
		if slices.Contains(verbs, "list") || slices.Contains(verbs, "watch") {
			verbs = append(slices.Clone(verbs), watchAsList)
		}
		return verbs
	})
	x.groups = newDimension(x.words, all, func(a alternative) []string { return wildcard(a.request.APIGroups) })
	x.resources = newDimension(x.words, all, func(a alternative) []string { return resourcesOf(a.request.Resources) })
	x.resources.spread("*")
	x.subresources = newDimension(x.words, all, func(a alternative) []resourceKey { return subresourcesOf(a.request.Resources) })
	x.namespaces = newDimension(x.words, all, func(a alternative) []string { return a.request.Namespaces })
	x.lists = newDimension(x.words, all, func(a alternative) []listKey { return listKeys(a.request) })
	for key := range x.listSets {
		x.listSets[key] = cmp.Or(x.lists.sets[listKey(key)], x.lists.any)
	}
	x.users = newDimension(x.words, all, func(a alternative) []string { return a.clients.Users })
	x.userGroups = newDimension(x.words, all, func(a alternative) []string { return a.clients.Groups })
	x.accounts = newDimension(x.words, all, func(a alternative) []string {
		var names []string
		for _, account := range a.clients.ServiceAccounts {
			// As in user names, so that they can be looked up without building a
			// string; "ns/*" is under "ns".
			names = append(names, strings.TrimSuffix(strings.Replace(account, "/", ":", 1), ":*"))
		}
		return names
	})
	x.classes = newDimension(x.words, all, func(a alternative) []string { return a.clients.Classes })
	x.priorities = newDimension(x.words, all, func(a alternative) []v1alpha1.Priority { return a.clients.Priorities })
}

// none is no resource's name.
const none = "/"

// resourcesOf returns the patterns without a subresource. Patterns that all have
// one select no such request.
func resourcesOf(patterns []string) []string {
	var names []string
	for _, pattern := range patterns {
		if !strings.Contains(pattern, "/") {
			names = append(names, pattern)
		}
	}
	if len(patterns) > 0 && len(names) == 0 {
		return []string{none}
	}
	return names
}

// subresourcesOf returns the patterns with a subresource.
func subresourcesOf(patterns []string) []resourceKey {
	var keys []resourceKey
	for _, pattern := range patterns {
		if resource, subresource, found := strings.Cut(pattern, "/"); found {
			keys = append(keys, resourceKey{resource, subresource})
		}
	}
	if len(patterns) > 0 && len(keys) == 0 {
		return []resourceKey{{none, none}}
	}
	return keys
}

// watchAsList is the verb of watches that start with the present state.
const watchAsList = "watch, as list"

// wildcard returns no values, which is any, if there is a "*" among them.
func wildcard(values []string) []string {
	for _, value := range values {
		if value == "*" {
			return nil
		}
	}
	return values
}

func listKeys(r *v1alpha1.RequestMatch) []listKey {
	if r.ListScope == "" && len(r.ListShapes) == 0 {
		return nil
	}
	scopes := []v1alpha1.ListScope{r.ListScope}
	if r.ListScope == "" {
		scopes = []v1alpha1.ListScope{v1alpha1.ListScopeCluster, v1alpha1.ListScopeNamespace}
	}
	shapes := r.ListShapes
	if len(shapes) == 0 {
		shapes = []v1alpha1.ListShape{v1alpha1.ListShapeUnbounded, v1alpha1.ListShapeRV0, v1alpha1.ListShapeSelector, v1alpha1.ListShapePaginated}
	}
	var keys []listKey
	for _, scope := range scopes {
		for _, shape := range shapes {
			keys = append(keys, listKeyOf(scope, shape))
		}
	}
	return keys
}

// Len returns the number of entries.
func (x *Index) Len() int { return len(x.entries) }

// Find appends the ids of the entries that select the request to hits, in
// ascending order. It allocates only if hits has too little capacity.
func (x *Index) Find(a *Attributes, hits []int32) []int32 {
	if x.words == 0 {
		return hits
	}
	p := newProbe()
	x.probe(a, &p)
	found := len(hits)
	size := blockWords(x.words)
	for blocks := p.blocks(); blocks != 0; blocks &= blocks - 1 {
		first := bits.TrailingZeros64(blocks) * size
		for w := first; w < min(first+size, x.words); w++ {
			hits = x.findIn(w, p.word(w), a, hits)
		}
	}
	slices.Sort(hits[found:])
	return hits[:found+len(slices.Compact(hits[found:]))]
}

// findIn appends the entries of the live terms of a word.
func (x *Index) findIn(w int, live uint64, a *Attributes, hits []int32) []int32 {
	for ; live != 0; live &= live - 1 {
		t := x.terms[w*64+bits.TrailingZeros64(live)]
		e := &x.entries[t.entry]
		if (a.Vital && e.spareVital) || (t.verify && !e.matcher.Matches(a)) || (!e.except.empty && e.except.Matches(a)) {
			continue
		}
		hits = append(hits, t.entry)
	}
	return hits
}

// probe looks the request up in all dimensions, the most telling first.
func (x *Index) probe(a *Attributes, p *probe) {
	x.clientNames.probe(a.ClientName, p)
	if a.IsResourceRequest {
		x.probeResource(a, p)
		p.one(x.resource)
	} else {
		x.verbs.probe(a.Verb, p)
		p.one(x.nonResource)
	}
	if x.userGroups.used || x.users.used || x.accounts.used {
		x.probeUser(a, p)
	}
	x.classes.probe(a.Class, p)
	x.priorities.probe(a.Priority, p)
}

func (x *Index) probeResource(a *Attributes, p *probe) {
	if a.Subresource == "" {
		x.resources.probe(a.Resource, p)
	} else if x.subresources.used {
		p.any(x.subresources.any)
		p.or(x.subresources.sets[resourceKey{a.Resource, a.Subresource}])
		p.or(x.subresources.sets[resourceKey{"*", a.Subresource}])
		p.or(x.subresources.sets[resourceKey{a.Resource, "*"}])
		p.or(x.subresources.sets[resourceKey{"*", "*"}])
	}
	verb := a.Verb
	if verb == "watch" && a.Scope != "" {
		verb = watchAsList
	}
	x.verbs.probe(verb, p)
	x.groups.probe(a.APIGroup, p)
	x.namespaces.probe(a.Namespace, p)
	if x.lists.used {
		p.one(x.listSets[listKeyOf(a.Scope, a.Shape)])
	}
}

func (x *Index) probeUser(a *Attributes, p *probe) {
	info := a.user()
	name := info.GetName()
	x.users.probe(name, p)
	if x.userGroups.used {
		p.any(x.userGroups.any)
		for _, group := range info.GetGroups() {
			p.or(x.userGroups.sets[group])
		}
	}
	if x.accounts.used {
		p.any(x.accounts.any)
		if namespace, _, ok := serviceAccountOf(name); ok {
			p.or(x.accounts.sets[namespace])
			p.or(x.accounts.sets[name[len(serviceaccount.ServiceAccountUsernamePrefix):]])
		}
	}
}

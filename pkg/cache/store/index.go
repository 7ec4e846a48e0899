package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Index is what objects can be found by besides their key. Indexes can be
// compared, and be keys of a map. The zero Index is the one by name.
type Index struct {
	kind  indexKind
	label string
	field int
}

type indexKind uint8

const (
	byName indexKind = iota
	byLabel
	byField
	byOwner
)

// NameIndex finds objects by metadata.name, across namespaces.
func NameIndex() Index { return Index{kind: byName} }

// LabelIndex finds objects by the value of a label. What lacks the label is not
// in it; what has it with no value is found by "".
func LabelIndex(key string) Index { return Index{kind: byLabel, label: key} }

// FieldIndex finds objects by Meta.Fields[i]. Fields always have a value, and ""
// is one: schedulers ask for pods with spec.nodeName="".
func FieldIndex(i int) Index { return Index{kind: byField, field: i} }

// OwnerIndex finds objects by the UID of any of their owners.
func OwnerIndex() Index { return Index{kind: byOwner} }

// String is for people.
func (i Index) String() string {
	switch i.kind {
	case byLabel:
		return "label " + i.label
	case byField:
		return fmt.Sprintf("field %d", i.field)
	case byOwner:
		return "owner"
	default:
		return "name"
	}
}

// values returns what the object is found by. Only of owners can there be more than
// one, and one of them can be there twice; more is those.
func (i Index) values(o *Object) (value string, ok bool, more []string) {
	switch i.kind {
	case byLabel:
		value, ok = o.Labels.Lookup(i.label)
	case byField:
		if ok = i.field >= 0 && i.field < len(o.Fields); ok {
			value = o.Fields[i.field]
		}
	case byOwner:
		more = o.Owners
	default:
		value, ok = o.Name, true
	}
	return value, ok, more
}

// each calls visit with what the object is found by.
func (i Index) each(o *Object, visit func(value string)) {
	value, ok, more := i.values(o)
	if ok {
		visit(value)
	}
	for _, value := range more {
		visit(value)
	}
}

// same tells that two versions of an object are found by the same.
func (i Index) same(a, b *Object) bool {
	v, okV, moreV := i.values(a)
	w, okW, moreW := i.values(b)
	return v == w && okV == okW && slices.Equal(moreV, moreW)
}

// finds tells whether the object is found by the value.
func (i Index) finds(o *Object, value string) bool {
	v, ok, more := i.values(o)
	return (ok && v == value) || slices.Contains(more, value)
}

// posting says that the object with that key is found by that value. It is all
// that is in the tree of an index.
type posting struct{ value, key string }

func (p posting) compare(c cut) int {
	if by := strings.Compare(p.value, c.value); by != 0 {
		return by
	}
	return c.compare(p.key)
}

func (p posting) at() cut { return cut{value: p.value, key: p.key} }

func (p posting) position() posting { return p }

func (p posting) weight() Sum { return Sum{Objects: 1} }

type postings = tree[posting, posting]

// reindex returns the postings after an object has changed from one version to
// another. Either can be nil.
func (i Index) reindex(f fanout, t postings, from, to *Object) postings {
	if from != nil && to != nil && i.same(from, to) {
		return t
	}
	if from != nil {
		i.each(from, func(value string) {
			t, _, _ = t.delete(f, posting{value, from.Key}.at())
		})
	}
	if to != nil {
		i.each(to, func(value string) {
			t, _, _ = t.put(f, posting{i.owned(t, value), to.Key})
		})
	}
	return t
}

// owned returns a string equal to value that keeps nothing else: the one that
// other postings with the value have, if there are any. A name is a part of the key,
// which stays anyway.
func (i Index) owned(t postings, value string) string {
	if i.kind == byName {
		return value
	}
	if p, ok := t.first(cut{value: value}); ok && p.value == value {
		return p.value
	}
	return strings.Clone(value)
}

// build returns the postings of objects.
func (i Index) build(f fanout, objects tree[name, *Object]) postings {
	// Objects come in key order, so only the values have to be sorted.
	keys := map[string][]string{}
	n := 0
	objects.ascend(cut{}, end, new(int), func(o *Object) bool {
		i.each(o, func(value string) {
			of := keys[value]
			if len(of) > 0 && of[len(of)-1] == o.Key {
				return
			}
			keys[value] = append(of, o.Key)
			n++
		})
		return true
	})
	all := make([]posting, 0, n)
	for _, value := range slices.Sorted(maps.Keys(keys)) {
		owned := i.owned(postings{}, value)
		for _, key := range keys[value] {
			all = append(all, posting{owned, key})
		}
	}
	return build[posting](f, all)
}

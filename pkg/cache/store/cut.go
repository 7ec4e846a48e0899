package store

import "strings"

// cut is a place between the entries of a tree: before the first one that is not
// less than the key, or behind the last one that starts with it. In the tree of
// an index it lies among the entries with the value.
type cut struct {
	value, key string
	behind     bool
}

// end lies behind all objects, or behind all entries of the value "".
var end = cut{behind: true}

// compare returns on which side of the cut the key is: -1 before it, 1 behind it,
// and 0 right behind it and equal to the cut's key.
func (c cut) compare(key string) int {
	if c.behind && strings.HasPrefix(key, c.key) {
		return -1
	}
	return strings.Compare(key, c.key)
}

// between returns the cuts around the keys from from on that start with prefix.
// The first lies behind the second if there are none by the order.
func between(value, prefix, from string) (lo, hi cut) {
	return cut{value: value, key: max(prefix, from)}, cut{value: value, key: prefix, behind: true}
}

// name is the position of an object: its key.
type name string

func (n name) compare(c cut) int { return c.compare(string(n)) }

func (n name) at() cut { return cut{key: string(n)} }

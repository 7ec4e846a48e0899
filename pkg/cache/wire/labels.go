package wire

import (
	"slices"
	"strings"
)

// Label is a label of an object.
type Label struct{ Key, Value string }

// Labels are the labels of an object, sorted by key. It implements labels.Labels
// of apimachinery, without a map for each object.
type Labels []Label

// Has implements labels.Labels.
func (l Labels) Has(key string) bool {
	_, ok := l.Lookup(key)
	return ok
}

// Get implements labels.Labels.
func (l Labels) Get(key string) string {
	value, _ := l.Lookup(key)
	return value
}

// Lookup implements labels.Labels.
func (l Labels) Lookup(key string) (value string, exists bool) {
	i, ok := slices.BinarySearchFunc(l, key, func(label Label, key string) int { return strings.Compare(label.Key, key) })
	if !ok {
		return "", false
	}
	return l[i].Value, true
}

package cache

import (
	"slices"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
)

// settings is how a resource is kept, and what for.
type settings struct {
	get, list, watch bool
	// labels have an index from the beginning; fields are the names of those that
	// have one, nil for all.
	labels, fields []string
	// compressAbove is the size of bodies that are kept compressed, in bytes.
	compressAbove int
	// history is how many changes are kept: how far back watches can begin, and
	// states be asked for.
	history int
}

// settingsOf reads a spec that has its defaults set.
func settingsOf(spec *v1alpha1.CachedResourceSpec) settings {
	s := settings{labels: spec.LabelIndexes, fields: spec.FieldIndexes, compressAbove: v1alpha1.DefaultCompressAbove, history: v1alpha1.DefaultHistory}
	for _, verb := range spec.Verbs {
		switch verb {
		case v1alpha1.CachedGet:
			s.get = true
		case v1alpha1.CachedList:
			s.list = true
		case v1alpha1.CachedWatch:
			s.watch = true
		}
	}
	if spec.CompressAbove != nil {
		s.compressAbove = int(spec.CompressAbove.Value())
	}
	if spec.History != nil {
		s.history = int(*spec.History)
	}
	return s
}

// answers tells whether requests of that verb are answered.
func (s *settings) answers(verb string) bool {
	switch verb {
	case "get":
		return s.get
	case "list":
		return s.list
	default:
		return s.watch
	}
}

// indexes are those that a resource has from the beginning.
func (s *settings) indexes(r *Resource) (indexes []store.Index) {
	if r.Namespaced {
		indexes = append(indexes, store.NameIndex())
	}
	for i := range r.Fields {
		if len(s.fields) == 0 || slices.Contains(s.fields, r.Fields[i].Name) {
			indexes = append(indexes, store.FieldIndex(i))
		}
	}
	for _, label := range s.labels {
		indexes = append(indexes, store.LabelIndex(label))
	}
	return indexes
}

// Package selection is about which objects a request asks for: its namespace and
// its label and field selectors, read as kube-apiserver reads them, and how to
// find what they select without looking at everything.
//
// A Selection is made once for a request and is used for lists and watches alike.
// What this package does not understand is an error; the apiserver then answers,
// and says what is wrong in its own words.
package selection

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// ErrNotUnderstood is for selectors that are invalid, or ask for fields that the
// kind does not have.
var ErrNotUnderstood = errors.New("selector not understood")

// Selection is a set of objects of one resource. It is immutable.
type Selection struct {
	// namespace is that of the path; empty for all.
	namespace string
	// name is the only one that can be selected; empty for any.
	name string
	// nothing tells that no object can be selected.
	nothing bool

	labels labels.Selector // nil: any
	fields []term

	candidates []Candidate
}

// Candidate is an index, and its values of which every selected object has one.
type Candidate struct {
	Index  store.Index
	Values []string
}

// term is a requirement on a field.
type term struct {
	field field
	value string
	not   bool
}

// field is a position in Kind.Fields, or one of those that all kinds have.
type field int

const (
	metadataName      field = -1
	metadataNamespace field = -2
)

func (f field) of(o *store.Object) string {
	switch f {
	case metadataName:
		return o.Name
	case metadataNamespace:
		return o.Namespace
	default:
		return o.Fields[f]
	}
}

// Parse reads selectors as they stand in a query. Name is that of a request for a
// single object (a watch with a name in its path), otherwise empty. Errors match
// ErrNotUnderstood.
func Parse(kind *wire.Kind, namespaced bool, namespace, name, labelSelector, fieldSelector string) (*Selection, error) {
	s := &Selection{namespace: namespace, name: name}
	if labelSelector != "" {
		parsed, err := labels.Parse(labelSelector)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotUnderstood, err)
		}
		if err := s.requireLabels(parsed); err != nil {
			return nil, err
		}
	}
	if fieldSelector != "" {
		parsed, err := fields.ParseSelector(fieldSelector)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotUnderstood, err)
		}
		if err := s.requireFields(kind, namespaced, parsed); err != nil {
			return nil, err
		}
	}
	if s.name != "" && namespace == "" && namespaced {
		s.candidates = append(s.candidates, Candidate{store.NameIndex(), []string{s.name}})
	}
	return s, nil
}

func (s *Selection) requireLabels(parsed labels.Selector) error {
	requirements, selectable := parsed.Requirements()
	if !selectable {
		s.nothing = true
		return nil
	}
	if len(requirements) == 0 {
		return nil
	}
	s.labels = parsed
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			s.candidates = append(s.candidates, Candidate{store.LabelIndex(r.Key()), r.Values().List()})
		}
	}
	return nil
}

func (s *Selection) requireFields(kind *wire.Kind, namespaced bool, parsed fields.Selector) error {
	for _, r := range parsed.Requirements() {
		f, ok := find(kind, namespaced, r.Field)
		if !ok {
			return fmt.Errorf("%w: no field %q of %s", ErrNotUnderstood, r.Field, kind.Kind)
		}
		t := term{field: f, value: r.Value, not: r.Operator == selection.NotEquals}
		if t.not {
			s.fields = append(s.fields, t)
			continue
		}
		switch f {
		case metadataName:
			switch {
			case r.Value == "":
				// kube-apiserver takes it for any name in some places, for none in others.
				return fmt.Errorf("%w: empty metadata.name", ErrNotUnderstood)
			case s.name != "" && s.name != r.Value:
				s.nothing = true
			}
			s.name = r.Value
		case metadataNamespace:
			s.fields = append(s.fields, t)
			if s.namespace != "" && s.namespace != r.Value {
				s.nothing = true
			}
		default:
			s.fields = append(s.fields, t)
			s.candidates = append(s.candidates, Candidate{store.FieldIndex(int(f)), []string{r.Value}})
		}
	}
	return nil
}

func find(kind *wire.Kind, namespaced bool, name string) (field, bool) {
	switch {
	case name == "metadata.name":
		return metadataName, true
	case name == "metadata.namespace" && namespaced:
		return metadataNamespace, true
	}
	for i := range kind.Fields {
		if kind.Fields[i].Name == name {
			return field(i), true
		}
	}
	return 0, false
}

// Everything tells that all objects of the namespace, or of all, are selected.
func (s *Selection) Everything() bool {
	return !s.nothing && s.name == "" && s.labels == nil && len(s.fields) == 0
}

// Nothing tells that no object can be selected.
func (s *Selection) Nothing() bool { return s.nothing }

// Namespace is the one that objects are selected from; empty for all.
func (s *Selection) Namespace() string { return s.namespace }

// Name is the only name that can be selected; empty for any.
func (s *Selection) Name() string { return s.name }

// Prefix is what keys of selected objects begin with.
func (s *Selection) Prefix() string {
	if s.namespace == "" {
		return ""
	}
	return s.namespace + "/"
}

// Candidates are indexes that can find what is selected, in no order.
func (s *Selection) Candidates() []Candidate { return s.candidates }

// Matches tells whether the object is selected.
func (s *Selection) Matches(o *store.Object) bool {
	if s.nothing || (s.namespace != "" && o.Namespace != s.namespace) || (s.name != "" && o.Name != s.name) {
		return false
	}
	for i := range s.fields {
		if t := &s.fields[i]; (t.field.of(o) == t.value) == t.not {
			return false
		}
	}
	return s.labels == nil || s.labels.Matches(o.Labels)
}

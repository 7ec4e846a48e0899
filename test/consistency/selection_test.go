package consistency

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// selection is what a list or watch asks for: a namespace, or all if it is empty,
// and selectors.
type selection struct {
	namespace, label, field string

	labels labels.Selector
	fields fields.Selector
}

// selecting returns a selection; the selectors are constants of this package.
func selecting(namespace, label, field string) selection {
	s := selection{namespace: namespace, label: label, field: field}
	var labelErr, fieldErr error
	s.labels, labelErr = labels.Parse(label)
	s.fields, fieldErr = fields.ParseSelector(field)
	if labelErr != nil || fieldErr != nil {
		panic(fmt.Sprint(labelErr, fieldErr))
	}
	return s
}

func (s selection) String() string {
	text := "all"
	if s.namespace != "" {
		text = "namespace " + s.namespace
	}
	if s.label != "" {
		text += ", label " + s.label
	}
	if s.field != "" {
		text += ", field " + s.field
	}
	return text
}

func (s selection) options() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: s.label, FieldSelector: s.field}
}

// matches tells whether an object is selected; one that is not there never is.
func (s selection) matches(o *object) bool {
	return o != nil && (s.namespace == "" || s.namespace == o.namespace) && s.labels.Matches(o.labels) && s.fields.Matches(o.fields)
}

// event is what a watcher gets.
type event struct {
	kind apiwatch.EventType
	identity
}

func (e event) String() string { return fmt.Sprintf("%s %v", e.kind, e.identity) }

// event returns what a change is to a watch with the selection: an object that begins
// to match is added, and one that ceases to is deleted, with the content from before
// at the resource version of the change. It is false if the change is nothing to it.
func (s selection) event(c change) (event, bool) {
	before, after := s.matches(c.before), s.matches(c.after)
	switch {
	case before && after:
		return event{apiwatch.Modified, c.after.identity}, true
	case after:
		return event{apiwatch.Added, c.after.identity}, true
	case before:
		gone := c.before.identity
		gone.rv = c.rv
		return event{apiwatch.Deleted, gone}, true
	}
	return event{}, false
}

// events returns what the whole of a history is to a watch, in order.
func (s selection) events(h *history) (all []event) {
	for _, c := range h.changes {
		if e, ok := s.event(c); ok {
			all = append(all, e)
		}
	}
	return all
}

package request

import (
	"cmp"
	"slices"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// Class is a compiled ClientClass.
type Class struct {
	Name     string
	Priority v1alpha1.Priority
	Reads    v1alpha1.ReadPolicy
	// expected is nil if everybody may have the class.
	expected *v1alpha1.Identities
}

// Unknown is the class of clients that no ClientClass matches.
var Unknown = &Class{Name: v1alpha1.ClassUnknown, Priority: v1alpha1.PriorityP4, Reads: v1alpha1.ReadPolicy{Mode: v1alpha1.ReadStrict}}

// Classifier tells which class a request belongs to. It is immutable.
type Classifier struct {
	// classes are in the order in which they win.
	classes []*Class
	index   *Index
}

// NewClassifier compiles ClientClasses.
func NewClassifier(objects []*v1alpha1.ClientClass) *Classifier {
	objects = slices.SortedFunc(slices.Values(objects), func(a, b *v1alpha1.ClientClass) int {
		return cmp.Or(cmp.Compare(b.Spec.Precedence, a.Spec.Precedence), cmp.Compare(a.Name, b.Name))
	})
	c := &Classifier{}
	var entries []Entry
	for _, o := range objects {
		c.classes = append(c.classes, &Class{Name: o.Name, Priority: o.Spec.Priority, Reads: o.Spec.Reads, expected: o.Spec.ExpectedIdentities})
		entries = append(entries, Entry{Match: o.Spec.Match})
	}
	c.index = NewIndex(entries)
	return c
}

// Classify returns the class of an authenticated request. If the class that
// matches expects other identities, the class is Unknown and claimed is the one
// that matched: the client says it is what it is not.
func (c *Classifier) Classify(a *Attributes) (class, claimed *Class) {
	var hits [8]int32
	found := c.index.Find(a, hits[:0])
	if len(found) == 0 {
		return Unknown, nil
	}
	class = c.classes[found[0]]
	if class.expected != nil && !expects(class.expected, a) {
		return Unknown, class
	}
	return class, nil
}

func expects(e *v1alpha1.Identities, a *Attributes) bool {
	info := a.user()
	return slices.Contains(e.Users, info.GetName()) || intersects(e.Groups, info.GetGroups()) ||
		matchesServiceAccount(e.ServiceAccounts, info.GetName())
}

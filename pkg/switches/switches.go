// Package switches is the emergency brake: it refuses writes, frozen requests or
// clients of low priority while a Switch object says so.
//
// Whatever keeps nodes and leaders alive is never refused: leases, reviews of
// credentials and rights, the status of nodes and pods. A switch is over at its
// time, whether or not anybody can be asked by then: the time is compared with
// every request.
package switches

import (
	"slices"
	"strings"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Refusal says which switch refuses a request.
type Refusal struct {
	Name      string
	Type      v1alpha1.SwitchType
	Reason    string
	ExpiresAt time.Time
}

// Set is a compiled set of switches. It is immutable; the zero value refuses
// nothing.
type Set struct{ switches []compiled }

type compiled struct {
	refusal Refusal
	match   *request.Matcher
	except  *request.Matcher
	// worst is the highest priority that is shed; empty for other types.
	worst v1alpha1.Priority
}

// New compiles switches; those without a time of expiry are not on, and those
// that divert requests (ForceGroup) are not for this package.
func New(objects []*v1alpha1.Switch) *Set {
	s := &Set{}
	for _, o := range objects {
		if o.Status.ExpiresAt == nil {
			continue
		}
		c := compiled{refusal: Refusal{Name: o.Name, Type: o.Spec.Type, Reason: o.Spec.Reason, ExpiresAt: o.Status.ExpiresAt.Time}}
		scope := &v1alpha1.SwitchScope{}
		switch {
		case o.Spec.Type == v1alpha1.SwitchReadOnly && o.Spec.ReadOnly != nil:
			scope = o.Spec.ReadOnly
		case o.Spec.Type == v1alpha1.SwitchFreeze && o.Spec.Freeze != nil:
			scope = o.Spec.Freeze
		case o.Spec.Type == v1alpha1.SwitchShedPriority && o.Spec.ShedPriority != nil:
			c.worst = o.Spec.ShedPriority.Priority
		case o.Spec.Type == v1alpha1.SwitchServeStale && o.Spec.ServeStale != nil:
			scope = o.Spec.ServeStale
		default:
			continue
		}
		c.match, c.except = request.NewMatcher(&scope.Match), request.NewMatcher(&scope.Except)
		s.switches = append(s.switches, c)
	}
	slices.SortFunc(s.switches, func(a, b compiled) int { return strings.Compare(a.refusal.Name, b.refusal.Name) })
	return s
}

// Refuse returns the first switch, by name, that refuses a classified request at
// the given time, and nil if there is none.
func (s *Set) Refuse(a *request.Attributes, now func() time.Time) *Refusal {
	if s == nil || len(s.switches) == 0 || exempt(a) {
		return nil
	}
	at := now()
	for i := range s.switches {
		c := &s.switches[i]
		if at.Before(c.refusal.ExpiresAt) && c.refuses(a) {
			return &c.refusal
		}
	}
	return nil
}

// ServesStale tells whether a switch lets a classified read be answered with what is
// known, however old, while upstream is away.
func (s *Set) ServesStale(a *request.Attributes, now func() time.Time) bool {
	if s == nil || len(s.switches) == 0 {
		return false
	}
	at := now()
	for i := range s.switches {
		c := &s.switches[i]
		if c.refusal.Type == v1alpha1.SwitchServeStale && at.Before(c.refusal.ExpiresAt) && c.matches(a) {
			return true
		}
	}
	return false
}

func (c *compiled) refuses(a *request.Attributes) bool {
	switch c.refusal.Type {
	case v1alpha1.SwitchServeStale:
		return false
	case v1alpha1.SwitchShedPriority:
		// P2 is less than P3.
		return a.Priority >= c.worst
	case v1alpha1.SwitchReadOnly:
		return writes(a) && c.matches(a)
	default:
		return c.matches(a)
	}
}

func (c *compiled) matches(a *request.Attributes) bool {
	return c.match.Matches(a) && (c.except.Empty() || !c.except.Matches(a))
}

// writes tells requests that change objects. Those that only connect to
// something (exec, port-forward, a proxied service) do not.
func writes(a *request.Attributes) bool {
	if !a.IsResourceRequest {
		return a.Verb != "get" && a.Verb != "head" && a.Verb != "options"
	}
	switch a.Subresource {
	case "exec", "attach", "portforward", "proxy":
		return false
	}
	return a.Writes()
}

// exempt tells what no switch stops.
func exempt(a *request.Attributes) bool {
	return a.Vital || (a.IsResourceRequest && a.APIGroup == "" && a.Subresource == "status" && (a.Resource == "nodes" || a.Resource == "pods"))
}

package policy

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func condition(status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: v1alpha1.ConditionActive, Status: status, Reason: reason, Message: message}
}

// invalidCondition tells that an object cannot be compiled; nil if it can.
func invalidCondition(o runtime.Object) *metav1.Condition {
	faults := Validate(o)
	if len(faults) == 0 {
		return nil
	}
	c := condition(metav1.ConditionFalse, "Invalid", faults.ToAggregate().Error())
	return &c
}

func limitCondition(o *v1alpha1.RateLimit) metav1.Condition {
	if c := invalidCondition(o); c != nil {
		return *c
	}
	switch o.Spec.Mode {
	case v1alpha1.ModeOff:
		return condition(metav1.ConditionFalse, "Off", "the mode is Off")
	case v1alpha1.ModeDryRun:
		return condition(metav1.ConditionTrue, "DryRun", "requests over the limit are counted, not refused")
	default:
		return condition(metav1.ConditionTrue, "Enforced", "requests over the limit are refused")
	}
}

func classCondition(o *v1alpha1.ClientClass) metav1.Condition {
	if c := invalidCondition(o); c != nil {
		return *c
	}
	return condition(metav1.ConditionTrue, "InForce", "requests are classified by it")
}

func groupCondition(o *v1alpha1.UpstreamGroup) metav1.Condition {
	if c := invalidCondition(o); c != nil {
		return *c
	}
	return condition(metav1.ConditionTrue, "InForce", "its servers get the requests that Routes send to it")
}

// groupNames are the groups that there are. Main is one without an object: the
// gateway's flags say what it is.
func groupNames(groups []*v1alpha1.UpstreamGroup) sets.Set[string] {
	names := sets.New(v1alpha1.GroupMain)
	for _, group := range groups {
		if invalidCondition(group) == nil {
			names.Insert(group.Name)
		}
	}
	return names
}

// routeCondition says of a Route what it does with these groups. One of which
// none exists is passed over.
func routeCondition(o *v1alpha1.Route, groups sets.Set[string]) metav1.Condition {
	if c := invalidCondition(o); c != nil {
		return *c
	}
	named := append(o.Spec.Groups[:len(o.Spec.Groups):len(o.Spec.Groups)], o.Spec.Spill...)
	if !groups.HasAny(named...) {
		return condition(metav1.ConditionFalse, "NoGroup", fmt.Sprintf(
			"none of its groups exists (%s): until one does, the next Route that matches decides, or %s serves",
			strings.Join(named, ", "), v1alpha1.GroupMain))
	}
	return condition(metav1.ConditionTrue, "InForce", "requests are routed by it")
}

func switchCondition(o *v1alpha1.Switch, now time.Time, groups sets.Set[string]) metav1.Condition {
	if c := invalidCondition(o); c != nil {
		return *c
	}
	force := o.Spec.ForceGroup
	switch {
	case o.Status.ExpiresAt == nil || !now.Before(o.Status.ExpiresAt.Time):
		return condition(metav1.ConditionFalse, "Expired", "its time is over")
	case o.Spec.ServeStale != nil:
		return condition(metav1.ConditionTrue, "On", "reads that it matches are answered from memory while no kube-apiserver can be asked")
	case force == nil:
		return condition(metav1.ConditionTrue, "On", "what it matches is refused")
	case !groups.Has(force.Group):
		return condition(metav1.ConditionFalse, "NoGroup", fmt.Sprintf("there is no UpstreamGroup %s: requests are routed as if there were no such switch", force.Group))
	default:
		return condition(metav1.ConditionTrue, "On", "what it matches is served by "+force.Group)
	}
}

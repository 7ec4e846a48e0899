package validation

import (
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	maxStaleness   = 10 * time.Minute
	maxDuration    = 7 * 24 * time.Hour
	maxReasonBytes = 1024
)

var (
	bucketKeys      = sets.New(v1alpha1.PerUserAgent, v1alpha1.PerUser, v1alpha1.PerNamespace, v1alpha1.PerSourceIP)
	scopes          = sets.New(v1alpha1.ScopeReplica, v1alpha1.ScopeGlobal)
	modes           = sets.New(v1alpha1.ModeEnforce, v1alpha1.ModeDryRun, v1alpha1.ModeOff)
	failurePolicies = sets.New(v1alpha1.FailShare, v1alpha1.FailAllow, v1alpha1.FailRefuse)
	readModes       = sets.New(v1alpha1.ReadStrict, v1alpha1.ReadRelaxed)
	switchTypes     = sets.New(v1alpha1.SwitchReadOnly, v1alpha1.SwitchFreeze, v1alpha1.SwitchShedPriority, v1alpha1.SwitchForceGroup, v1alpha1.SwitchServeStale)
	sheddable       = sets.New(v1alpha1.PriorityP2, v1alpha1.PriorityP3, v1alpha1.PriorityP4)
)

// ValidateRateLimit checks a RateLimit with its defaults set.
func ValidateRateLimit(o *v1alpha1.RateLimit) field.ErrorList {
	errs := validateMeta(&o.ObjectMeta)
	spec := field.NewPath("spec")
	errs = append(errs, ValidateMatch(&o.Spec.Match, spec.Child("match"))...)
	errs = append(errs, ValidateMatch(&o.Spec.Except, spec.Child("except"))...)
	errs = append(errs, each(o.Spec.Per, spec.Child("per"), oneOf(bucketKeys))...)
	errs = append(errs, rateGiven(&o.Spec, spec)...)
	if o.Spec.QPSPerNode != nil {
		errs = append(errs, validateRate(*o.Spec.QPSPerNode, spec.Child("qpsPerNode"))...)
	}
	errs = append(errs, atLeastOne(o.Spec.Burst, spec.Child("burst"), "to refuse all requests set qps to 0")...)
	errs = append(errs, atLeastOne(o.Spec.MaxInFlight, spec.Child("maxInFlight"), "to refuse all requests set qps to 0")...)
	errs = append(errs, oneOf(scopes)(o.Spec.Scope, spec.Child("scope"))...)
	errs = append(errs, oneOf(modes)(o.Spec.Mode, spec.Child("mode"))...)
	switch path := spec.Child("failurePolicy"); {
	case o.Spec.Scope == v1alpha1.ScopeGlobal:
		errs = append(errs, oneOf(failurePolicies)(o.Spec.FailurePolicy, path)...)
	case o.Spec.FailurePolicy != "":
		errs = append(errs, field.Forbidden(path, "is for limits of scope Global: the others depend on nothing that fails"))
	}
	return errs
}

// rateGiven wants what the limit is in so many words: what is left out must not be
// taken for a rate of 0, and a rate of 0 not for everybody.
func rateGiven(s *v1alpha1.RateLimitSpec, spec *field.Path) field.ErrorList {
	if s.QPS == nil {
		return rateMissing(s, spec)
	}
	errs := validateRate(*s.QPS, spec.Child("qps"))
	if s.QPS.IsZero() && matchesAll(&s.Match) {
		errs = append(errs, field.Required(spec.Child("match"), `with qps 0 an empty one would refuse every request of every client; if that is meant match the verb "*"`))
	}
	return errs
}

func rateMissing(s *v1alpha1.RateLimitSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	qps := spec.Child("qps")
	switch {
	case s.QPSPerNode != nil:
		errs = append(errs, field.Required(qps, "say what passes while the nodes could not be counted yet"))
	case s.MaxInFlight == nil:
		errs = append(errs, field.Required(qps, "say how many requests per second pass, or maxInFlight how many at a time; to refuse all set qps to 0"))
	case s.Scope == v1alpha1.ScopeGlobal:
		errs = append(errs, field.Required(qps, "it is what limits of scope Global count together: maxInFlight is of each gateway"))
	}
	if s.Burst != nil {
		errs = append(errs, field.Forbidden(spec.Child("burst"), "means nothing without qps"))
	}
	return errs
}

// matchesAll tells a match that every request has because it says nothing.
func matchesAll(m *v1alpha1.Match) bool {
	same := apiequality.Semantic.DeepEqual
	return same(m.Clients, v1alpha1.ClientMatch{}) &&
		(len(m.Requests) == 0 || slices.ContainsFunc(m.Requests, func(r v1alpha1.RequestMatch) bool { return same(r, v1alpha1.RequestMatch{}) }))
}

func validateRate(q resource.Quantity, path *field.Path) field.ErrorList {
	switch {
	case q.Sign() < 0:
		return field.ErrorList{field.Invalid(path, q.String(), "is negative")}
	case q.CmpInt64(v1alpha1.MaxQPS) > 0:
		return field.ErrorList{field.Invalid(path, q.String(), "is more than 1,000,000 requests per second; for no limit set mode to Off")}
	case q.Sign() > 0 && q.AsApproximateFloat64() < 0.001:
		return field.ErrorList{field.Invalid(path, q.String(), "is less than one request in 1,000 seconds; to refuse all requests set 0")}
	}
	return nil
}

func atLeastOne(n *int32, path *field.Path, advice string) field.ErrorList {
	if n != nil && *n < 1 {
		return field.ErrorList{field.Invalid(path, *n, "must be at least 1; "+advice)}
	}
	return nil
}

// ValidateClientClass checks a ClientClass with its defaults set.
func ValidateClientClass(o *v1alpha1.ClientClass) field.ErrorList {
	errs := validateMeta(&o.ObjectMeta)
	if o.Name == v1alpha1.ClassUnknown {
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"), "is the class of clients that no other has"))
	}
	spec := field.NewPath("spec")
	match := spec.Child("match")
	errs = append(errs, ValidateMatch(&o.Spec.Match, match)...)
	if len(o.Spec.Match.Clients.Classes) > 0 {
		errs = append(errs, field.Forbidden(match.Child("clients", "classes"), "a class cannot be defined by classes"))
	}
	if len(o.Spec.Match.Clients.Priorities) > 0 {
		errs = append(errs, field.Forbidden(match.Child("clients", "priorities"), "a class cannot be defined by priorities: it is classes that have them"))
	}
	errs = append(errs, oneOf(priorities)(o.Spec.Priority, spec.Child("priority"))...)
	reads := spec.Child("reads")
	errs = append(errs, oneOf(readModes)(o.Spec.Reads.Mode, reads.Child("mode"))...)
	if stale := o.Spec.Reads.MaxStaleness; stale != nil {
		switch path := reads.Child("maxStaleness"); {
		case o.Spec.Reads.Mode == v1alpha1.ReadStrict:
			errs = append(errs, field.Forbidden(path, "is for Relaxed reads: Strict ones are never stale"))
		case stale.Duration <= 0 || stale.Duration > maxStaleness:
			errs = append(errs, field.Invalid(path, stale.Duration.String(), "must be more than 0 and at most "+maxStaleness.String()))
		}
	}
	if expected := o.Spec.ExpectedIdentities; expected != nil {
		path := spec.Child("expectedIdentities")
		if len(expected.Users)+len(expected.Groups)+len(expected.ServiceAccounts) == 0 {
			errs = append(errs, field.Required(path, "names nobody; leave it out to expect everybody"))
		}
		errs = append(errs, each(expected.Users, path.Child("users"), userName)...)
		errs = append(errs, each(expected.Groups, path.Child("groups"), userName)...)
		errs = append(errs, each(expected.ServiceAccounts, path.Child("serviceAccounts"), serviceAccount)...)
	}
	return errs
}

// ValidateSwitch checks a Switch with its defaults set.
func ValidateSwitch(o *v1alpha1.Switch) field.ErrorList {
	errs := validateMeta(&o.ObjectMeta)
	spec := field.NewPath("spec")
	errs = append(errs, oneOf(switchTypes)(o.Spec.Type, spec.Child("type"))...)
	members := []struct {
		name string
		of   v1alpha1.SwitchType
		set  bool
	}{
		{"readOnly", v1alpha1.SwitchReadOnly, o.Spec.ReadOnly != nil},
		{"freeze", v1alpha1.SwitchFreeze, o.Spec.Freeze != nil},
		{"shedPriority", v1alpha1.SwitchShedPriority, o.Spec.ShedPriority != nil},
		{"forceGroup", v1alpha1.SwitchForceGroup, o.Spec.ForceGroup != nil},
		{"serveStale", v1alpha1.SwitchServeStale, o.Spec.ServeStale != nil},
	}
	for _, member := range members {
		switch path := spec.Child(member.name); {
		case member.of == o.Spec.Type && !member.set:
			errs = append(errs, field.Required(path, "says what a switch of type "+string(member.of)+" does"))
		case member.of != o.Spec.Type && member.set:
			errs = append(errs, field.Forbidden(path, "is for switches of type "+string(member.of)))
		}
	}
	if scope := o.Spec.ReadOnly; scope != nil {
		errs = append(errs, validateSwitchScope(scope, spec.Child("readOnly"))...)
	}
	if scope := o.Spec.Freeze; scope != nil {
		path := spec.Child("freeze")
		errs = append(errs, validateSwitchScope(scope, path)...)
		if matchesAll(&scope.Match) {
			errs = append(errs, field.Required(path.Child("match"), "an empty one would freeze the whole cluster, reads included; to stop all writes use type ReadOnly"))
		}
	}
	if scope := o.Spec.ServeStale; scope != nil {
		errs = append(errs, validateSwitchScope(scope, spec.Child("serveStale"))...)
	}
	if shed := o.Spec.ShedPriority; shed != nil {
		errs = append(errs, oneOf(sheddable)(shed.Priority, spec.Child("shedPriority", "priority"))...)
	}
	if force := o.Spec.ForceGroup; force != nil {
		path := spec.Child("forceGroup")
		errs = append(errs, groupName(force.Group, path.Child("group"))...)
		errs = append(errs, ValidateMatch(&force.Match, path.Child("match"))...)
		errs = append(errs, ValidateMatch(&force.Except, path.Child("except"))...)
	}
	errs = append(errs, validateDuration(o.Spec.Duration, spec.Child("duration"))...)
	switch path := spec.Child("reason"); {
	case strings.TrimSpace(o.Spec.Reason) == "":
		errs = append(errs, field.Required(path, "tell those who are refused, and those who look later, why"))
	case len(o.Spec.Reason) > maxReasonBytes:
		errs = append(errs, field.TooLong(path, "", maxReasonBytes))
	case strings.ContainsFunc(o.Spec.Reason, isControl):
		errs = append(errs, field.Invalid(path, o.Spec.Reason, "has a control character; write one line"))
	}
	return errs
}

func validateSwitchScope(s *v1alpha1.SwitchScope, path *field.Path) field.ErrorList {
	return append(ValidateMatch(&s.Match, path.Child("match")), ValidateMatch(&s.Except, path.Child("except"))...)
}

func validateDuration(d *metav1.Duration, path *field.Path) field.ErrorList {
	switch {
	case d == nil:
		return field.ErrorList{field.Required(path, "a switch that never turns itself off would be forgotten")}
	case d.Duration < time.Second || d.Duration > maxDuration:
		return field.ErrorList{field.Invalid(path, d.Duration.String(), "must be from 1s to "+maxDuration.String())}
	}
	return nil
}

// ValidateSwitchUpdate checks a change to a Switch.
func ValidateSwitchUpdate(o, old *v1alpha1.Switch) field.ErrorList {
	errs := ValidateSwitch(o)
	if o.Spec.Type != old.Spec.Type {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "type"), "cannot be changed; delete the switch and create another one"))
	}
	return errs
}

// validateMeta wants names that fit into a header and a metric's label.
func validateMeta(meta *metav1.ObjectMeta) field.ErrorList {
	return apivalidation.ValidateObjectMeta(meta, false, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
}

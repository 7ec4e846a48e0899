package v1alpha1

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RateLimit caps how often, and how many at a time, matching requests may pass.
// A request must be admitted by every RateLimit that matches it; the order of
// RateLimits has no meaning.
type RateLimit struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what may pass.
	Spec RateLimitSpec `json:"spec"`
	// status is what the gateway makes of it.
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// RateLimitSpec is what may pass.
type RateLimitSpec struct {
	// match selects the requests that are counted; an empty one has all.
	// +optional
	Match Match `json:"match,omitzero"`

	// except takes requests out of match again. An empty one takes none.
	// +optional
	Except Match `json:"except,omitzero"`

	// per makes a bucket for each value, or combination of values, instead of one
	// for all. Their number is bounded; clients beyond it share a bucket.
	// +optional
	// +listType=set
	Per []BucketKey `json:"per,omitempty"`

	// qps is how many requests per second pass in the long run, e.g. 2 or "0.5". 0
	// refuses all. It may be left out where maxInFlight is given: no limit.
	// +optional
	QPS *resource.Quantity `json:"qps,omitempty"`

	// qpsPerNode times the number of nodes of the cluster is the rate where that
	// is more than qps.
	// +optional
	QPSPerNode *resource.Quantity `json:"qpsPerNode,omitempty"`

	// burst is how many requests pass at once after a pause. Where qpsPerNode
	// raises the rate it raises the burst in proportion. Default: the rate, and at
	// least 1.
	// +optional
	Burst *int32 `json:"burst,omitempty"`

	// maxInFlight is how many requests may be under way at a time, in each bucket
	// and gateway replica. A watch counts until it has begun.
	// +optional
	MaxInFlight *int32 `json:"maxInFlight,omitempty"`

	// scope tells whether every gateway replica counts by itself (Replica, the
	// default) or all count together (Global).
	// +optional
	Scope Scope `json:"scope,omitempty"`

	// failurePolicy tells what a Global limit does while the shared counters
	// cannot be reached: Share (the default) gives every replica its fair share of
	// the limit, Allow lets everything pass, Refuse nothing.
	// +optional
	FailurePolicy LimitFailurePolicy `json:"failurePolicy,omitempty"`

	// mode is Enforce (the default), DryRun (count what would be refused, refuse
	// nothing) or Off. YAML takes a bare Off for false: write "Off".
	// +optional
	Mode Mode `json:"mode,omitempty"`
}

// BucketKey is a property of a request by which a limit is kept apart.
// +enum
type BucketKey string

const (
	// PerUserAgent keeps clients apart by name.
	PerUserAgent BucketKey = "UserAgent"
	// PerUser keeps authenticated users apart.
	PerUser BucketKey = "User"
	// PerNamespace keeps namespaces of the request apart.
	PerNamespace BucketKey = "Namespace"
	// PerSourceIP keeps addresses of the connection's peer apart.
	PerSourceIP BucketKey = "SourceIP"
)

// Scope is who shares the tokens of a limit.
// +enum
type Scope string

const (
	// ScopeReplica has every gateway replica count by itself.
	ScopeReplica Scope = "Replica"
	// ScopeGlobal has all replicas count together, through Redis.
	ScopeGlobal Scope = "Global"
)

// Mode is how much of a rule is in force.
// +enum
type Mode string

const (
	// ModeEnforce refuses.
	ModeEnforce Mode = "Enforce"
	// ModeDryRun counts what would be refused.
	ModeDryRun Mode = "DryRun"
	// ModeOff does nothing.
	ModeOff Mode = "Off"
)

// UnmarshalJSON takes false for Off, which is what YAML makes of it.
func (m *Mode) UnmarshalJSON(b []byte) error {
	if string(b) == "false" {
		*m = ModeOff
		return nil
	}
	return json.Unmarshal(b, (*string)(m))
}

// LimitFailurePolicy is what a Global limit does without its shared counters.
// +enum
type LimitFailurePolicy string

const (
	// FailShare gives each replica its share of the limit.
	FailShare LimitFailurePolicy = "Share"
	// FailAllow lets everything pass.
	FailAllow LimitFailurePolicy = "Allow"
	// FailRefuse refuses everything.
	FailRefuse LimitFailurePolicy = "Refuse"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RateLimitList is a list of RateLimits.
type RateLimitList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the RateLimits.
	Items []RateLimit `json:"items"`
}

// PolicyStatus is what the gateway has made of a policy.
type PolicyStatus struct {
	// observedGeneration is the generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Active tells whether the policy is in force, and if not, why.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ConditionActive tells whether a policy is in force.
const ConditionActive = "Active"

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RateLimitLive is the subresource "live" of a RateLimit: its counters over all
// gateway replicas. It is computed when read, and cannot be written.
type RateLimitLive struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// replicas are the counters of each gateway replica.
	// +listType=map
	// +listMapKey=name
	Replicas []LimitCounters `json:"replicas"`
}

// LimitCounters are what one replica has counted for a limit since it started.
type LimitCounters struct {
	// name is the replica's.
	Name string `json:"name"`
	// observedAt is when the counters were read.
	ObservedAt metav1.MicroTime `json:"observedAt"`
	// rate is the limit in force, in requests per second, as computed from qps,
	// qpsPerNode and the number of nodes.
	Rate resource.Quantity `json:"rate"`
	// admitted is how many requests passed.
	Admitted int64 `json:"admitted"`
	// refused is how many were refused, or in dry run would have been.
	Refused int64 `json:"refused"`
	// admittedPerSecond is the mean over the last ten seconds.
	AdmittedPerSecond resource.Quantity `json:"admittedPerSecond"`
	// refusedPerSecond is the mean over the last ten seconds.
	RefusedPerSecond resource.Quantity `json:"refusedPerSecond"`
	// inFlight is how many requests are under way.
	// +optional
	InFlight int64 `json:"inFlight,omitempty"`
	// buckets is how many buckets there are.
	Buckets int64 `json:"buckets"`
	// overflowing is how many requests had to share a bucket because there were
	// too many.
	// +optional
	Overflowing int64 `json:"overflowing,omitempty"`
	// fallback tells that a Global limit is counted without the shared counters.
	// +optional
	Fallback bool `json:"fallback,omitempty"`
}

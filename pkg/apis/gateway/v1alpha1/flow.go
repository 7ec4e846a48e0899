package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Flow is what one client has asked of one resource in one way over the last
// hour. Flows are computed when read, and cannot be written.
type Flow struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// client is the client's name; empty together with verb for the flow of all
	// requests that have none of their own, because there are too many.
	// +optional
	Client string `json:"client,omitempty"`
	// class is the client's class; empty for requests that were refused before
	// authentication.
	// +optional
	Class string `json:"class,omitempty"`
	// verb is the API verb, or the HTTP method in lower case.
	// +optional
	Verb string `json:"verb,omitempty"`
	// apiGroup is the group of the resource; "" is the core group.
	// +optional
	APIGroup string `json:"apiGroup,omitempty"`
	// resource is the plural name; empty outside of the resource API.
	// +optional
	Resource string `json:"resource,omitempty"`
	// subresource is what was asked for of an object, e.g. "status".
	// +optional
	Subresource string `json:"subresource,omitempty"`
	// listScope is how much of the cluster was listed.
	// +optional
	ListScope ListScope `json:"listScope,omitempty"`
	// listShape is what that costs the server.
	// +optional
	ListShape ListShape `json:"listShape,omitempty"`

	// requests is how many came in the last hour.
	Requests int64 `json:"requests"`
	// refused is how many of them limits have refused.
	Refused int64 `json:"refused"`
	// perSecond is the mean over the last ten seconds.
	PerSecond resource.Quantity `json:"perSecond"`
	// sustained is the most in any ten seconds of the hour, a second.
	Sustained resource.Quantity `json:"sustained"`
	// peak is the most in any second of the hour.
	Peak resource.Quantity `json:"peak"`
	// bytesPerRequest is the mean size of an answer.
	BytesPerRequest int64 `json:"bytesPerRequest"`
	// p99 is the duration within which 99% of the requests were answered, to a
	// factor of two.
	// +optional
	P99 *metav1.Duration `json:"p99,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// FlowList is a list of Flows.
type FlowList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the Flows.
	Items []Flow `json:"items"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// LimitSimulation asks what RateLimits would have refused in the last hour. It is
// answered when created, and not stored.
type LimitSimulation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what to try.
	Spec LimitSimulationSpec `json:"spec"`
	// status is the answer.
	// +optional
	Status LimitSimulationStatus `json:"status,omitzero"`
}

// LimitSimulationSpec is what to try.
type LimitSimulationSpec struct {
	// limits are the RateLimits to try; their modes do not matter.
	// +listType=atomic
	Limits []SimulatedLimit `json:"limits"`
}

// SimulatedLimit is a RateLimit that need not exist.
type SimulatedLimit struct {
	// name is what results are given under.
	Name string `json:"name"`
	// spec is the limit.
	Spec RateLimitSpec `json:"spec"`
}

// LimitSimulationStatus is what would have happened.
type LimitSimulationStatus struct {
	// results are by limit and client, those that would have been refused most
	// first. Clients that would not have been refused are left out.
	// +optional
	// +listType=atomic
	Results []SimulationResult `json:"results,omitempty"`

	// notes say where the simulation knows less than the limit looks at.
	// +optional
	// +listType=atomic
	Notes []string `json:"notes,omitempty"`
}

// SimulationResult is what one limit would have done to one client.
type SimulationResult struct {
	// limit is the name of the limit.
	Limit string `json:"limit"`
	// client is the client's name.
	Client string `json:"client"`
	// requests is how many requests of the client it looks at.
	Requests int64 `json:"requests"`
	// refused is how many of them it would have refused.
	Refused int64 `json:"refused"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RequestExplanation asks what would become of a request. It is answered when
// created, and not stored; nothing is sent or counted.
type RequestExplanation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the request.
	Spec RequestExplanationSpec `json:"spec"`
	// status is the answer.
	// +optional
	Status RequestExplanationStatus `json:"status,omitzero"`
}

// RequestExplanationSpec is a request.
type RequestExplanationSpec struct {
	// userAgent is the User-Agent header.
	// +optional
	UserAgent string `json:"userAgent,omitempty"`
	// user is the name of the authenticated user; empty for an anonymous one.
	// +optional
	User string `json:"user,omitempty"`
	// groups are the user's.
	// +optional
	// +listType=set
	Groups []string `json:"groups,omitempty"`
	// sourceIP is the address of the connection's peer.
	// +optional
	SourceIP string `json:"sourceIP,omitempty"`
	// method is the HTTP method, GET by default.
	// +optional
	Method string `json:"method,omitempty"`
	// path is path and query, e.g. "/api/v1/pods?resourceVersion=0".
	Path string `json:"path"`
}

// RequestExplanationStatus is what would become of a request at this moment.
type RequestExplanationStatus struct {
	// clientName is the name taken from the user agent.
	ClientName string `json:"clientName"`
	// verb and resource are how the path is read.
	Verb string `json:"verb"`
	// resource is "resource.group/subresource"; empty outside of the resource API.
	// +optional
	Resource string `json:"resource,omitempty"`
	// listScope is how much of the cluster it lists.
	// +optional
	ListScope ListScope `json:"listScope,omitempty"`
	// listShape is what that costs the server.
	// +optional
	ListShape ListShape `json:"listShape,omitempty"`
	// vital tells a request that no switch stops, and no limit that does not name
	// it.
	// +optional
	Vital bool `json:"vital,omitempty"`
	// class is the client's class.
	Class string `json:"class"`
	// claimedClass is the class whose user agent the client has without having one
	// of the identities that it expects.
	// +optional
	ClaimedClass string `json:"claimedClass,omitempty"`
	// priority is that of the class.
	Priority Priority `json:"priority"`
	// limits are those that match.
	// +optional
	// +listType=atomic
	Limits []ExplainedLimit `json:"limits,omitempty"`
	// route is the Route or Switch that decides who serves the request, e.g.
	// "route/control-plane"; empty if none does.
	// +optional
	Route string `json:"route,omitempty"`
	// group is the UpstreamGroup that would serve it; empty if none can.
	// +optional
	Group string `json:"group,omitempty"`
	// refusedBy is the switch, limit or group that would refuse the request now, e.g.
	// "switch/freeze-deletes" or "ratelimit/list-all-pods".
	// +optional
	RefusedBy string `json:"refusedBy,omitempty"`
}

// ExplainedLimit is a limit that matches a request.
type ExplainedLimit struct {
	// name is the RateLimit's.
	Name string `json:"name"`
	// mode is how much of it is in force.
	Mode Mode `json:"mode"`
	// beforeAuthentication tells when it is applied.
	// +optional
	BeforeAuthentication bool `json:"beforeAuthentication,omitempty"`
	// rate is the limit in requests per second, with the nodes of the cluster
	// counted in.
	Rate resource.Quantity `json:"rate"`
	// tokens is how many requests of this bucket would pass now.
	Tokens resource.Quantity `json:"tokens"`
}

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Route says which UpstreamGroups serve requests. A request takes the matching
// Route of the highest precedence; among equals the first by name. Without any,
// main serves it, or bypass while main is gone.
type Route struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is who serves what.
	Spec RouteSpec `json:"spec"`
	// status is what the gateway makes of it.
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// RouteSpec is who serves what.
type RouteSpec struct {
	// match selects the requests; an empty one has all.
	// +optional
	Match Match `json:"match,omitzero"`

	// except takes requests out of match again. An empty one takes none.
	// +optional
	Except Match `json:"except,omitzero"`

	// header selects, of these, the requests with a header. Any client can send
	// any header.
	// +optional
	Header *HeaderMatch `json:"header,omitempty"`

	// share selects, of these, a part of the clients, in percent: always the same
	// ones. Default 100.
	// +optional
	Share *int32 `json:"share,omitempty"`

	// precedence decides between Routes that match the same request; the highest
	// wins.
	// +optional
	Precedence int32 `json:"precedence,omitempty"`

	// groups serve the requests: the first that has a server that is ready. A
	// request that a group's limits refuse is refused.
	// +listType=atomic
	Groups []string `json:"groups"`

	// spill are groups for requests that none of groups can take, for want of
	// servers or because of limits. Default: none.
	// +optional
	// +listType=atomic
	Spill []string `json:"spill,omitempty"`
}

// HeaderMatch selects requests by a header.
type HeaderMatch struct {
	// name is the header's.
	Name string `json:"name"`
	// values are its values; any of them. Empty means that it must be there.
	// +optional
	// +listType=set
	Values []string `json:"values,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// RouteList is a list of Routes.
type RouteList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the Routes.
	Items []Route `json:"items"`
}

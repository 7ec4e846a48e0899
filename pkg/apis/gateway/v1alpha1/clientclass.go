package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ClientClass names a kind of client. A request belongs to the matching class of
// the highest precedence; among equals the first by name.
type ClientClass struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is who belongs to the class, and what that means.
	Spec ClientClassSpec `json:"spec"`
	// status is what the gateway makes of it.
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// ClientClassSpec is who belongs to a class, and what that means.
type ClientClassSpec struct {
	// match selects the requests of the class. It cannot name classes or
	// priorities.
	// +optional
	Match Match `json:"match,omitzero"`

	// precedence decides between classes that match the same request; the highest
	// wins.
	// +optional
	Precedence int32 `json:"precedence,omitempty"`

	// priority is how much the cluster needs these clients: P0 is the control
	// plane, P4 what nobody knows.
	Priority Priority `json:"priority"`

	// reads is how fresh their reads must be.
	// +optional
	Reads ReadPolicy `json:"reads,omitzero"`

	// expectedIdentities are those that clients of the class are known to have. A
	// request of anybody else is counted and belongs to the class "unknown".
	// +optional
	ExpectedIdentities *Identities `json:"expectedIdentities,omitempty"`
}

// ReadPolicy is how fresh reads must be.
type ReadPolicy struct {
	// mode is Strict (the default: as fresh as from a kube-apiserver) or Relaxed
	// (from the gateway's cache, at most maxStaleness old).
	// +optional
	Mode ReadMode `json:"mode,omitempty"`

	// maxStaleness bounds the age of Relaxed reads. Default 5s.
	// +optional
	MaxStaleness *metav1.Duration `json:"maxStaleness,omitempty"`
}

// ReadMode is how fresh reads must be.
// +enum
type ReadMode string

const (
	// ReadStrict is as fresh as from a kube-apiserver.
	ReadStrict ReadMode = "Strict"
	// ReadRelaxed is from the cache, of a bounded age.
	ReadRelaxed ReadMode = "Relaxed"
)

// Identities are authenticated users; any entry of any field may hold.
type Identities struct {
	// users are names of users.
	// +optional
	// +listType=set
	Users []string `json:"users,omitempty"`

	// groups are groups of users.
	// +optional
	// +listType=set
	Groups []string `json:"groups,omitempty"`

	// serviceAccounts are "NAMESPACE/NAME"; the name may be "*".
	// +optional
	// +listType=set
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// ClientClassList is a list of ClientClasses.
type ClientClassList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the ClientClasses.
	Items []ClientClass `json:"items"`
}

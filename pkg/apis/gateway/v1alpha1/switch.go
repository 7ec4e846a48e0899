package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// Switch stops or diverts requests at once, for a time. Leases, authentication and
// authorization reviews, nodes/status and pods/status pass all the same, and so
// does the gateway's own API.
type Switch struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what stops, for how long, and why.
	Spec SwitchSpec `json:"spec"`
	// status tells who turned it on, and until when.
	// +optional
	Status SwitchStatus `json:"status,omitzero"`
}

// SwitchSpec is what stops, for how long, and why.
type SwitchSpec struct {
	// type chooses the member that says what stops. It cannot be changed.
	Type SwitchType `json:"type"`

	// readOnly refuses writes; without it all of them.
	// +optional
	ReadOnly *SwitchScope `json:"readOnly,omitempty"`

	// freeze refuses the requests that it matches.
	// +optional
	Freeze *SwitchScope `json:"freeze,omitempty"`

	// shedPriority refuses clients of low priority.
	// +optional
	ShedPriority *ShedPriority `json:"shedPriority,omitempty"`

	// forceGroup sends requests to one group, whatever their Route and its health.
	// +optional
	ForceGroup *ForceGroup `json:"forceGroup,omitempty"`

	// serveStale answers reads from memory while no kube-apiserver can be asked, also
	// those that want the newest state; without it all of them. Answers say in a
	// Warning since when nothing new is known.
	// +optional
	ServeStale *SwitchScope `json:"serveStale,omitempty"`

	// duration is how long the switch is on, from its creation or from the last
	// change of this field. Default 1h, at most 168h.
	// +optional
	Duration *metav1.Duration `json:"duration,omitempty"`

	// reason tells refused clients, and whoever looks later, why.
	Reason string `json:"reason"`
}

// SwitchType is what a switch does.
// +enum
type SwitchType string

const (
	// SwitchReadOnly refuses writes.
	SwitchReadOnly SwitchType = "ReadOnly"
	// SwitchFreeze refuses what it matches.
	SwitchFreeze SwitchType = "Freeze"
	// SwitchShedPriority refuses clients of low priority.
	SwitchShedPriority SwitchType = "ShedPriority"
	// SwitchForceGroup sends requests to one group.
	SwitchForceGroup SwitchType = "ForceGroup"
	// SwitchServeStale answers reads from memory while kube-apiservers are away.
	SwitchServeStale SwitchType = "ServeStale"
)

// SwitchScope is which requests a switch is for.
type SwitchScope struct {
	// match selects requests.
	// +optional
	Match Match `json:"match,omitzero"`

	// except takes requests out of match again. An empty one takes none.
	// +optional
	Except Match `json:"except,omitzero"`
}

// ShedPriority refuses clients of low priority.
type ShedPriority struct {
	// priority is the highest one that is refused, P2 to P4; those below it are,
	// too.
	Priority Priority `json:"priority"`
}

// ForceGroup sends requests to one group.
type ForceGroup struct {
	// group is the name of the UpstreamGroup.
	Group string `json:"group"`

	// match selects requests; an empty one has all.
	// +optional
	Match Match `json:"match,omitzero"`

	// except takes requests out of match again. An empty one takes none.
	// +optional
	Except Match `json:"except,omitzero"`
}

// SwitchStatus tells who turned a switch on, and until when.
type SwitchStatus struct {
	PolicyStatus `json:",inline"`

	// requestedBy is the user who created the switch.
	// +optional
	RequestedBy string `json:"requestedBy,omitempty"`

	// expiresAt is when the switch turns itself off.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SwitchList is a list of Switches.
type SwitchList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the Switches.
	Items []Switch `json:"items"`
}

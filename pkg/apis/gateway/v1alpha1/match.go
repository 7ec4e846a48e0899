package v1alpha1

// Match selects requests. All of its fields must hold; within a list any entry
// may. What is empty holds for every request.
type Match struct {
	// clients selects by who sends the request.
	// +optional
	Clients ClientMatch `json:"clients,omitzero"`

	// requests selects by what is asked for; any of them may hold.
	// +optional
	// +listType=atomic
	Requests []RequestMatch `json:"requests,omitempty"`
}

// ClientMatch selects clients. Fields other than userAgents and sourceCIDRs need
// an authenticated client, so a rule that uses them is applied after
// authentication.
type ClientMatch struct {
	// classes are names of ClientClasses. The class "unknown" has the clients
	// that no ClientClass matches, and those whose identity is not one that their
	// class expects.
	// +optional
	// +listType=set
	Classes []string `json:"classes,omitempty"`

	// userAgents are patterns for the client's name: the part of its User-Agent
	// header before the first slash or space. "*" stands for any characters, ""
	// for a missing header. Anybody can claim any user agent.
	// +optional
	// +listType=set
	UserAgents []string `json:"userAgents,omitempty"`

	// users are names of authenticated users, e.g. "system:kube-scheduler".
	// +optional
	// +listType=set
	Users []string `json:"users,omitempty"`

	// groups are groups of authenticated users, e.g. "system:nodes".
	// +optional
	// +listType=set
	Groups []string `json:"groups,omitempty"`

	// serviceAccounts are "NAMESPACE/NAME"; the name may be "*".
	// +optional
	// +listType=set
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`

	// sourceCIDRs are address ranges of the connection's peer, e.g. "10.0.0.0/8".
	// +optional
	// +listType=set
	SourceCIDRs []string `json:"sourceCIDRs,omitempty"`

	// priorities are priorities of client classes.
	// +optional
	// +listType=set
	Priorities []Priority `json:"priorities,omitempty"`
}

// RequestMatch selects requests by what they ask for. Either nonResourceURLs or
// the other fields are used. All fields must hold.
type RequestMatch struct {
	// verbs are API verbs: get, list, watch, create, update, patch, delete,
	// deletecollection, or "*". A watch that starts with the present state, as
	// informers do, is matched by list as well. For nonResourceURLs they are HTTP
	// methods in lower case.
	// +optional
	// +listType=set
	Verbs []string `json:"verbs,omitempty"`

	// apiGroups are API groups; "" is the core group, "*" all.
	// +optional
	// +listType=set
	APIGroups []string `json:"apiGroups,omitempty"`

	// resources are plural names: "pods" is without subresources, "pods/status"
	// one of them, "pods/*" all of them, "*" every resource without and "*/*"
	// every resource with subresource.
	// +optional
	// +listType=set
	Resources []string `json:"resources,omitempty"`

	// namespaces are names of namespaces; "" has the requests without one.
	// +optional
	// +listType=set
	Namespaces []string `json:"namespaces,omitempty"`

	// listScope tells lists over the whole cluster (also those of cluster-scoped
	// resources) from those of one namespace. It holds for lists and for watches
	// that start with the present state.
	// +optional
	ListScope ListScope `json:"listScope,omitempty"`

	// listShapes tell what a list costs the server.
	// +optional
	// +listType=set
	ListShapes []ListShape `json:"listShapes,omitempty"`

	// nonResourceURLs are paths outside of the resource API, e.g. "/version"; a
	// "*" at the end stands for any rest.
	// +optional
	// +listType=set
	NonResourceURLs []string `json:"nonResourceURLs,omitempty"`
}

// ListScope says how much of the cluster a list can return.
// +enum
type ListScope string

const (
	// ListScopeCluster is a list over all namespaces, or of a cluster-scoped resource.
	ListScopeCluster ListScope = "Cluster"
	// ListScopeNamespace is a list of one namespace.
	ListScopeNamespace ListScope = "Namespace"
)

// ListShape says what a list costs the server that answers it.
// +enum
type ListShape string

const (
	// ListShapeUnbounded is a consistent list of everything in scope.
	ListShapeUnbounded ListShape = "Unbounded"
	// ListShapeRV0 is resourceVersion=0: from the server's cache, whatever the limit.
	ListShapeRV0 ListShape = "RV0"
	// ListShapeSelector has a label or field selector.
	ListShapeSelector ListShape = "Selector"
	// ListShapePaginated has a limit of at most 10000 or continues a list that had one.
	ListShapePaginated ListShape = "Paginated"
)

// Priority orders clients by how much the cluster needs them.
// +enum
type Priority string

const (
	// PriorityP0 is the control plane, and what keeps nodes alive.
	PriorityP0 Priority = "P0"
	// PriorityP1 are node agents that carry traffic.
	PriorityP1 Priority = "P1"
	// PriorityP2 are platform controllers.
	PriorityP2 Priority = "P2"
	// PriorityP3 are observability and people's tools.
	PriorityP3 Priority = "P3"
	// PriorityP4 are unknown clients and scripts.
	PriorityP4 Priority = "P4"
)

// ClassUnknown is the class of clients that no ClientClass matches, and of those
// whose identity is not one that their class expects. Its priority is P4.
const ClassUnknown = "unknown"

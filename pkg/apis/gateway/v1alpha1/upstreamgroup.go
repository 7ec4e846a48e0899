package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names of the groups that the gateway makes of its flags.
const (
	// GroupMain serves the control plane. There is always one: without an object of
	// this name it is what the gateway's flags say.
	GroupMain = "main"
	// GroupBypass serves everybody else, and stands in for main.
	GroupBypass = "bypass"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// UpstreamGroup is a group of kube-apiservers that serve the same clients. All
// groups are of one cluster: they share its etcd.
type UpstreamGroup struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is which servers there are, and what they can take.
	Spec UpstreamGroupSpec `json:"spec"`
	// status is what the gateway makes of it.
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// UpstreamGroupSpec is which servers there are, and what they can take.
type UpstreamGroupSpec struct {
	// servers are the kube-apiservers.
	// +listType=map
	// +listMapKey=url
	Servers []UpstreamServer `json:"servers"`

	// qps is how many requests per second the group takes from one gateway
	// replica. P0 is never refused, but counts; the lower a priority, the more of
	// the burst is held back from it. Default: no limit.
	// +optional
	QPS *resource.Quantity `json:"qps,omitempty"`

	// burst is how many requests the group takes at once after a pause. Default:
	// the qps, and at least 1.
	// +optional
	Burst *int32 `json:"burst,omitempty"`

	// maxInFlight is how many requests one gateway replica may have under way in
	// the group; watches and other long-running ones do not count. P0 is never
	// refused, P1 may fill all of it, P2 90%, P3 75% and P4 60%. Default: no limit.
	// +optional
	MaxInFlight *int32 `json:"maxInFlight,omitempty"`

	// shedding tells whether priorities are refused, the lowest first, while the
	// servers answer 429 or 503 to many requests or take far longer than they
	// used to: Auto (the default) or Never.
	// +optional
	Shedding SheddingMode `json:"shedding,omitempty"`

	// slowStart is over which time a server that has come back gets its full part
	// of the requests. Default 10s.
	// +optional
	SlowStart *metav1.Duration `json:"slowStart,omitempty"`

	// failback is over which time clients return to the group after it was gone
	// and they were served by another one. Default 30s.
	// +optional
	Failback *metav1.Duration `json:"failback,omitempty"`

	// hedging sends a small read that has waited for longer than 99% of them take
	// to a second server as well, and takes the answer that comes first:
	// Never (the default) or AfterP99.
	// +optional
	Hedging HedgingMode `json:"hedging,omitempty"`

	// tls is how to verify the servers, if not as the gateway's kubeconfig says.
	// +optional
	TLS *UpstreamTLS `json:"tls,omitempty"`
}

// UpstreamServer is one kube-apiserver.
type UpstreamServer struct {
	// url is "https://HOST:PORT".
	URL string `json:"url"`

	// weight is its part of the requests in proportion to the other servers'.
	// With 0 it gets none. Default 1.
	// +optional
	Weight *int32 `json:"weight,omitempty"`
}

// UpstreamTLS is how to verify servers.
type UpstreamTLS struct {
	// caBundle has the PEM certificates that the servers' ones are signed by.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`

	// serverName is the name in the servers' certificates, if that is not the host
	// of their URLs.
	// +optional
	ServerName string `json:"serverName,omitempty"`
}

// SheddingMode is whether an overloaded group refuses low priorities.
// +enum
type SheddingMode string

const (
	// SheddingAuto refuses them while the servers are overloaded.
	SheddingAuto SheddingMode = "Auto"
	// SheddingNever does not.
	SheddingNever SheddingMode = "Never"
)

// HedgingMode is whether slow reads are sent twice.
// +enum
type HedgingMode string

const (
	// HedgingAfterP99 sends them to a second server.
	HedgingAfterP99 HedgingMode = "AfterP99"
	// HedgingNever waits.
	HedgingNever HedgingMode = "Never"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// UpstreamGroupList is a list of UpstreamGroups.
type UpstreamGroupList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the UpstreamGroups.
	Items []UpstreamGroup `json:"items"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// UpstreamGroupLive is the subresource "live" of an UpstreamGroup: how each
// gateway replica sees it. It is computed when read, and cannot be written.
type UpstreamGroupLive struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// replicas are the views of each gateway replica.
	// +listType=map
	// +listMapKey=name
	Replicas []GroupState `json:"replicas"`
}

// GroupState is how one gateway replica sees a group.
type GroupState struct {
	// name is the replica's.
	Name string `json:"name"`
	// observedAt is when it was read.
	ObservedAt metav1.MicroTime `json:"observedAt"`
	// inFlight is how many requests are under way, without long-running ones.
	InFlight int64 `json:"inFlight"`
	// longRunning is how many watches and other long-running requests are.
	LongRunning int64 `json:"longRunning"`
	// refused is how many requests the group's limits have refused since the
	// replica started.
	Refused int64 `json:"refused"`
	// shedding is the highest priority that is refused because of overload; empty
	// if none is.
	// +optional
	Shedding Priority `json:"shedding,omitempty"`
	// returning is the part of the clients, in percent, that has come back to the
	// group after it was gone; not set at other times.
	// +optional
	Returning *int32 `json:"returning,omitempty"`
	// endpoints are its servers.
	// +optional
	// +listType=map
	// +listMapKey=url
	Endpoints []EndpointState `json:"endpoints,omitempty"`
}

// EndpointState is how one gateway replica sees a server.
type EndpointState struct {
	// url is the server's.
	URL string `json:"url"`
	// health tells whether it gets requests.
	Health EndpointHealth `json:"health"`
	// reason tells why it is not ready.
	// +optional
	Reason string `json:"reason,omitempty"`
	// since is when its health changed last.
	Since metav1.Time `json:"since"`
	// version is the Kubernetes version that it serves, e.g. "v1.37.2".
	// +optional
	Version string `json:"version,omitempty"`
	// latency is the mean time to the first byte of its small answers, the last
	// ones counting most.
	// +optional
	Latency metav1.Duration `json:"latency,omitzero"`
	// inFlight is how many requests are under way, without long-running ones.
	InFlight int64 `json:"inFlight"`
	// longRunning is how many watches and other long-running requests are.
	LongRunning int64 `json:"longRunning"`
	// requests is how many it was sent since the replica started.
	Requests int64 `json:"requests"`
	// failures is how many of them had no answer.
	Failures int64 `json:"failures"`
}

// EndpointHealth tells whether a server gets requests.
// +enum
type EndpointHealth string

const (
	// EndpointReady gets requests.
	EndpointReady EndpointHealth = "Ready"
	// EndpointUnknown has not been asked yet, and gets requests.
	EndpointUnknown EndpointHealth = "Unknown"
	// EndpointNotReady is alive and says of itself that it is not ready: it gets
	// requests only when no other server can take them.
	EndpointNotReady EndpointHealth = "NotReady"
	// EndpointEjected has failed several requests in a row, and gets none for a
	// while.
	EndpointEjected EndpointHealth = "Ejected"
	// EndpointDown cannot be reached, or shows no sign of life.
	EndpointDown EndpointHealth = "Down"
)

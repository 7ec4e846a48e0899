package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// CachedResource has the gateway answer reads of a resource from memory, as the
// kube-apiserver would. Of several for the same resource the first by name counts.
type CachedResource struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is kept in memory, and how.
	Spec CachedResourceSpec `json:"spec"`
	// status is what the gateway makes of it.
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// CachedResourceSpec is what is kept in memory, and how.
type CachedResourceSpec struct {
	// group is the resource's API group; empty for the core group.
	// +optional
	Group string `json:"group,omitempty"`

	// version is the version of the group that reads are answered in. Default v1.
	// +optional
	Version string `json:"version,omitempty"`

	// resource is the plural name as in URLs, e.g. "pods". It can be one of
	// Kubernetes' own, or a custom resource.
	Resource string `json:"resource"`

	// verbs are the reads that are answered from memory: get, list and watch.
	// Default: all of them.
	// +optional
	// +listType=set
	Verbs []CachedVerb `json:"verbs,omitempty"`

	// labelIndexes are labels by which objects are found without looking at all of
	// them, from the beginning; labels that clients select by are found out, and
	// added. Each costs memory for every object that has it.
	// +optional
	// +listType=set
	LabelIndexes []string `json:"labelIndexes,omitempty"`

	// fieldIndexes are selectable fields for which that holds, e.g.
	// "spec.nodeName"; one that the resource does not have is passed over. Others can
	// be selected by, too, but slowly. Default: all that the resource has.
	// +optional
	// +listType=set
	FieldIndexes []string `json:"fieldIndexes,omitempty"`

	// compressAbove is the size in bytes above which objects are kept compressed,
	// which costs time with every read and saves most of their memory. Default 4Ki.
	// +optional
	CompressAbove *resource.Quantity `json:"compressAbove,omitempty"`

	// history is how many of the last changes are kept, for watches that begin in
	// the past and lists of a past state. Default 4096.
	// +optional
	History *int32 `json:"history,omitempty"`
}

// CachedVerb is a read that can be answered from memory.
// +enum
type CachedVerb string

const (
	// CachedGet reads one object.
	CachedGet CachedVerb = "get"
	// CachedList reads many.
	CachedList CachedVerb = "list"
	// CachedWatch follows changes.
	CachedWatch CachedVerb = "watch"
)

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// CachedResourceList is a list of CachedResources.
type CachedResourceList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the CachedResources.
	Items []CachedResource `json:"items"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// CachedResourceLive is the subresource "live" of a CachedResource: how far each
// gateway replica is with it. It is computed when read, and cannot be written.
type CachedResourceLive struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// replicas are the caches of each gateway replica.
	// +listType=map
	// +listMapKey=name
	Replicas []CacheState `json:"replicas"`
}

// CacheState is how far one gateway replica is with a resource.
type CacheState struct {
	// name is the replica's.
	Name string `json:"name"`
	// observedAt is when it was read.
	ObservedAt metav1.MicroTime `json:"observedAt"`
	// reason tells why nothing is cached; empty if something is.
	// +optional
	Reason string `json:"reason,omitempty"`
	// encodings are the encodings that the resource is kept in: the one that most
	// clients ask for, and another one once it was asked for.
	// +optional
	// +listType=map
	// +listMapKey=encoding
	Encodings []CachedEncoding `json:"encodings,omitempty"`
}

// CachedEncoding is a resource in one encoding in the memory of one gateway replica.
type CachedEncoding struct {
	// encoding is what the objects are encoded in.
	Encoding ObjectEncoding `json:"encoding"`
	// ready tells whether reads are answered.
	Ready bool `json:"ready"`
	// since is when that changed last.
	Since metav1.Time `json:"since"`
	// objects is how many there are.
	Objects int64 `json:"objects"`
	// bytes is the size of a list of all of them.
	Bytes int64 `json:"bytes"`
	// memory is about how many bytes of memory the objects take, without what is
	// made for answers.
	Memory int64 `json:"memory"`
	// resourceVersion is how far the kube-apiserver's changes are known.
	// +optional
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// watchers is how many watches are answered.
	Watchers int64 `json:"watchers"`
	// following tells whether changes are heard of at the moment.
	Following bool `json:"following"`
	// lastError is why changes could not be followed the last time.
	// +optional
	LastError string `json:"lastError,omitempty"`
	// lastErrorAt is when that was.
	// +optional
	LastErrorAt *metav1.Time `json:"lastErrorAt,omitempty"`
}

// ObjectEncoding is how objects are encoded.
// +enum
type ObjectEncoding string

const (
	// EncodingJSON is application/json.
	EncodingJSON ObjectEncoding = "JSON"
	// EncodingProtobuf is application/vnd.kubernetes.protobuf.
	EncodingProtobuf ObjectEncoding = "Protobuf"
)

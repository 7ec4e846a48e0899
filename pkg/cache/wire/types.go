package wire

import (
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	// ErrMalformed is for bytes that are not what an apiserver would send, or not
	// laid out as this package knows it.
	ErrMalformed = errors.New("not what an apiserver sends")
	// ErrTooLarge is for an object above the bound that the reader was given.
	ErrTooLarge = errors.New("object too large")
)

// Encoding is how objects are encoded.
type Encoding uint8

const (
	// JSON is application/json.
	JSON Encoding = iota
	// Protobuf is application/vnd.kubernetes.protobuf.
	Protobuf
)

// Kind says what the objects of a resource are called on the wire, and what of
// them can be selected.
type Kind struct {
	// Group and Version as in apiVersion; Group is empty for the core group.
	Group, Version string
	// Kind and ListKind, like "Pod" and "PodList".
	Kind, ListKind string
	// Custom tells a custom resource: its JSON has its keys sorted and kind and
	// apiVersion with every item, and it has no protobuf.
	Custom bool
	// Fields can be selected besides metadata.name and metadata.namespace.
	Fields []Field
}

// FieldType is what a selectable field holds, which says what a selector sees of
// one that is absent: "", "false" or "0". In custom resources it means nothing: a
// selector sees whatever is there, and "" if nothing is.
type FieldType uint8

const (
	// String fields are compared as they are.
	String FieldType = iota
	// Bool fields are "true" or "false".
	Bool
	// Integer fields are decimal.
	Integer
)

// Field is a selectable field.
type Field struct {
	// Name is what selectors call it, like "spec.nodeName".
	Name string
	Type FieldType
	// Path leads to it in JSON, by key; of an array on the way the first element
	// is taken, but not in custom resources. A null is as if it were absent. It must
	// not lead into the metadata.
	Path []string
	// Numbers lead to it in protobuf; of a repeated field on the way the first is
	// taken.
	Numbers []int32
}

// Meta is what is known of an object besides its bytes. It does not refer to these,
// and can be copied and kept; its slices are of this object only, while strings that
// come often are shared. It must not be changed.
type Meta struct {
	// Namespace is empty for what has none.
	Namespace, Name, UID string
	// ResourceVersion is upstream's. Resource versions of one resource are
	// comparable numbers (KEP-5504).
	ResourceVersion uint64
	// Labels are sorted by key.
	Labels Labels
	// Owners are the UIDs of the owner references, in their order.
	Owners []string
	// Fields are the values of Kind.Fields, in that order, as a selector sees them.
	Fields []string
	// MetadataEnd is the length of the head of the body that holds the metadata:
	// in JSON of a built-in type `"metadata":{...}`, in protobuf field 1 with its tag.
	// 0 for custom resources, whose metadata stands elsewhere.
	MetadataEnd int
}

// EventType is the type of a watch event.
type EventType uint8

const (
	// Added, Modified and Deleted carry an object.
	Added EventType = iota
	Modified
	Deleted
	// Bookmark carries a resource version.
	Bookmark
	// Error ends a watch with a Status.
	Error
)

// Event is what a watch of an apiserver has sent.
type Event struct {
	Type EventType
	// Meta of a Bookmark has its ResourceVersion, and nothing else.
	Meta Meta
	// Body is the object's, as it is kept; empty for Error. That of a Bookmark is what
	// NewBookmark takes. It is valid until the next event is read.
	Body []byte
	// InitialEventsEnd marks the Bookmark behind the initial events.
	InitialEventsEnd bool
	// Status is that of an Error.
	Status *metav1.Status
}

// ListMeta is the metadata of a list.
type ListMeta struct {
	// ResourceVersion is decimal.
	ResourceVersion string
	// Continue is the token for the next page, empty on the last.
	Continue string
	// Remaining is how many items follow on later pages; nil if that is not said.
	Remaining *int64
}

package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The tags of the messages around objects, each of one byte. All but tagListRemaining
// are of fields with a length.
const (
	protobufMagic = "k8s\x00"

	// Of runtime.Unknown.
	tagTypeMeta = 1<<3 | byte(protowire.BytesType)
	tagRaw      = 2<<3 | byte(protowire.BytesType)
	// Of lists, and of all objects.
	tagMetadata = 1<<3 | byte(protowire.BytesType)
	tagItem     = 2<<3 | byte(protowire.BytesType)
	// Of metav1.WatchEvent and runtime.RawExtension.
	tagEventType    = 1<<3 | byte(protowire.BytesType)
	tagEventObject  = 2<<3 | byte(protowire.BytesType)
	tagExtensionRaw = 1<<3 | byte(protowire.BytesType)
	// Of metav1.ListMeta.
	tagListSelfLink  = 1<<3 | byte(protowire.BytesType)
	tagListVersion   = 2<<3 | byte(protowire.BytesType)
	tagListContinue  = 3<<3 | byte(protowire.BytesType)
	tagListRemaining = 4<<3 | byte(protowire.VarintType)
	// Of metav1.ObjectMeta.
	tagMetaVersion = metaVersion<<3 | byte(protowire.BytesType)

	// unknownTail is what stands in runtime.Unknown behind raw: an empty content
	// encoding and content type.
	unknownTail = "\x1a\x00\x22\x00"
)

// unknownHead is what stands before raw in a runtime.Unknown, with the magic.
func unknownHead(apiVersion, kind string) string {
	meta := protowire.AppendString([]byte{1<<3 | byte(protowire.BytesType)}, apiVersion)
	meta = protowire.AppendString(append(meta, 2<<3|byte(protowire.BytesType)), kind)
	return string(protowire.AppendBytes(append([]byte(protobufMagic), tagTypeMeta), meta))
}

// field is one of a message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	// value is that of a field with a length, varint that of a varint.
	value  []byte
	varint uint64
}

// nextField splits the first field off a message. Groups, which nothing in
// Kubernetes has, are refused.
func nextField(b []byte) (f field, rest []byte, err error) {
	number, kind, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, nil, malformed("a field: %v", protowire.ParseError(n))
	}
	f.number, f.kind = number, kind
	b = b[n:]
	switch kind {
	case protowire.BytesType:
		f.value, n = protowire.ConsumeBytes(b)
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		_, n = protowire.ConsumeFixed32(b)
	case protowire.Fixed64Type:
		_, n = protowire.ConsumeFixed64(b)
	default:
		return f, nil, malformed("field %d of type %d", number, kind)
	}
	if n < 0 {
		return f, nil, malformed("field %d: %v", number, protowire.ParseError(n))
	}
	return f, b[n:], nil
}

// sole returns the value of a message's field if it is the next, and has a length.
func sole(b []byte, tag byte) (value, rest []byte, err error) {
	if len(b) == 0 || b[0] != tag {
		return nil, nil, malformed("no field %d where it should be", tag>>3)
	}
	value, n := protowire.ConsumeBytes(b[1:])
	if n < 0 {
		return nil, nil, malformed("field %d: %v", tag>>3, protowire.ParseError(n))
	}
	return value, b[1+n:], nil
}

// cutUnknown takes a runtime.Unknown apart, which must begin with head (magic, kind
// and apiVersion) and be laid out as apiservers do it, and returns raw.
func cutUnknown(b []byte, head string) ([]byte, error) {
	if len(b) < len(head) || string(b[:len(head)]) != head {
		return nil, malformed("another kind of object, or none")
	}
	raw, rest, err := sole(b[len(head):], tagRaw)
	if err != nil {
		return nil, err
	}
	if string(rest) != unknownTail {
		return nil, malformed("an object of another content type")
	}
	return raw, nil
}

// malformed returns an ErrMalformed that says what was found.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

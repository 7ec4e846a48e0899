package wire

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendEventHead appends what stands before the object of a watch event.
func (f *Format) AppendEventHead(dst []byte, t EventType, size int) []byte {
	if f.encoding == Protobuf {
		dst = appendFrameHead(dst, t, len(f.object)+1+protowire.SizeBytes(size)+len(f.end))
	} else {
		dst = appendJSONEventHead(dst, t)
	}
	return f.AppendObjectHead(dst, size)
}

// AppendEventTail appends what stands behind the object of a watch event.
func (f *Format) AppendEventTail(dst []byte) []byte {
	dst = append(dst, f.end...)
	if f.encoding == JSON {
		dst = append(dst, "}\n"...)
	}
	return dst
}

func appendJSONEventHead(dst []byte, t EventType) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, t.String()...)
	return append(dst, `","object":`...)
}

// appendFrameHead appends what stands before the bytes of an object, size of them,
// in a watch event of protobuf: the length of the frame, and of a WatchEvent with a
// RawExtension what comes before raw.
func appendFrameHead(dst []byte, t EventType, size int) []byte {
	name := t.String()
	extension := 1 + protowire.SizeBytes(size)
	event := 1 + protowire.SizeBytes(len(name)) + 1 + protowire.SizeBytes(extension)
	dst = binary.BigEndian.AppendUint32(dst, uint32(event))
	dst = append(dst, tagEventType)
	dst = protowire.AppendString(dst, name)
	dst = append(dst, tagEventObject)
	dst = protowire.AppendVarint(dst, uint64(extension))
	dst = append(dst, tagExtensionRaw)
	return protowire.AppendVarint(dst, uint64(size))
}

// String returns the type as events carry it.
func (t EventType) String() string {
	switch t {
	case Added:
		return "ADDED"
	case Modified:
		return "MODIFIED"
	case Deleted:
		return "DELETED"
	case Bookmark:
		return "BOOKMARK"
	default:
		return "ERROR"
	}
}

// eventType returns the type of that name.
func eventType(name []byte) (EventType, bool) {
	for t := Added; t <= Error; t++ {
		if string(name) == t.String() {
			return t, true
		}
	}
	return 0, false
}

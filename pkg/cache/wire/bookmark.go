package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// BookmarkTemplate makes bookmarks. What an empty object of a kind looks like on the
// wire ("spec":{"containers":null} and the like) only its server knows, so it is
// learned from a bookmark of upstream's. It is immutable.
type BookmarkTemplate struct {
	// head is what comes first: in JSON the body up to the metadata's opening brace, in
	// protobuf the metadata's fields before the resource version.
	head []byte
	// version leads to the resource version, behind is what follows it in the metadata
	// before the annotations of built-in types.
	version, behind []byte
	// metadataTail is the rest of the metadata, bodyTail that of the body.
	metadataTail, bodyTail []byte
	// early tells that the annotations stand behind head and not behind behind: in custom
	// resources, whose keys are sorted.
	early bool
}

// initialEventsEnd, as the annotations of an object, in JSON and as field of ObjectMeta.
const (
	initialEndJSON     = `"annotations":{"` + initialEventsEnd + `":"true"}`
	initialEndProtobuf = "\x62\x21\x0a\x19" + initialEventsEnd + "\x12\x04true"
)

// NewBookmark learns from the body of a Bookmark event of that kind. It fails if the
// metadata has anything else than bookmarks have.
func NewBookmark(kind *Kind, encoding Encoding, body []byte) (*BookmarkTemplate, error) {
	body = append([]byte(nil), body...)
	if encoding == Protobuf && !kind.Custom {
		return newProtobufBookmark(body)
	}
	t, err := newJSONBookmark(body, kind.Custom)
	if err == errTruncated {
		err = malformed("JSON that has no end")
	}
	return t, err
}

func newJSONBookmark(body []byte, custom bool) (*BookmarkTemplate, error) {
	all, start, end, err := metadataMembers(body, custom)
	if err != nil {
		return nil, err
	}
	if _, n, err := splitMembers(body, 0); err != nil {
		return nil, err
	} else if n != len(body) {
		return nil, malformed("JSON with something behind it")
	}
	t := &BookmarkTemplate{head: body[:start], metadataTail: []byte("}"), bodyTail: body[end:], early: custom}
	for _, m := range all {
		text := body[m.start:m.end]
		switch string(m.key) {
		case "resourceVersion":
			if t.behind != nil || body[m.value] != '"' {
				return nil, malformed("a bookmark without a resource version, or with two")
			}
			t.version = append(t.version, body[m.start:m.value+1]...)
			t.behind = []byte(`"`)
		case "annotations":
			if string(text) != initialEndJSON {
				return nil, malformed("a bookmark with annotations of its own")
			}
		case "creationTimestamp":
			// Servers before 1.34 write that it is null.
			if t.behind == nil {
				t.version = append(append(t.version, text...), ',')
			} else {
				t.behind = append(append(t.behind, ','), text...)
			}
		default:
			return nil, malformed("a bookmark with %.40q", m.key)
		}
	}
	if t.behind == nil {
		return nil, malformed("a bookmark without a resource version")
	}
	return t, nil
}

func newProtobufBookmark(body []byte) (*BookmarkTemplate, error) {
	meta, rest, err := sole(body, tagMetadata)
	if err != nil {
		return nil, err
	}
	t := &BookmarkTemplate{bodyTail: rest}
	for last := protowire.Number(0); len(meta) > 0; {
		f, next, err := nextField(meta)
		if err != nil {
			return nil, err
		}
		text := meta[:len(meta)-len(next)]
		meta = next
		if f.number <= last {
			return nil, malformed("a bookmark with its fields in disorder")
		}
		last = f.number
		switch {
		case f.number < metaVersion:
			t.head = append(t.head, text...)
		case f.number == metaVersion && f.kind == protowire.BytesType:
			t.version = []byte{tagMetaVersion}
		case f.number == metaAnnotations:
			if string(text) != initialEndProtobuf {
				return nil, malformed("a bookmark with annotations of its own")
			}
		case f.number < metaAnnotations:
			t.behind = append(t.behind, text...)
		default:
			t.metadataTail = append(t.metadataTail, text...)
		}
	}
	if t.version == nil {
		return nil, malformed("a bookmark without a resource version")
	}
	for rest := rest; len(rest) > 0; {
		if _, rest, err = nextField(rest); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// AppendEvent appends a whole bookmark event. f must be a Format of the same kind and
// encoding, and resourceVersion decimal.
func (t *BookmarkTemplate) AppendEvent(dst []byte, f *Format, resourceVersion string, initialEventsEnd bool) []byte {
	tail := t.bodyTail
	if f.metadata {
		tail = nil
	}
	if f.encoding == Protobuf {
		return t.appendProtobuf(dst, f, resourceVersion, initialEventsEnd, tail)
	}
	// In JSON nothing depends on the size.
	dst = f.AppendEventHead(dst, Bookmark, 0)
	dst = append(dst, t.head...)
	if initialEventsEnd && t.early {
		dst = append(dst, initialEndJSON...)
		dst = append(dst, ',')
	}
	dst = append(dst, t.version...)
	dst = append(dst, resourceVersion...)
	dst = append(dst, t.behind...)
	if initialEventsEnd && !t.early {
		dst = append(dst, ',')
		dst = append(dst, initialEndJSON...)
	}
	dst = append(dst, t.metadataTail...)
	dst = append(dst, tail...)
	return f.AppendEventTail(dst)
}

func (t *BookmarkTemplate) appendProtobuf(dst []byte, f *Format, resourceVersion string, initialEventsEnd bool, tail []byte) []byte {
	annotations := ""
	if initialEventsEnd {
		annotations = initialEndProtobuf
	}
	size := len(t.head) + len(t.version) + protowire.SizeBytes(len(resourceVersion)) + len(t.behind) + len(annotations) + len(t.metadataTail)
	dst = f.AppendEventHead(dst, Bookmark, 1+protowire.SizeBytes(size)+len(tail))
	dst = append(dst, tagMetadata)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = append(dst, t.head...)
	dst = append(dst, t.version...)
	dst = protowire.AppendString(dst, resourceVersion)
	dst = append(dst, t.behind...)
	dst = append(dst, annotations...)
	dst = append(dst, t.metadataTail...)
	dst = append(dst, tail...)
	return f.AppendEventTail(dst)
}

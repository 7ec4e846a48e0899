package wire

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// parseJSON reads the members of a list's metadata and the closing brace from the
// beginning of b, and returns their length. Members that cannot be written again are
// refused.
func (m *ListMeta) parseJSON(b []byte) (int, error) {
	*m = ListMeta{}
	all, end, err := splitMembers(b, 0)
	if err != nil {
		return 0, err
	}
	for i, part := range all {
		if soleMember(all[:i+1], string(part.key)) != i {
			return 0, malformed("%.40q twice in the metadata of a list", part.key)
		}
		switch raw, key := b[part.value:part.end], string(part.key); {
		case key == "remainingItemCount":
			n, err := strconv.ParseInt(string(raw), 10, 64)
			if err != nil {
				return 0, malformed("remaining items %.40q", raw)
			}
			m.Remaining = &n
		case key == "resourceVersion" && raw[0] == '"':
			m.ResourceVersion = unquote(b, value{start: part.value + 1, end: part.end - 1})
		case key == "continue" && raw[0] == '"':
			m.Continue = unquote(b, value{start: part.value + 1, end: part.end - 1})
		case key == "selfLink" && string(raw) == `""`:
			// Servers before 1.20 have written it.
		default:
			return 0, malformed("%.40q in the metadata of a list", key)
		}
	}
	return end, m.check()
}

// parseProtobuf reads the message of a list's metadata.
func (m *ListMeta) parseProtobuf(b []byte) error {
	*m = ListMeta{}
	for len(b) > 0 {
		var f field
		var err error
		if f, b, err = nextField(b); err != nil {
			return err
		}
		switch tag := byte(f.number)<<3 | byte(f.kind); {
		case f.number > 4:
			return malformed("field %d in the metadata of a list", f.number)
		case tag == tagListSelfLink && len(f.value) == 0:
		case tag == tagListVersion:
			m.ResourceVersion = string(f.value)
		case tag == tagListContinue:
			m.Continue = string(f.value)
		case tag == tagListRemaining:
			n := int64(f.varint)
			m.Remaining = &n
		default:
			return malformed("field %d in the metadata of a list", f.number)
		}
	}
	return m.check()
}

// check makes sure that the resource version is one.
func (m *ListMeta) check() error {
	_, err := parseVersion(m.ResourceVersion)
	return err
}

// appendJSON appends the members of a list's metadata, as of built-in types.
func (m *ListMeta) appendJSON(dst []byte) []byte {
	at := len(dst)
	if m.ResourceVersion != "" {
		dst = append(dst, `,"resourceVersion":`...)
		dst = appendQuoted(dst, m.ResourceVersion)
	}
	if m.Continue != "" {
		dst = append(dst, `,"continue":`...)
		dst = appendQuoted(dst, m.Continue)
	}
	if m.Remaining != nil {
		dst = append(dst, `,"remainingItemCount":`...)
		dst = strconv.AppendInt(dst, *m.Remaining, 10)
	}
	if at == len(dst) {
		return dst
	}
	return append(dst[:at], dst[at+1:]...)
}

// appendSortedJSON appends the members of a list's metadata, as of custom resources.
func (m *ListMeta) appendSortedJSON(dst []byte) []byte {
	dst = append(dst, `"continue":`...)
	dst = appendQuoted(dst, m.Continue)
	if m.Remaining != nil {
		dst = append(dst, `,"remainingItemCount":`...)
		dst = strconv.AppendInt(dst, *m.Remaining, 10)
	}
	dst = append(dst, `,"resourceVersion":`...)
	return appendQuoted(dst, m.ResourceVersion)
}

// protobufSize is the length of what appendProtobuf appends.
func (m *ListMeta) protobufSize() int {
	n := 2 + 1 + protowire.SizeBytes(len(m.ResourceVersion)) + 1 + protowire.SizeBytes(len(m.Continue))
	if m.Remaining != nil {
		n += 1 + protowire.SizeVarint(uint64(*m.Remaining))
	}
	return n
}

// appendProtobuf appends the message of a list's metadata. Like all strings of
// Kubernetes' messages, empty ones are written.
func (m *ListMeta) appendProtobuf(dst []byte) []byte {
	dst = append(dst, tagListSelfLink, 0, tagListVersion)
	dst = protowire.AppendString(dst, m.ResourceVersion)
	dst = append(dst, tagListContinue)
	dst = protowire.AppendString(dst, m.Continue)
	if m.Remaining != nil {
		dst = append(dst, tagListRemaining)
		dst = protowire.AppendVarint(dst, uint64(*m.Remaining))
	}
	return dst
}

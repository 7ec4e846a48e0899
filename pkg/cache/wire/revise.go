package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// WithResourceVersion returns what this format writes of a body, with another
// resource version: for the event that tells of an object's leaving a selection,
// which carries the old object and the version at which it left. Of body the part that
// this format writes is enough. The result is written as it is, with its own length as
// size: Part has been applied.
func (f *Format) WithResourceVersion(body []byte, resourceVersion string) ([]byte, error) {
	if _, err := parseVersion(resourceVersion); err != nil {
		return nil, err
	}
	var out []byte
	var err error
	if f.encoding == Protobuf {
		out, err = f.reviseProtobuf(body, resourceVersion)
	} else {
		out, err = f.reviseJSON(body, resourceVersion)
	}
	if err == errTruncated {
		err = malformed("JSON that has no end")
	}
	return out, err
}

func (f *Format) reviseJSON(body []byte, version string) ([]byte, error) {
	all, _, end, err := metadataMembers(body, f.custom)
	if err != nil {
		return nil, err
	}
	i := soleMember(all, "resourceVersion")
	if i < 0 || body[all[i].value] != '"' {
		return nil, malformed("metadata without a resource version, or with two")
	}
	if !f.metadata {
		end = len(body)
	}
	out := make([]byte, 0, end+len(version))
	out = append(out, body[:all[i].value+1]...)
	out = append(out, version...)
	return append(out, body[all[i].end-1:end]...), nil
}

func (f *Format) reviseProtobuf(body []byte, version string) ([]byte, error) {
	meta, rest, err := sole(body, tagMetadata)
	if err != nil {
		return nil, err
	}
	before, after, ok, err := cutField(meta, metaVersion)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, malformed("metadata without a resource version, or with two")
	}
	if f.metadata {
		rest = nil
	}
	size := len(before) + 1 + protowire.SizeBytes(len(version)) + len(after)
	out := make([]byte, 0, 1+protowire.SizeBytes(size)+len(rest))
	out = append(out, tagMetadata)
	out = protowire.AppendVarint(out, uint64(size))
	out = append(out, before...)
	out = append(out, tagMetaVersion)
	out = protowire.AppendString(out, version)
	out = append(out, after...)
	return append(out, rest...), nil
}

// cutField cuts a message around the only field of a number, whose value has a
// length.
func cutField(b []byte, number protowire.Number) (before, after []byte, ok bool, err error) {
	for rest := b; len(rest) > 0; {
		f, next, err := nextField(rest)
		if err != nil {
			return nil, nil, false, err
		}
		if f.number == number {
			if ok || f.kind != protowire.BytesType {
				return nil, nil, false, nil
			}
			before, after, ok = b[:len(b)-len(rest)], next, true
		}
		rest = next
	}
	return before, after, ok, nil
}

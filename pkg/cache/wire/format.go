package wire

import "google.golang.org/protobuf/encoding/protowire"

// Format knows what an apiserver sends around the bodies of a kind in one
// encoding. Its methods append to dst and allocate nothing beyond it.
//
// An answer to a list is
//
//	AppendListHead, (AppendItemHead, part of body)..., AppendListTail
//
// that to a GET is AppendObjectHead, part of body, AppendObjectTail; a watch event
// is AppendEventHead, part of body, AppendEventTail. What part that is, is said by
// Part; sizes given to a Format are those of the part.
type Format struct {
	encoding Encoding
	// metadata is set for PartialObjectMetadata; custom for the layout of custom
	// resources.
	metadata, custom bool
	version          string
	kind, listKind   string

	// object stands before a body, in JSON with the brace; end behind it.
	object, end string
	// list is what a list begins with, up to its ListMeta.
	list string
}

// NewFormat returns the Format of the objects as they are. Custom kinds have
// nothing but JSON, which is what they get for any encoding.
func NewFormat(kind *Kind, encoding Encoding) *Format {
	f := &Format{encoding: encoding, custom: kind.Custom, version: kind.apiVersion(), kind: kind.Kind, listKind: kind.ListKind}
	switch {
	case kind.Custom:
		f.encoding = JSON
		f.object = "{"
		f.list = `{"apiVersion":` + quote(f.version) + `,"items":`
	case encoding == Protobuf:
		f.protobuf()
	default:
		f.object = `{` + jsonPrefix(f.kind, f.version)
		f.list = `{` + jsonPrefix(f.listKind, f.version)
	}
	return f
}

// NewMetadataFormat returns the Format of the objects as PartialObjectMetadata of
// meta.k8s.io/v1. It is false for custom resources, whose metadata has its keys in
// another order than PartialObjectMetadata.
func NewMetadataFormat(kind *Kind, encoding Encoding) (*Format, bool) {
	if kind.Custom {
		return nil, false
	}
	f := &Format{encoding: encoding, metadata: true, version: "meta.k8s.io/v1", kind: "PartialObjectMetadata", listKind: "PartialObjectMetadataList"}
	if encoding == Protobuf {
		f.protobuf()
		return f, true
	}
	f.object = `{` + jsonPrefix(f.kind, f.version)
	f.end = "}"
	f.list = `{` + jsonPrefix(f.listKind, f.version)
	return f, true
}

// protobuf sets what stands around messages: of runtime.Unknown all but raw.
func (f *Format) protobuf() {
	f.object = unknownHead(f.version, f.kind)
	f.list = unknownHead(f.version, f.listKind)
	f.end = unknownTail
}

// apiVersion returns the group and version as objects carry them.
func (k *Kind) apiVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// jsonPrefix is what an object of a built-in type begins with, without its brace.
func jsonPrefix(kind, version string) string {
	return `"kind":` + quote(kind) + `,"apiVersion":` + quote(version) + `,`
}

// ContentType returns the Content-Type of answers; watch is for streams of events.
func (f *Format) ContentType(watch bool) string {
	switch {
	case watch && f.encoding == Protobuf:
		return f.encoding.MediaType() + ";stream=watch"
	default:
		return f.encoding.MediaType()
	}
}

// Part returns how many bytes of a body this format writes: all, or the metadata.
func (f *Format) Part(meta *Meta, bodySize int) int {
	if f.metadata {
		return meta.MetadataEnd
	}
	return bodySize
}

// ItemSize returns what an item of that size adds to a list: in protobuf to the
// message, in JSON to the text.
func (f *Format) ItemSize(size int) int {
	if f.encoding == Protobuf {
		return 1 + protowire.SizeBytes(size)
	}
	item := len("[{") + size
	if f.metadata {
		item += len(f.object) - len("{") + len(f.end)
	}
	return item
}

// AppendListHead appends what stands before the first item. itemsSize is the sum of
// the ItemSizes of the items to come, which must be exact for protobuf, and means
// nothing in JSON.
func (f *Format) AppendListHead(dst []byte, meta *ListMeta, itemsSize int64) []byte {
	dst = append(dst, f.list...)
	switch {
	case f.encoding == Protobuf:
		size := meta.protobufSize()
		dst = append(dst, tagRaw)
		dst = protowire.AppendVarint(dst, uint64(1+protowire.SizeBytes(size))+uint64(itemsSize))
		dst = append(dst, tagMetadata)
		dst = protowire.AppendVarint(dst, uint64(size))
		dst = meta.appendProtobuf(dst)
	case !f.custom:
		dst = append(dst, `"metadata":{`...)
		dst = meta.appendJSON(dst)
		dst = append(dst, `},"items":`...)
	}
	return dst
}

// AppendItemHead appends what stands before an item of that size. first is for the
// first one of a list.
func (f *Format) AppendItemHead(dst []byte, first bool, size int) []byte {
	if f.encoding == Protobuf {
		dst = append(dst, tagItem)
		return protowire.AppendVarint(dst, uint64(size))
	}
	if first {
		dst = append(dst, '[')
	} else {
		dst = append(dst, f.end...)
		dst = append(dst, ',')
	}
	if f.metadata {
		return append(dst, f.object...)
	}
	return append(dst, '{')
}

// AppendListTail appends what stands behind the last item, with the ListMeta that
// AppendListHead had. empty is for a list without items.
func (f *Format) AppendListTail(dst []byte, meta *ListMeta, empty bool) []byte {
	if f.encoding == Protobuf {
		return append(dst, f.end...)
	}
	switch {
	case !empty:
		dst = append(dst, f.end...)
		dst = append(dst, ']')
	case f.metadata:
		// An apiserver makes this list by appending to none.
		dst = append(dst, "null"...)
	default:
		dst = append(dst, "[]"...)
	}
	if f.custom {
		dst = append(dst, `,"kind":`...)
		dst = appendQuoted(dst, f.listKind)
		dst = append(dst, `,"metadata":{`...)
		dst = meta.appendSortedJSON(dst)
		dst = append(dst, '}')
	}
	return append(dst, "}\n"...)
}

// AppendObjectHead appends what stands before the only object of an answer.
func (f *Format) AppendObjectHead(dst []byte, size int) []byte {
	dst = append(dst, f.object...)
	if f.encoding == Protobuf {
		dst = append(dst, tagRaw)
		dst = protowire.AppendVarint(dst, uint64(size))
	}
	return dst
}

// AppendObjectTail appends what stands behind it.
func (f *Format) AppendObjectTail(dst []byte) []byte {
	dst = append(dst, f.end...)
	if f.encoding == JSON {
		dst = append(dst, '\n')
	}
	return dst
}

package wire

import "google.golang.org/protobuf/encoding/protowire"

// growProtobufTree makes the tree of the selectable fields. The metadata needs none.
func (s *scanner) growProtobufTree() {
	for i := range s.kind.Fields {
		at := &s.root
		for _, number := range s.kind.Fields[i].Numbers {
			at = at.child(func(n *node) bool { return n.number == number }, node{number: number})
		}
		at.take, at.field = takeField, i
	}
	s.number(&s.root)
	s.seen = make([]bool, s.nodes)
}

// protobuf passes over a body.
func (s *scanner) protobuf(b []byte) error {
	s.reset()
	clear(s.seen)
	if len(b) == 0 || b[0] != tagMetadata {
		return malformed("an object that does not begin with its metadata")
	}
	for rest := b; len(rest) > 0; {
		f, after, err := nextField(rest)
		if err != nil {
			return err
		}
		if f.number == protowire.Number(tagMetadata>>3) {
			if s.metadataEnd != 0 {
				return malformed("an object with its metadata twice")
			}
			s.metadataEnd = len(b) - len(after)
			s.metadataStart = s.metadataEnd - len(f.value)
			if err := s.objectMeta(b); err != nil {
				return err
			}
		}
		if err := s.take(len(b)-len(after), f, &s.root); err != nil {
			return err
		}
		rest = after
	}
	return nil
}

// The fields of ObjectMeta and, of owner references, the UID.
const (
	metaName        = 1
	metaNamespace   = 3
	metaUID         = 5
	metaVersion     = 6
	metaLabels      = 11
	metaAnnotations = 12
	metaOwners      = 13
	ownerUID        = 4
)

// objectMeta passes over the metadata.
func (s *scanner) objectMeta(b []byte) error {
	for rest := b[s.metadataStart:s.metadataEnd]; len(rest) > 0; {
		f, after, err := nextField(rest)
		if err != nil {
			return err
		}
		rest = after
		end := s.metadataEnd - len(rest)
		switch f.number {
		case metaName:
			err = takeString(&s.name, f, end)
		case metaNamespace:
			err = takeString(&s.namespace, f, end)
		case metaUID:
			err = takeString(&s.uid, f, end)
		case metaVersion:
			err = takeString(&s.version, f, end)
		case metaLabels:
			var l labelValue
			l.key, l.value, err = entry(f, end)
			s.labels = append(s.labels, l)
		case metaAnnotations:
			var key, v value
			if key, v, err = entry(f, end); err == nil && s.is(b, key, initialEventsEnd) {
				s.initialEnd = v
			}
		case metaOwners:
			var uid value
			uid, err = owner(f, end)
			s.owners = append(s.owners, uid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeString takes a field that must be a string, and end at end.
func takeString(v *value, f field, end int) error {
	if f.kind != protowire.BytesType || v.form != absent {
		return malformed("field %d of another type, or twice", f.number)
	}
	*v = value{start: end - len(f.value), end: end, form: text}
	return nil
}

// entry takes the entry of a map of strings, which ends at end.
func entry(f field, end int) (key, v value, err error) {
	if f.kind != protowire.BytesType {
		return key, v, malformed("field %d of another type", f.number)
	}
	for rest := f.value; len(rest) > 0; {
		var part field
		if part, rest, err = nextField(rest); err != nil {
			return key, v, err
		}
		switch part.number {
		case 1:
			err = takeString(&key, part, end-len(rest))
		case 2:
			err = takeString(&v, part, end-len(rest))
		}
		if err != nil {
			return key, v, err
		}
	}
	return key, v, nil
}

// owner takes the UID of an owner reference, which ends at end.
func owner(f field, end int) (uid value, err error) {
	if f.kind != protowire.BytesType {
		return uid, malformed("field %d of another type", f.number)
	}
	for rest := f.value; len(rest) > 0; {
		var part field
		if part, rest, err = nextField(rest); err != nil {
			return uid, err
		}
		if part.number == ownerUID {
			if err := takeString(&uid, part, end-len(rest)); err != nil {
				return uid, err
			}
		}
	}
	return uid, nil
}

// take takes from a field that ends at end what the tree below n says: of fields that
// repeat, from the first. The tree is as deep as the paths of selectable fields are.
func (s *scanner) take(end int, f field, n *node) error {
	for i := range n.children {
		child := &n.children[i]
		if child.number != int32(f.number) || s.seen[child.id] {
			continue
		}
		s.seen[child.id] = true
		if child.take == takeField {
			switch f.kind {
			case protowire.BytesType:
				s.fields[child.field] = value{start: end - len(f.value), end: end, form: text}
			case protowire.VarintType:
				s.fields[child.field] = value{form: varint, integer: int64(f.varint)}
			default:
				s.fields[child.field] = value{form: other}
			}
		}
		if len(child.children) == 0 || f.kind != protowire.BytesType {
			continue
		}
		for rest := f.value; len(rest) > 0; {
			part, after, err := nextField(rest)
			if err != nil {
				return err
			}
			if err := s.take(end-len(after), part, child); err != nil {
				return err
			}
			rest = after
		}
	}
	return nil
}

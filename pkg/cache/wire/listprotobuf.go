package wire

import "google.golang.org/protobuf/encoding/protowire"

// protobuf reads a list of which everything stands where apiservers put it. What
// comes in pieces is read field by field, as lists are larger than memory allows.
func (l *listReader) protobuf() error {
	if err := l.expect(unknownHead(l.kind.apiVersion(), l.kind.ListKind)); err != nil {
		return err
	}
	if err := l.tag(tagRaw); err != nil {
		return err
	}
	rest, _, err := l.varint()
	if err != nil {
		return err
	}
	meta, rest, err := l.field(tagMetadata, rest, maxListMeta)
	if err != nil {
		return err
	}
	if err := l.list.parseProtobuf(meta); err != nil {
		return err
	}
	l.source.take(len(meta))
	for rest > 0 {
		var body []byte
		if body, rest, err = l.field(tagItem, rest, l.maxObject); err != nil {
			return err
		}
		if err := l.scanner.protobuf(body); err != nil {
			return err
		}
		if err := l.found(body); err != nil {
			return err
		}
		l.source.take(len(body))
	}
	if err := l.expect(unknownTail); err != nil {
		return err
	}
	return l.end()
}

// field reads the next field of the list, of which rest bytes are to come, and returns
// its value, which the caller takes, and what is left behind it.
func (l *listReader) field(tag byte, rest uint64, most int) ([]byte, uint64, error) {
	if err := l.tag(tag); err != nil {
		return nil, 0, err
	}
	size, n, err := l.varint()
	if err != nil {
		return nil, 0, err
	}
	head := uint64(1 + n)
	if rest < head || size > rest-head {
		return nil, 0, malformed("a list that is longer than it says")
	}
	if size > uint64(most) {
		return nil, 0, ErrTooLarge
	}
	if err := l.source.need(int(size)); err != nil {
		return nil, 0, err
	}
	return l.source.bytes()[:size], rest - head - size, nil
}

// tag takes a tag, which must be the one given.
func (l *listReader) tag(tag byte) error {
	if err := l.source.need(1); err != nil {
		return err
	}
	if got := l.source.bytes()[0]; got != tag {
		return malformed("tag %#x in a list instead of %#x", got, tag)
	}
	l.source.take(1)
	return nil
}

// varint reads a varint, and returns its length as well.
func (l *listReader) varint() (v uint64, n int, err error) {
	for n = 1; n <= 10; n++ {
		if err := l.source.need(n); err != nil {
			return 0, 0, err
		}
		if l.source.bytes()[n-1] < 0x80 {
			break
		}
	}
	v, n = protowire.ConsumeVarint(l.source.bytes()[:min(n, 10)])
	if n < 0 {
		return 0, 0, malformed("a length: %v", protowire.ParseError(n))
	}
	l.source.take(n)
	return v, n, nil
}

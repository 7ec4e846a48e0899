package wire

import (
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxListMeta bounds what is said of a list besides its items.
const maxListMeta = 64 << 10

// listBuffer is how much of a list is buffered: so much that few items have to be
// passed over a second time as they were not whole.
const listBuffer = 256 << 10

// ReadList reads a list response while it arrives, calling item for each. body is
// valid during the call only; meta is, too, but a copy of what it points to can be
// kept. An object of more than maxObject bytes is ErrTooLarge, a list that breaks off
// io.ErrUnexpectedEOF, however many items there were. Errors of item end the reading
// and are returned as they are.
func ReadList(r io.Reader, kind *Kind, encoding Encoding, maxObject int, item func(body []byte, meta *Meta) error) (ListMeta, error) {
	l := &listReader{source: source{r: r, size: listBuffer}, kind: kind, scanner: newScanner(kind, encoding), maxObject: maxObject, item: item}
	var err error
	switch {
	case encoding == Protobuf && !kind.Custom:
		err = l.protobuf()
	case kind.Custom:
		err = l.customJSON()
	default:
		err = l.json()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return ListMeta{}, err
	}
	return l.list, nil
}

// listReader reads a list.
type listReader struct {
	source    source
	kind      *Kind
	scanner   *scanner
	maxObject int
	item      func(body []byte, meta *Meta) error
	list      ListMeta
	meta      Meta
}

// found hands an item on that the scanner has passed over.
func (l *listReader) found(body []byte) error {
	if len(body) > l.maxObject {
		return ErrTooLarge
	}
	var err error
	if l.meta, err = l.scanner.meta(body); err != nil {
		return err
	}
	return l.item(body, &l.meta)
}

// expect takes what must come next.
func (l *listReader) expect(what string) error {
	if err := l.source.need(len(what)); err != nil {
		return err
	}
	if got := l.source.bytes()[:len(what)]; string(got) != what {
		return malformed("%.100q in a list instead of %.100q", got, what)
	}
	l.source.take(len(what))
	return nil
}

// end makes sure that nothing comes any more.
func (l *listReader) end() error {
	switch err := l.source.need(1); err {
	case io.EOF:
		return nil
	case nil:
		return malformed("something behind a list")
	default:
		return err
	}
}

func (l *listReader) json() error {
	if err := l.expect(`{` + jsonPrefix(l.kind.ListKind, l.kind.apiVersion()) + `"metadata":{`); err != nil {
		return err
	}
	if err := l.jsonListMeta(); err != nil {
		return err
	}
	if err := l.expect(`,"items":`); err != nil {
		return err
	}
	if err := l.jsonItems(); err != nil {
		return err
	}
	return l.jsonEnd("}")
}

func (l *listReader) customJSON() error {
	if err := l.expect(`{"apiVersion":` + quote(l.kind.apiVersion()) + `,"items":`); err != nil {
		return err
	}
	if err := l.jsonItems(); err != nil {
		return err
	}
	if err := l.expect(`,"kind":` + quote(l.kind.ListKind) + `,"metadata":{`); err != nil {
		return err
	}
	if err := l.jsonListMeta(); err != nil {
		return err
	}
	return l.jsonEnd("}")
}

// jsonEnd takes the end of a list and a newline behind it.
func (l *listReader) jsonEnd(what string) error {
	if err := l.expect(what); err != nil {
		return err
	}
	if err := l.source.need(1); err == nil && l.source.bytes()[0] == '\n' {
		l.source.take(1)
	}
	return l.end()
}

// whole calls pass with what is buffered until that is enough for it: until it
// returns another error than errTruncated. That happens each time twice as much has
// come, so that nothing is looked at more than about twice.
func (l *listReader) whole(most int, pass func(b []byte) error) error {
	for {
		b := l.source.bytes()
		err := pass(b)
		if err != errTruncated {
			return err
		}
		if len(b) > most {
			return ErrTooLarge
		}
		want := min(max(2*len(b), listBuffer/2), most+1)
		if err := l.source.need(want); err == io.ErrUnexpectedEOF && l.source.end-l.source.start > len(b) {
			// All has come that will.
			continue
		} else if err != nil {
			return err
		}
	}
}

// jsonItems reads the array of items.
func (l *listReader) jsonItems() error {
	if err := l.source.need(1); err != nil {
		return err
	}
	if l.source.bytes()[0] == 'n' {
		return l.expect("null")
	}
	if err := l.expect("["); err != nil {
		return err
	}
	if err := l.source.need(1); err != nil {
		return err
	}
	if l.source.bytes()[0] == ']' {
		return l.expect("]")
	}
	var n int
	pass := func(b []byte) (err error) {
		n, err = l.scanner.json(b)
		return err
	}
	for {
		if err := l.expect("{"); err != nil {
			return err
		}
		if err := l.whole(l.maxObject, pass); err != nil {
			return err
		}
		if err := l.found(l.source.bytes()[:n]); err != nil {
			return err
		}
		l.source.take(n)
		if err := l.source.need(1); err != nil {
			return err
		}
		if l.source.bytes()[0] == ']' {
			return l.expect("]")
		}
		if err := l.expect(","); err != nil {
			return err
		}
	}
}

// jsonListMeta reads the metadata of a list, from behind its opening brace.
func (l *listReader) jsonListMeta() error {
	var n int
	err := l.whole(maxListMeta, func(b []byte) (err error) {
		n, err = l.list.parseJSON(b)
		return err
	})
	if err != nil {
		return err
	}
	l.source.take(n)
	return nil
}

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

package wire

import "io"

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

package wire

import "io"

// json reads a list of a built-in type.
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

// customJSON reads a list of custom resources, whose keys are sorted.
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

package wire

import "io"

// ReadList reads a list response while it arrives, calling item for each.
func ReadList(r io.Reader, kind *Kind, encoding Encoding, maxObject int, item func(body []byte, meta *Meta) error) (ListMeta, error) {
	return ListMeta{}, ErrMalformed
}

// ParseObject parses the answer to a GET.
func ParseObject(kind *Kind, encoding Encoding, object []byte) (body []byte, meta *Meta, err error) {
	return nil, nil, ErrMalformed
}

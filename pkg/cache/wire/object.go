package wire

import "bytes"

// ParseObject parses the answer to a GET. body is a part of object.
func ParseObject(kind *Kind, encoding Encoding, object []byte) (body []byte, meta *Meta, err error) {
	s := newScanner(kind, encoding)
	if encoding == Protobuf && !kind.Custom {
		body, err = s.protobufObject(object, kind.objectHead(encoding))
	} else {
		body, err = s.jsonObject(bytes.TrimSuffix(object, []byte("\n")), kind.objectHead(encoding))
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := s.meta(body)
	if err != nil {
		return nil, nil, err
	}
	return body, &m, nil
}

// jsonObject passes over an object that is all of b and returns its body. head is what
// stands before it, but for the brace.
func (s *scanner) jsonObject(b []byte, head string) ([]byte, error) {
	if len(b) < 1+len(head) || b[0] != '{' || string(b[1:1+len(head)]) != head {
		return nil, malformed("another kind of object, or none")
	}
	body := b[1+len(head):]
	switch n, err := s.json(body); {
	case err == errTruncated:
		return nil, malformed("JSON that has no end")
	case err != nil:
		return nil, err
	case n != len(body):
		return nil, malformed("JSON with something behind it")
	}
	return body, nil
}

// protobufObject passes over an object in its runtime.Unknown and returns its body.
func (s *scanner) protobufObject(b []byte, head string) ([]byte, error) {
	body, err := cutUnknown(b, head)
	if err != nil {
		return nil, err
	}
	return body, s.protobuf(body)
}

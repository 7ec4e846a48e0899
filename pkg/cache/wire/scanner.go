package wire

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanner finds in an object what Meta has. It notes where values stand while it
// passes over the object, and makes strings of them when it knows the object is
// whole, so that it can be tried on a part of one.
//
// Nothing that it looks at may be there twice: what decoders make of that differs,
// and apiservers do not send it.
type scanner struct {
	kind *Kind
	root node
	// nodes is how many there are in the tree of root.
	nodes  int
	passer passer
	intern interner

	// What was found in the object at hand. seen tells of each node of JSON whether it
	// has come in the object that it is a member of.
	seen                          []bool
	name, namespace, uid, version value
	apiVersion, kindName          value
	initialEnd                    value
	metadataStart, metadataEnd    int
	labels                        []labelValue
	owners                        []value
	fields                        []value
	unique                        []byte
}

// value is where a value stands.
type value struct {
	start, end int
	form       form
	// integer is that of a varint of protobuf.
	integer int64
}

// form is what a value is.
type form uint8

const (
	absent form = iota
	// text is a string, without quotes; quoted is one with escapes or with bytes that
	// are not UTF-8.
	text
	quoted
	// varint is of protobuf; word is true, false or a number of JSON.
	varint
	word
	// other is an array or an object.
	other
)

type labelValue struct{ key, value value }

func newScanner(kind *Kind, encoding Encoding) *scanner {
	s := &scanner{kind: kind, fields: make([]value, len(kind.Fields))}
	if kind.Custom || encoding == JSON {
		s.growJSONTree()
	} else {
		s.growProtobufTree()
	}
	return s
}

// reset forgets the object before.
func (s *scanner) reset() {
	s.name, s.namespace, s.uid, s.version = value{}, value{}, value{}, value{}
	s.apiVersion, s.kindName, s.initialEnd = value{}, value{}, value{}
	s.metadataStart, s.metadataEnd = 0, 0
	s.labels, s.owners = s.labels[:0], s.owners[:0]
	clear(s.fields)
}

// meta makes the Meta of the object found in b. Its slices are its own.
func (s *scanner) meta(b []byte) (Meta, error) {
	var m Meta
	var err error
	if m.ResourceVersion, err = s.resourceVersion(b); err != nil {
		return m, err
	}
	// Name and UID are of this object only, and live as long as each other.
	s.unique = s.append(s.unique[:0], b, s.name)
	n := len(s.unique)
	if n == 0 {
		return m, malformed("an object without a name")
	}
	s.unique = s.append(s.unique, b, s.uid)
	unique := string(s.unique)
	m.Name, m.UID = unique[:n], unique[n:]
	m.Namespace = s.string(b, s.namespace)
	if m.Labels, err = s.sortedLabels(b); err != nil {
		return m, err
	}
	if len(s.owners) > 0 {
		m.Owners = make([]string, len(s.owners))
		for i, owner := range s.owners {
			m.Owners[i] = s.string(b, owner)
		}
	}
	if len(s.fields) > 0 {
		m.Fields = make([]string, len(s.fields))
		for i, field := range s.fields {
			if m.Fields[i], err = s.field(b, field, &s.kind.Fields[i]); err != nil {
				return m, err
			}
		}
	}
	if !s.kind.Custom {
		m.MetadataEnd = s.metadataEnd
	}
	return m, nil
}

// resourceVersion returns that of the object found in b.
func (s *scanner) resourceVersion(b []byte) (uint64, error) {
	// One that has escapes is none either.
	return parseVersion(b[s.version.start:s.version.end])
}

func (s *scanner) sortedLabels(b []byte) (Labels, error) {
	if len(s.labels) == 0 {
		return nil, nil
	}
	labels := make(Labels, len(s.labels))
	sorted := true
	for i, l := range s.labels {
		labels[i] = Label{Key: s.string(b, l.key), Value: s.string(b, l.value)}
		sorted = sorted && (i == 0 || labels[i-1].Key < labels[i].Key)
	}
	if !sorted {
		slices.SortFunc(labels, func(a, b Label) int { return strings.Compare(a.Key, b.Key) })
		for i := range labels[1:] {
			if labels[i].Key == labels[i+1].Key {
				return nil, malformed("label %.100q twice", labels[i].Key)
			}
		}
	}
	return labels, nil
}

// field returns what a selector sees.
func (s *scanner) field(b []byte, v value, f *Field) (string, error) {
	switch {
	case s.kind.Custom:
		return s.customField(b, v)
	case v.form == absent:
		return f.zero(), nil
	case f.Type == String && (v.form == text || v.form == quoted):
		return s.string(b, v), nil
	case f.Type == Bool && v.form == varint:
		return strconv.FormatBool(v.integer != 0), nil
	case f.Type == Integer && v.form == varint:
		return strconv.FormatInt(v.integer, 10), nil
	case f.Type != String && v.form == word:
		raw := b[v.start:v.end]
		if isWord := raw[0] == 't' || raw[0] == 'f'; isWord == (f.Type == Bool) {
			return s.intern.intern(raw), nil
		}
	}
	return "", malformed("field %s is of another type", f.Name)
}

// zero returns what a selector sees of a field that is absent.
func (f *Field) zero() string {
	switch f.Type {
	case Bool:
		return "false"
	case Integer:
		return "0"
	default:
		return ""
	}
}

// string returns a value that is a string, the same one for equal values.
func (s *scanner) string(b []byte, v value) string {
	if v.form == quoted {
		return unquote(b, v)
	}
	return s.intern.intern(b[v.start:v.end])
}

// append appends a value that is a string.
func (s *scanner) append(dst, b []byte, v value) []byte {
	if v.form == quoted {
		return append(dst, unquote(b, v)...)
	}
	return append(dst, b[v.start:v.end]...)
}

// unquote decodes a string of JSON that is rarely met.
func unquote(b []byte, v value) string {
	var s string
	// passString has found it to be right.
	_ = json.Unmarshal(b[v.start-1:v.end+1], &s)
	return s
}

// textValue is the value of a string of JSON, given with its quotes.
func textValue(b []byte, start, end int, escaped bool) value {
	v := value{start: start + 1, end: end - 1, form: text}
	if escaped || !utf8.Valid(b[v.start:v.end]) {
		v.form = quoted
	}
	return v
}

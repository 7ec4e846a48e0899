package wire

// node is a place in objects that is looked at. In JSON it is found by key, in
// protobuf by number.
type node struct {
	key      string
	number   int32
	children []node
	// id numbers the nodes of a tree.
	id int
	// take says what its value is for, field which field's it is.
	take  take
	field int
}

type take uint8

const (
	// inner nodes lead to others.
	inner take = iota
	takeMetadata
	takeName
	takeNamespace
	takeUID
	takeVersion
	takeLabels
	takeOwners
	takeOwner
	takeInitialEnd
	takeKind
	takeAPIVersion
	takeField
)

// initialEventsEnd is the annotation of the bookmark behind the initial events.
const initialEventsEnd = "k8s.io/initial-events-end"

// growJSONTree makes the tree of what is looked at.
func (s *scanner) growJSONTree() {
	s.root = node{children: []node{
		{key: "kind", take: takeKind},
		{key: "apiVersion", take: takeAPIVersion},
		{key: "metadata", take: takeMetadata, children: []node{
			{key: "name", take: takeName},
			{key: "namespace", take: takeNamespace},
			{key: "uid", take: takeUID},
			{key: "resourceVersion", take: takeVersion},
			{key: "labels", take: takeLabels},
			{key: "annotations", children: []node{{key: initialEventsEnd, take: takeInitialEnd}}},
			{key: "ownerReferences", take: takeOwners, children: []node{{key: "uid", take: takeOwner}}},
		}},
	}}
	for i := range s.kind.Fields {
		at := &s.root
		for _, key := range s.kind.Fields[i].Path {
			at = at.child(func(n *node) bool { return n.key == key }, node{key: key})
		}
		at.take, at.field = takeField, i
	}
	s.number(&s.root)
	s.seen = make([]bool, s.nodes)
}

// child returns the child that is the one, or a new one.
func (n *node) child(is func(*node) bool, otherwise node) *node {
	for i := range n.children {
		if is(&n.children[i]) {
			return &n.children[i]
		}
	}
	n.children = append(n.children, otherwise)
	return &n.children[len(n.children)-1]
}

func (s *scanner) number(n *node) {
	n.id = s.nodes
	s.nodes++
	for i := range n.children {
		s.number(&n.children[i])
	}
}

const metadataPrefix = `"metadata":{`

// json passes over the body at the beginning of b and returns its length. It is
// errTruncated if b is too short for one, as far as that can be told.
func (s *scanner) json(b []byte) (int, error) {
	s.reset()
	if !s.kind.Custom {
		if n := min(len(b), len(metadataPrefix)); string(b[:n]) != metadataPrefix[:n] {
			return 0, malformed("an object that does not begin with its metadata")
		}
	}
	end, err := s.members(b, 0, 1, &s.root)
	if err != nil {
		return 0, err
	}
	if s.kind.Custom {
		if !s.is(b, s.kindName, s.kind.Kind) || !s.is(b, s.apiVersion, s.kind.apiVersion()) {
			return 0, malformed("another kind of object")
		}
	} else if s.kindName.form != absent || s.apiVersion.form != absent {
		return 0, malformed("an object with its kind twice")
	}
	return end, nil
}

// is tells whether v is the string given.
func (s *scanner) is(b []byte, v value, is string) bool {
	return v.form == text && string(b[v.start:v.end]) == is
}

// members passes over the members of an object and its closing brace, and takes from
// them what the tree says. i is behind the opening brace.
func (s *scanner) members(b []byte, i, depth int, n *node) (int, error) {
	if depth > maxDepth {
		return i, malformed("JSON nested too deep")
	}
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for j := range n.children {
		s.seen[n.children[j].id] = false
	}
	for {
		start := i
		end, escaped, err := passString(b, i)
		if err != nil {
			return end, err
		}
		if i, err = passByte(b, end, ':'); err != nil {
			return i, err
		}
		var member *node
		if n.take == takeLabels {
			i, err = s.label(b, textValue(b, start, end, escaped), i)
		} else if member = n.member(b, textKey{start, end, escaped}); member == nil {
			i, err = s.passer.value(b, i, depth)
		} else if s.seen[member.id] {
			err = malformed("%q twice in an object", member.key)
		} else {
			s.seen[member.id] = true
			i, err = s.value(b, i, depth, member)
		}
		if err != nil {
			return i, err
		}
		if i >= len(b) {
			return i, errTruncated
		}
		switch b[i] {
		case ',':
			i++
		case '}':
			return i + 1, nil
		default:
			return i, malformed("JSON with %q where a value has ended", b[i])
		}
	}
}

// textKey is where a key stands, with its quotes.
type textKey struct {
	start, end int
	escaped    bool
}

// member returns the child with that key, or nil.
func (n *node) member(b []byte, k textKey) *node {
	if len(n.children) == 0 {
		return nil
	}
	key := b[k.start+1 : k.end-1]
	if k.escaped {
		key = []byte(unquote(b, value{start: k.start + 1, end: k.end - 1}))
	}
	for i := range n.children {
		if n.children[i].key == string(key) {
			return &n.children[i]
		}
	}
	return nil
}

// label takes a label, whose value stands at i.
func (s *scanner) label(b []byte, key value, i int) (int, error) {
	end, escaped, err := passString(b, i)
	if err != nil {
		return end, err
	}
	s.labels = append(s.labels, labelValue{key, textValue(b, i, end, escaped)})
	return end, nil
}

// value passes over the value at i, and takes from it what the tree says. Of arrays
// that is the first element, but of owner references all, and on the way to a field of
// a custom resource nothing.
func (s *scanner) value(b []byte, i, depth int, n *node) (int, error) {
	if i >= len(b) {
		return i, errTruncated
	}
	switch c := b[i]; {
	case c == '{' && n.take != takeOwners && (len(n.children) > 0 || n.take == takeLabels):
		end, err := s.members(b, i+1, depth+1, n)
		if n.take == takeMetadata && err == nil {
			s.metadataStart, s.metadataEnd = i, end
		}
		return end, err
	case c == '[' && (n.take == takeOwners || !s.kind.Custom && (n.take == inner || n.take == takeField)):
		return s.elements(b, i+1, depth+1, n)
	case c == 'n':
		// As if it were not there.
		return passLiteral(b, i, "null")
	case n.take == inner:
		// It leads nowhere in this object.
		return s.passer.value(b, i, depth)
	case c == '"':
		end, escaped, err := passString(b, i)
		if err != nil {
			return end, err
		}
		return end, s.takeValue(n, textValue(b, i, end, escaped))
	default:
		end, err := s.passer.value(b, i, depth)
		if err != nil {
			return end, err
		}
		v := value{start: i, end: end, form: word}
		if c == '{' || c == '[' {
			v.form = other
		}
		return end, s.takeValue(n, v)
	}
}

// elements passes over the elements of an array and its closing bracket. i is behind
// the opening one.
func (s *scanner) elements(b []byte, i, depth int, n *node) (int, error) {
	if depth > maxDepth {
		return i, malformed("JSON nested too deep")
	}
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for first := true; ; first = false {
		var err error
		switch {
		case n.take == takeOwners:
			if i, err = passByte(b, i, '{'); err == nil {
				i, err = s.members(b, i, depth+1, n)
			}
		case first:
			i, err = s.value(b, i, depth, n)
		default:
			i, err = s.passer.value(b, i, depth)
		}
		if err != nil {
			return i, err
		}
		if i >= len(b) {
			return i, errTruncated
		}
		switch b[i] {
		case ',':
			i++
		case ']':
			return i + 1, nil
		default:
			return i, malformed("JSON with %q where a value has ended", b[i])
		}
	}
}

// takeValue takes a value that is neither null nor on the way to another.
func (s *scanner) takeValue(n *node, v value) error {
	if n.take == takeField {
		s.fields[n.field] = v
		return nil
	}
	if n.take == takeInitialEnd {
		s.initialEnd = v
		return nil
	}
	if v.form != text && v.form != quoted {
		return malformed("%q is of another type", n.key)
	}
	switch n.take {
	case takeName:
		s.name = v
	case takeNamespace:
		s.namespace = v
	case takeUID:
		s.uid = v
	case takeVersion:
		s.version = v
	case takeOwner:
		s.owners = append(s.owners, v)
	case takeKind:
		s.kindName = v
	case takeAPIVersion:
		s.apiVersion = v
	default:
		return malformed("%q is of another type", n.key)
	}
	return nil
}

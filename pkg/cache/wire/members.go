package wire

// member is one of an object: its key, and where it begins, and its value begins and
// ends.
type member struct {
	key               []byte
	start, value, end int
}

// splitMembers returns the members of the object whose opening brace is before i, and
// the place behind its closing brace.
func splitMembers(b []byte, i int) ([]member, int, error) {
	if i < len(b) && b[i] == '}' {
		return nil, i + 1, nil
	}
	var all []member
	var p passer
	for {
		m := member{start: i}
		end, escaped, err := passString(b, i)
		if err != nil {
			return nil, i, err
		}
		m.key = b[i+1 : end-1]
		if escaped {
			m.key = []byte(unquote(b, value{start: i + 1, end: end - 1}))
		}
		if m.value, err = passByte(b, end, ':'); err != nil {
			return nil, i, err
		}
		if m.end, err = p.value(b, m.value, 1); err != nil {
			return nil, i, err
		}
		all = append(all, m)
		switch i = m.end; {
		case i >= len(b):
			return nil, i, errTruncated
		case b[i] == '}':
			return all, i + 1, nil
		case b[i] != ',':
			return nil, i, malformed("JSON with %q where a value has ended", b[i])
		}
		i++
	}
}

// soleMember returns the place of the only member with that key, or -1.
func soleMember(all []member, key string) int {
	found := -1
	for i := range all {
		if string(all[i].key) == key {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

// metadataMembers returns the members of a body's metadata, and the places behind its
// opening and its closing brace.
func metadataMembers(body []byte, custom bool) (all []member, start, end int, err error) {
	start = len(metadataPrefix)
	if custom {
		top, _, err := splitMembers(body, 0)
		if err != nil {
			return nil, 0, 0, err
		}
		i := soleMember(top, "metadata")
		if i < 0 || body[top[i].value] != '{' {
			return nil, 0, 0, malformed("an object without metadata")
		}
		start = top[i].value + 1
	} else if len(body) < start || string(body[:start]) != metadataPrefix {
		return nil, 0, 0, malformed("an object that does not begin with its metadata")
	}
	all, end, err = splitMembers(body, start)
	return all, start, end, err
}

package wire

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// What is read of JSON is what apiservers send: no space between tokens. All of it
// is checked to be JSON as encoding/json has it, also where it is passed over, since
// it is going to stand in the middle of other JSON. Like encoding/json this takes
// bytes in strings that are not UTF-8: an apiserver sends them on from raw fields,
// and one such object must not keep others from being read.

// maxDepth is how deep values may be nested, as for encoding/json.
const maxDepth = 10000

// errTruncated is for JSON that may be all right but has not ended yet.
var errTruncated = errors.New("more to come")

// passer passes over values, and checks them. The zero value is ready.
type passer struct {
	// open are the ends of the arrays and objects that were open: room for the next.
	open []byte
}

// value passes over the value at i, which is depth containers deep, and returns
// where it has ended.
func (p *passer) value(b []byte, i, depth int) (int, error) {
	open := p.open[:0]
	var err error
	for {
		if i >= len(b) {
			return i, errTruncated
		}
		switch c := b[i]; c {
		case '"':
			i, _, err = passString(b, i)
		case '{', '[':
			if depth+len(open) >= maxDepth {
				return i, malformed("JSON nested too deep")
			}
			end := c + 2 // the closing brace or bracket
			i++
			if i < len(b) && b[i] == end {
				i++
				break
			}
			open = append(open, end)
			p.open = open
			if c == '[' {
				continue
			}
			if i, err = passKey(b, i); err == nil {
				continue
			}
		case 't':
			i, err = passLiteral(b, i, "true")
		case 'f':
			i, err = passLiteral(b, i, "false")
		case 'n':
			i, err = passLiteral(b, i, "null")
		default:
			i, err = passNumber(b, i)
		}
		if err != nil {
			return i, err
		}
		// A value has ended, and maybe what it was the last in.
		for len(open) > 0 {
			if i >= len(b) {
				return i, errTruncated
			}
			end := open[len(open)-1]
			if b[i] != end {
				break
			}
			open = open[:len(open)-1]
			i++
		}
		if len(open) == 0 {
			return i, nil
		}
		if b[i] != ',' {
			return i, malformed("JSON with %q where a value has ended", b[i])
		}
		i++
		if open[len(open)-1] == '}' {
			if i, err = passKey(b, i); err != nil {
				return i, err
			}
		}
	}
}

// passKey passes over a key and its colon.
func passKey(b []byte, i int) (int, error) {
	i, _, err := passString(b, i)
	if err != nil {
		return i, err
	}
	return passByte(b, i, ':')
}

// passByte passes over a byte that must be c.
func passByte(b []byte, i int, c byte) (int, error) {
	switch {
	case i >= len(b):
		return i, errTruncated
	case b[i] != c:
		return i, malformed("JSON with %q instead of %q", b[i], c)
	default:
		return i + 1, nil
	}
}

// passString passes over a string, from its first quote. escaped tells that it has
// escapes.
func passString(b []byte, i int) (end int, escaped bool, err error) {
	if i, err = passByte(b, i, '"'); err != nil {
		return i, false, err
	}
	for {
		i = plain(b, i)
		if i >= len(b) {
			return i, escaped, errTruncated
		}
		switch c := b[i]; c {
		case '"':
			return i + 1, escaped, nil
		case '\\':
			escaped = true
			if i, err = passEscape(b, i+1); err != nil {
				return i, escaped, err
			}
		default:
			return i, escaped, malformed("JSON with %q in a string", c)
		}
	}
}

// plain returns the place of the next quote, backslash or control character, or the
// length of b. It looks at eight bytes at a time.
func plain(b []byte, i int) int {
	const (
		each  = 0x0101010101010101
		highs = 0x80 * each
	)
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		quote := w ^ '"'*each
		backslash := w ^ '\\'*each
		// Subtracting borrows into the highest bit of a byte that is less. Borrows
		// from byte to byte can mark only bytes above one that is marked rightly,
		// and the lowest is what counts.
		found := ((quote-each)&^quote | (backslash-each)&^backslash | (w-' '*each)&^w) & highs
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
		i += 8
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// passEscape passes over what follows a backslash.
func passEscape(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, errTruncated
	}
	switch c := b[i]; c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, nil
	case 'u':
		for range 4 {
			i++
			if i >= len(b) {
				return i, errTruncated
			}
			if c := b[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return i, malformed("JSON with %q in an escape", c)
			}
		}
		return i + 1, nil
	default:
		return i, malformed("JSON with %q escaped", c)
	}
}

// passLiteral passes over a word.
func passLiteral(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) {
		if string(b[i:]) == word[:len(b)-i] {
			return i, errTruncated
		}
	} else if string(b[i:i+len(word)]) == word {
		return i + len(word), nil
	}
	return i, malformed("JSON with an unknown word")
}

// passNumber passes over a number. One at the end of b might go on.
func passNumber(b []byte, i int) (int, error) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	var err error
	if i < len(b) && b[i] == '0' {
		i++
	} else if i, err = passDigits(b, i); err != nil {
		return i, err
	}
	if i < len(b) && b[i] == '.' {
		if i, err = passDigits(b, i+1); err != nil {
			return i, err
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i, err = passDigits(b, i); err != nil {
			return i, err
		}
	}
	if i >= len(b) {
		return i, errTruncated
	}
	return i, nil
}

// passDigits passes over one or more digits.
func passDigits(b []byte, i int) (int, error) {
	from := i
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	switch {
	case i >= len(b):
		return i, errTruncated
	case i == from:
		return i, malformed("JSON with %q where a value should be", b[i])
	default:
		return i, nil
	}
}

package wire

import (
	"fmt"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// customField returns what a selector sees of a field of a custom resource: what an
// apiserver's decoder makes of the value, as fmt prints it. What type the schema says
// does not count, for objects from before a change of it may have another.
func (s *scanner) customField(b []byte, v value) (string, error) {
	switch v.form {
	case absent:
		return "", nil
	case text, quoted:
		return s.string(b, v), nil
	}
	raw := b[v.start:v.end]
	if raw[0] == 't' || raw[0] == 'f' || isSmallNumber(raw) {
		return s.intern.intern(raw), nil
	}
	var decoded any
	if err := utiljson.Unmarshal(raw, &decoded); err != nil {
		return "", malformed("a field that cannot be decoded: %v", err)
	}
	return fmt.Sprint(decoded), nil
}

// isSmallNumber tells a number that looks the same after it was decoded: digits
// alone, so few that any fit into an int64.
func isSmallNumber(raw []byte) bool {
	for _, c := range raw {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(raw) < 19
}

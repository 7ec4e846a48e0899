package wire

// internMax is how many strings a table remembers, internMaxLength how long they may
// be: a megabyte for each resource that has that many.
const (
	internMax       = 8192
	internMaxLength = 128
)

// interner makes strings, and makes one of those that are equal: of 50,000 pods most
// labels, namespaces and selectable fields are the same. The zero value is ready.
type interner struct{ known map[string]string }

// intern returns b as a string.
func (t *interner) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := t.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(s) > internMaxLength {
		return s
	}
	switch {
	case t.known == nil:
		t.known = map[string]string{}
	case len(t.known) >= internMax:
		// What comes often is soon known again.
		clear(t.known)
	}
	t.known[s] = s
	return s
}

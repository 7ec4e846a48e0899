package wire

import "strconv"

// parseVersion returns a resource version as the number that it is: decimal, positive,
// in its shortest form.
func parseVersion[S string | []byte](s S) (uint64, error) {
	if len(s) > 0 && s[0] != '0' {
		if n, err := strconv.ParseUint(string(s), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, malformed("resource version %.40q", string(s))
}

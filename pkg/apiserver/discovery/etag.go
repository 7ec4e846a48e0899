package discovery

import "strings"

// tagSeparator stands between upstream's part of an ETag and ours. Upstream's is
// in hexadecimal digits.
const tagSeparator = "~asi-"

// compose makes the ETag of a merged document of upstream's: `"abc"` becomes
// `"abc~asi-0123456789abcdef"`. Without one of upstream's there is none.
func compose(upstream, tag string) string {
	body, ok := strings.CutSuffix(upstream, `"`)
	if !ok {
		return ""
	}
	return body + tagSeparator + tag + `"`
}

// ownTags returns upstream's parts of those ETags in an If-None-Match header
// whose other part is the tag given. All others stand for documents that cannot
// be the present one, upstream's own ETags among them: they stand for documents
// without our group.
func ownTags(ifNoneMatch []string, tag string) []string {
	var found []string
	for _, line := range ifNoneMatch {
		// kube-apiserver's ETags have no commas; others are not ours.
		for candidate := range strings.SplitSeq(line, ",") {
			candidate = strings.TrimSpace(candidate)
			if upstream, ok := strings.CutSuffix(candidate, tagSeparator+tag+`"`); ok {
				found = append(found, upstream+`"`)
			}
		}
	}
	return found
}

// sameTag compares as If-None-Match wants it, weakly.
func sameTag(a, b string) bool {
	return a != "" && strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
}

package request

import (
	"net/http"
	"strings"
)

// ClientName returns the name in a user agent: the token before the first
// slash or space. client-go builds its user agent as
// "basename/version (os/arch) kubernetes/commit", other clients put a space
// first ("Cilium 1.15.1"). A missing user agent has the name "".
func ClientName(userAgent string) string {
	if i := strings.IndexAny(userAgent, "/ "); i >= 0 {
		return userAgent[:i]
	}
	return userAgent
}

// isUpgrade tells whether the headers ask to switch protocols: a Connection
// header with the token "upgrade", in any case and at any place of a list.
// kube-apiserver looks for the substring only (k8s.io/streaming httpstream);
// the token rule is the one of RFC 9110 section 7.6.1.
func isUpgrade(h http.Header) bool {
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

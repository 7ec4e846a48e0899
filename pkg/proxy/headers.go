package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// hopByHop are the headers that end at this hop (RFC 9110 section 7.6.1), with
// the non-standard ones that are common enough. Expect ends here too: net/http
// has already answered it.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect":
		return true
	}
	return false
}

// claimsIdentity tells headers by which a front proxy speaks for a user. From a
// client they are lies.
func claimsIdentity(name string) bool {
	return hasFoldedPrefix(name, "x-remote-")
}

// impersonates tells the headers by which a user asks to act as another.
func impersonates(name string) bool {
	return hasFoldedPrefix(name, "impersonate-")
}

// describesClient tells the headers, in canonical form, from which the apiserver
// writes into its audit log where a request came from and what it is called.
func describesClient(name string) bool {
	return name == "X-Forwarded-For" || name == "User-Agent" || name == auditIDHeader
}

// hasFoldedPrefix compares without regard to case: net/http stores canonical
// names, but security does not rest on it. Prefix is in lower case.
func hasFoldedPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// wantsImpersonation tells whether a client sent any impersonation header.
func wantsImpersonation(h http.Header) bool {
	for name := range h {
		if impersonates(name) {
			return true
		}
	}
	return false
}

// outbound turns the headers of a client's request into those of the request to
// the apiserver, in place. A nil identity asserts nobody.
//
// A Connection header removes what it names, as the RFC wants, but nothing that
// says who the request is for or from: "Connection: Impersonate-User" would turn
// an impersonating request into one with the client's own, greater rights, and
// "Connection: X-Forwarded-For" would hide the client from the audit log.
func outbound(h http.Header, identity *request.Identity, impersonateUpstream, upgrade bool) {
	protocol := h["Upgrade"]
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if !impersonates(name) && !describesClient(name) {
				delete(h, name)
			}
		}
	}
	for name := range h {
		switch {
		case hopByHop(name), claimsIdentity(name), name == "Authorization":
			delete(h, name)
		case !impersonateUpstream && impersonates(name):
			delete(h, name)
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		// An empty value keeps net/http from putting its own in.
		h["User-Agent"] = []string{""}
	}
	if upgrade {
		h["Connection"] = []string{"Upgrade"}
		h["Upgrade"] = protocol
	}
	if identity == nil {
		return
	}
	for name, values := range identity.Assertion {
		h[name] = values
	}
}

// inbound copies the headers of an apiserver's response to the client's.
func inbound(to, from http.Header) {
	for name, values := range from {
		if hopByHop(name) {
			continue
		}
		if name == "Warning" && len(to[name]) > 0 {
			// The gateway has warned already.
			values = append(slices.Clip(to[name]), values...)
		}
		to[name] = values
	}
}

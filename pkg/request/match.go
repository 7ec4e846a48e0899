package request

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// Matcher is one compiled Match. It is the plain reading of the rules; Index is
// the fast one for many.
type Matcher struct {
	clients  clientMatcher
	requests []requestMatcher
	// empty tells a Match without any field: all requests.
	empty bool
}

// NewMatcher compiles m, which must be valid: what is not matches nothing.
func NewMatcher(m *v1alpha1.Match) *Matcher {
	c := &Matcher{clients: newClientMatcher(&m.Clients)}
	for i := range m.Requests {
		c.requests = append(c.requests, requestMatcher{&m.Requests[i]})
	}
	c.empty = len(m.Requests) == 0 && c.clients.empty()
	return c
}

// Empty tells a Match that says nothing: it selects every request, but stands for
// none where it is an exception.
func (m *Matcher) Empty() bool { return m.empty }

// Matches tells whether the match selects the request.
func (m *Matcher) Matches(a *Attributes) bool {
	if !m.clients.matches(a) {
		return false
	}
	if len(m.requests) == 0 {
		return true
	}
	for i := range m.requests {
		if m.requests[i].matches(a) {
			return true
		}
	}
	return false
}

// NeedsIdentity tells whether a match can only be decided once the client is
// authenticated.
func NeedsIdentity(m *v1alpha1.Match) bool {
	c := &m.Clients
	return len(c.Classes)+len(c.Users)+len(c.Groups)+len(c.ServiceAccounts)+len(c.Priorities) > 0
}

type clientMatcher struct {
	*v1alpha1.ClientMatch
	ranges []netip.Prefix
}

func newClientMatcher(c *v1alpha1.ClientMatch) clientMatcher {
	m := clientMatcher{ClientMatch: c}
	for _, cidr := range c.SourceCIDRs {
		// An invalid one stays the zero prefix, which contains nothing.
		prefix, _ := netip.ParsePrefix(cidr)
		m.ranges = append(m.ranges, prefix)
	}
	return m
}

func (m *clientMatcher) empty() bool {
	return len(m.Classes)+len(m.UserAgents)+len(m.Users)+len(m.Groups)+len(m.ServiceAccounts)+len(m.SourceCIDRs)+len(m.Priorities) == 0
}

func (m *clientMatcher) matches(a *Attributes) bool {
	return m.matchesUserAgent(a) && m.matchesSource(a) &&
		(len(m.Classes) == 0 || slices.Contains(m.Classes, a.Class)) &&
		(len(m.Priorities) == 0 || slices.Contains(m.Priorities, a.Priority)) &&
		(len(m.Users) == 0 || slices.Contains(m.Users, a.user().GetName())) &&
		(len(m.Groups) == 0 || intersects(m.Groups, a.user().GetGroups())) &&
		(len(m.ServiceAccounts) == 0 || matchesServiceAccount(m.ServiceAccounts, a.user().GetName()))
}

func (m *clientMatcher) matchesUserAgent(a *Attributes) bool {
	if len(m.UserAgents) == 0 {
		return true
	}
	for _, pattern := range m.UserAgents {
		if matchesGlob(pattern, a.ClientName) {
			return true
		}
	}
	return false
}

// matchesGlob tells whether name is what a pattern with "*" stands for. Nothing
// but "*" is special in it.
func matchesGlob(pattern, name string) bool {
	before, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == name
	}
	if !strings.HasPrefix(name, before) {
		return false
	}
	name = name[len(before):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], after
	}
}

func (m *clientMatcher) matchesSource(a *Attributes) bool {
	if len(m.ranges) == 0 {
		return true
	}
	for _, prefix := range m.ranges {
		if prefix.Contains(a.SourceIP) {
			return true
		}
	}
	return false
}

func intersects(a, b []string) bool {
	for _, s := range a {
		if slices.Contains(b, s) {
			return true
		}
	}
	return false
}

func matchesServiceAccount(accounts []string, userName string) bool {
	namespace, name, ok := serviceAccountOf(userName)
	if !ok {
		return false
	}
	for _, account := range accounts {
		ns, n, _ := strings.Cut(account, "/")
		if ns == namespace && (n == "*" || n == name) {
			return true
		}
	}
	return false
}

// serviceAccountOf reads a user name as kube-apiserver writes that of a service
// account, without allocating.
func serviceAccountOf(userName string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(userName, serviceaccount.ServiceAccountUsernamePrefix)
	if !ok {
		return "", "", false
	}
	return cut(rest, ":")
}

func cut(s, separator string) (before, after string, found bool) {
	before, after, found = strings.Cut(s, separator)
	return before, after, found && before != "" && after != ""
}

// anonymous is who a request without credentials is to rules.
var anonymous user.Info = &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}

// user is whom rules look at: the authenticated user, not an impersonated one.
func (a *Attributes) user() user.Info {
	if a.Identity == nil {
		return anonymous
	}
	return a.Identity.Info
}

type requestMatcher struct{ *v1alpha1.RequestMatch }

func (m *requestMatcher) matches(a *Attributes) bool {
	if len(m.NonResourceURLs) > 0 {
		return !a.IsResourceRequest && m.matchesVerb(a) && m.matchesURL(a.Path)
	}
	if !a.IsResourceRequest {
		return !m.ofResources() && m.matchesVerb(a)
	}
	return m.matchesVerb(a) &&
		(len(m.APIGroups) == 0 || slices.Contains(m.APIGroups, "*") || slices.Contains(m.APIGroups, a.APIGroup)) &&
		(len(m.Resources) == 0 || m.matchesResource(a)) &&
		(len(m.Namespaces) == 0 || slices.Contains(m.Namespaces, a.Namespace)) &&
		(m.ListScope == "" || m.ListScope == a.Scope) &&
		(len(m.ListShapes) == 0 || slices.Contains(m.ListShapes, a.Shape))
}

// ofResources tells a match that no request outside of the resource API has.
func (m *requestMatcher) ofResources() bool {
	return len(m.APIGroups)+len(m.Resources)+len(m.Namespaces)+len(m.ListShapes) > 0 || m.ListScope != ""
}

func (m *requestMatcher) matchesVerb(a *Attributes) bool {
	return len(m.Verbs) == 0 || slices.Contains(m.Verbs, "*") || slices.Contains(m.Verbs, a.Verb) ||
		// Informers start with a watch that costs what a list costs.
		(a.Verb == "watch" && a.Scope != "" && slices.Contains(m.Verbs, "list"))
}

func (m *requestMatcher) matchesResource(a *Attributes) bool {
	for _, pattern := range m.Resources {
		resource, subresource, _ := strings.Cut(pattern, "/")
		if (resource == "*" || resource == a.Resource) &&
			(subresource == a.Subresource || (subresource == "*" && a.Subresource != "")) {
			return true
		}
	}
	return false
}

func (m *requestMatcher) matchesURL(urlPath string) bool {
	// An apiserver does not tell "/version/" from "/version" either.
	cleaned := path.Clean(urlPath)
	for _, pattern := range m.NonResourceURLs {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		if pattern == urlPath || pattern == cleaned || (isPrefix && strings.HasPrefix(cleaned, prefix)) {
			return true
		}
	}
	return false
}

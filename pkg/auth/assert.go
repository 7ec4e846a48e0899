package auth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/transport"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Assert builds the headers that tell an apiserver who the user is.
type Assert func(user.Info) (http.Header, error)

// FrontProxy asserts a user by X-Remote-* headers. The apiserver believes them
// from a client certificate signed by its --requestheader-client-ca-file.
func FrontProxy(u user.Info) (http.Header, error) {
	if u.GetName() == "" {
		return nil, fmt.Errorf("a user without a name cannot be asserted")
	}
	// kube-apiserver takes such a user for one without credentials, and ends the
	// HTTP/2 connection behind each of its requests: everybody's, here.
	if u.GetName() == user.Anonymous || slices.Contains(u.GetGroups(), user.AllUnauthenticated) {
		return nil, fmt.Errorf("a user with credentials cannot be asserted as %s or in the group %s", user.Anonymous, user.AllUnauthenticated)
	}
	r := &http.Request{Header: http.Header{}}
	transport.SetAuthProxyHeaders(r, u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra())
	return r.Header, nil
}

// Impersonation asserts a user by Impersonate-* headers. The apiserver believes
// them from an identity that may impersonate users, uids, groups and userextras.
func Impersonation(u user.Info) (http.Header, error) {
	if u.GetName() == "" {
		return nil, fmt.Errorf("a user without a name cannot be impersonated")
	}
	// client-go has the encoding in a round tripper only, so one that records
	// what it is given takes the place of the network.
	record := &recorder{}
	rt := transport.NewImpersonatingRoundTripper(transport.ImpersonationConfig{
		UserName: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra(),
	}, record)
	if _, err := rt.RoundTrip(&http.Request{URL: &url.URL{}, Header: http.Header{}}); err != nil {
		return nil, err
	}
	return record.header, nil
}

type recorder struct{ header http.Header }

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.header = req.Header
	return &http.Response{}, nil
}

// Identity joins a user and its assertion. It fails for a user that headers
// cannot carry unchanged: recipients trim spaces, so that a user "admin " would
// arrive as "admin".
func (assert Assert) Identity(u user.Info) (*request.Identity, error) {
	for key := range u.GetExtra() {
		if !utf8.ValidString(key) {
			return nil, fmt.Errorf("extra key %q cannot be sent in a header", key)
		}
	}
	h, err := assert(u)
	if err != nil {
		return nil, err
	}
	for name, values := range h {
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) || strings.Trim(value, " \t") != value {
				return nil, fmt.Errorf("%s %q cannot be sent in a header", name, value)
			}
		}
	}
	return &request.Identity{Info: u, Assertion: h}, nil
}

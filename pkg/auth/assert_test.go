package auth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestUserThatHeadersWouldChangeIsRefused(t *testing.T) {
	for _, u := range []user.DefaultInfo{
		{Name: ""},
		{Name: "admin "},
		{Name: "\tadmin"},
		{Name: "a\nX-Remote-Group: system:masters"},
		{Name: "a\x00"},
		{Name: "a", Groups: []string{" system:masters"}},
		{Name: "a", UID: "u\r"},
		{Name: "a", Extra: map[string][]string{"k": {"v\n"}}},
	} {
		for name, assert := range map[string]Assert{"front proxy": FrontProxy, "impersonation": Impersonation} {
			if id, err := assert.Identity(&u); err == nil {
				t.Errorf("%s: %+v was asserted as %v", name, u, id.Assertion)
			}
		}
	}
}

// One request of such a user would have kube-apiserver end the connection that
// all users share.
func TestAnonymousIsNotAssertedByFrontProxy(t *testing.T) {
	for _, u := range []user.DefaultInfo{{Name: user.Anonymous}, {Name: "a", Groups: []string{user.AllUnauthenticated}}} {
		if id, err := Assert(FrontProxy).Identity(&u); err == nil {
			t.Errorf("%+v was asserted as %v", u, id.Assertion)
		}
	}
}

func TestImpersonationCarriesEverything(t *testing.T) {
	id, err := Assert(Impersonation).Identity(&user.DefaultInfo{
		Name: "alice", UID: "u", Groups: []string{"g1", "g2"}, Extra: map[string][]string{"example.com/a b": {"1", "2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"Impersonate-User":                      {"alice"},
		"Impersonate-Uid":                       {"u"},
		"Impersonate-Group":                     {"g1", "g2"},
		"Impersonate-Extra-Example.com%2fa%20b": {"1", "2"},
	} {
		if got := id.Assertion[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q (all: %v)", name, got, want, id.Assertion)
		}
	}
}

// FuzzFrontProxy has kube-apiserver's own authenticator read what FrontProxy
// writes: whoever is asserted must be whom the apiserver sees.
func FuzzFrontProxy(f *testing.F) {
	f.Add("alice", "u", "g", "example.com/key", "v")
	f.Add("Ünïcode", "", "system:masters", "a%2fb", " ")
	f.Add("a,b", "u v", "g,h", "A", "")
	read := must(headerrequest.New([]string{"X-Remote-User"}, []string{"X-Remote-Uid"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"}))
	f.Fuzz(func(t *testing.T, name, uid, group, key, value string) {
		u := &user.DefaultInfo{Name: name, UID: uid, Groups: []string{group}, Extra: map[string][]string{key: {value}}}
		id, err := Assert(FrontProxy).Identity(u)
		if err != nil || group == "" {
			// kube-apiserver drops empty groups, which nothing can be bound to.
			return
		}
		response, ok, err := read.AuthenticateRequest(&http.Request{URL: &url.URL{}, Header: id.Assertion.Clone()})
		if err != nil || !ok {
			t.Fatalf("%+v is not recognised: %v %v", u, ok, err)
		}
		got := response.User
		if got.GetName() != name || got.GetUID() != uid || !slices.Equal(got.GetGroups(), []string{group}) {
			t.Fatalf("asserted %+v, the apiserver sees %+v", u, got)
		}
		// Header names have no case; what is escaped in them keeps it.
		key = strings.Map(func(c rune) rune {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			return c
		}, key)
		if v := got.GetExtra()[key]; !slices.Equal(v, []string{value}) {
			t.Fatalf("asserted extra %q=%q, the apiserver sees %v", key, value, got.GetExtra())
		}
	})
}

func must(r authenticator.Request, err error) authenticator.Request {
	if err != nil {
		panic(err)
	}
	return r
}

package proxy

import (
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

func frontProxyIdentity(t testing.TB, name string) *request.Identity {
	t.Helper()
	id, err := auth.Assert(auth.FrontProxy).Identity(&user.DefaultInfo{Name: name, Groups: []string{"team"}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOutboundHeaders(t *testing.T) {
	asserted := http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"team"}, "User-Agent": {"c/1"}}
	for _, tc := range []struct {
		name                          string
		in, want                      http.Header
		anonymous, forwards, upgrades bool
	}{
		{name: "claims of identity are replaced",
			in:   http.Header{"User-Agent": {"c/1"}, "X-Remote-User": {"root"}, "X-Remote-Group": {"system:masters"}, "X-Remote-Uid": {"0"}, "X-Remote-Extra-Scopes": {"all"}},
			want: asserted},
		{name: "also in other spellings of the map key",
			in:   http.Header{"User-Agent": {"c/1"}, "x-remote-user": {"root"}, "X-REMOTE-GROUP": {"system:masters"}},
			want: asserted},
		{name: "credentials stay here",
			in:   http.Header{"User-Agent": {"c/1"}, "Authorization": {"Bearer secret"}},
			want: asserted},
		{name: "hop-by-hop headers end here",
			in:   http.Header{"User-Agent": {"c/1"}, "Connection": {"keep-alive, X-Private"}, "X-Private": {"1"}, "Keep-Alive": {"5"}, "Te": {"trailers"}, "Transfer-Encoding": {"chunked"}, "Proxy-Authorization": {"x"}, "Upgrade": {"h2c"}},
			want: asserted},
		{name: "Connection cannot remove the assertion, nor what is said of the client",
			in:   http.Header{"User-Agent": {"c/1"}, "Connection": {"X-Remote-User, X-Remote-Group"}},
			want: asserted},
		{name: "Connection cannot remove impersonation",
			in:       http.Header{"User-Agent": {"c/1"}, "Connection": {"impersonate-user"}, "Impersonate-User": {"bob"}},
			forwards: true,
			want:     http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"team"}, "User-Agent": {"c/1"}, "Impersonate-User": {"bob"}}},
		{name: "Connection cannot hide the client",
			in:   http.Header{"User-Agent": {"c/1"}, "Connection": {"x-forwarded-for, Audit-ID", "user-agent"}, "X-Forwarded-For": {"192.0.2.7"}, "Audit-Id": {"a"}},
			want: http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"team"}, "User-Agent": {"c/1"}, "X-Forwarded-For": {"192.0.2.7"}, "Audit-Id": {"a"}}},
		{name: "impersonation that was not judged is dropped",
			in:   http.Header{"User-Agent": {"c/1"}, "Impersonate-User": {"bob"}, "Impersonate-Uid": {"1"}, "Impersonate-Group": {"system:masters"}, "Impersonate-Extra-X": {"1"}},
			want: asserted},
		{name: "anonymous asserts nobody",
			in:        http.Header{"X-Remote-User": {"root"}, "Authorization": {"Basic eA=="}},
			anonymous: true,
			want:      http.Header{"User-Agent": {""}}},
		{name: "an upgrade is passed on",
			in:       http.Header{"User-Agent": {"c/1"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"k"}},
			upgrades: true,
			want:     http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"team"}, "User-Agent": {"c/1"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"k"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var id *request.Identity
			if !tc.anonymous {
				id = frontProxyIdentity(t, "alice")
			}
			outbound(tc.in, id, tc.forwards, tc.upgrades)
			if !reflect.DeepEqual(tc.in, tc.want) {
				t.Errorf("got  %v\nwant %v", tc.in, tc.want)
			}
		})
	}
}

// FuzzOutbound sends any two headers: whatever they are, the identity that goes
// upstream is the authenticated one and nothing else.
func FuzzOutbound(f *testing.F) {
	f.Add("X-Remote-User", "root", "Connection", "X-Remote-User")
	f.Add("x-remote-extra-a", "root", "Authorization", "Bearer x")
	f.Add("Impersonate-User", "root", "Connection", "close, impersonate-user")
	id := frontProxyIdentity(f, "alice")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		h := http.Header{}
		h[name1] = append(h[name1], value1)
		h[name2] = append(h[name2], value2)
		outbound(h, id, false, false)
		for name, values := range h {
			lower := strings.ToLower(name)
			if strings.HasPrefix(lower, "x-remote-") && !reflect.DeepEqual(values, id.Assertion[name]) {
				t.Fatalf("%s: %q goes upstream", name, values)
			}
			if strings.HasPrefix(lower, "impersonate-") || name == "Authorization" || name == "Connection" {
				t.Fatalf("%s goes upstream", name)
			}
		}
		if h.Get("X-Remote-User") != "alice" {
			t.Fatalf("asserted %q", h["X-Remote-User"])
		}
	})
}

func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{"/", "//evil", "/\\evil", "https://evil/", "\\\\evil", "path", "http:evil", "%", "/a//b", "javascript:x", " //evil", "\t//evil"} {
		f.Add(seed)
	}
	scheme := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
	f.Fuzz(func(t *testing.T, location string) {
		away := redirectsAway(&http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {location}}})
		// What a browser makes of it (WHATWG URL, basic URL parser).
		read := strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(location)
		read = strings.TrimLeftFunc(read, func(c rune) bool { return c <= ' ' })
		if !away && (strings.HasPrefix(read, "//") || scheme.MatchString(read)) {
			t.Fatalf("Location %q is forwarded", location)
		}
	})
}

func TestRedirects(t *testing.T) {
	for location, want := range map[string]bool{
		"": false, "/path/": false, "path/": false, "?x=1": false,
		"https://evil.example/": true, "//evil.example/": true, `\\evil.example`: true, `/\evil.example`: true, " //evil.example": true, "javascript:alert(1)": true, "%zz": true,
	} {
		r := &http.Response{StatusCode: http.StatusFound, Header: http.Header{}}
		if location != "" {
			r.Header.Set("Location", location)
		}
		if got := redirectsAway(r); got != want {
			t.Errorf("Location %q: away %t, want %t", location, got, want)
		}
	}
	if redirectsAway(&http.Response{StatusCode: http.StatusCreated, Header: http.Header{"Location": {"https://elsewhere"}}}) {
		t.Error("201 is no redirect")
	}
}

func BenchmarkOutbound(b *testing.B) {
	id := frontProxyIdentity(b, "alice")
	h := http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		clear(h)
		h["Accept"] = []string{"application/json"}
		h["User-Agent"] = []string{"kubelet/v1.37.2"}
		h["Audit-Id"] = []string{"x"}
		outbound(h, id, false, false)
	}
}

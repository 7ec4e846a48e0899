package proxy

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTraceHeaders(t *testing.T) {
	seen := func(h http.Header) http.Header {
		var got http.Header
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = h
		WithTrace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header })).ServeHTTP(httptest.NewRecorder(), r)
		return got
	}
	if got := seen(http.Header{"Audit-Id": {"mine"}}); got.Get("Audit-Id") != "mine" {
		t.Errorf("the client's Audit-ID became %q", got.Get("Audit-Id"))
	}
	if got := seen(http.Header{"Traceparent": {parent}, "Tracestate": {"a=b"}}); got.Get("Traceparent") != parent || got.Get("Tracestate") != "a=b" {
		t.Errorf("a good traceparent was not kept: %v", got)
	}
	for _, bad := range [][]string{{"nonsense"}, {parent, parent}, {parent + "-x"}} {
		if got := seen(http.Header{"Traceparent": bad, "Tracestate": {"a=b"}}); got["Traceparent"] != nil || got["Tracestate"] != nil {
			t.Errorf("traceparent %q went upstream", bad)
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	for _, seed := range []string{parent, "", "01-" + parent[3:] + "-more", "ff-" + parent[3:], "00-00000000000000000000000000000000-b7ad6b7169203331-01"} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$`)
	f.Fuzz(func(t *testing.T, s string) {
		m := form.FindStringSubmatch(s)
		want := m != nil && m[1] != "ff" && (m[1] != "00" || m[4] == "") && !zeros(m[2]) && !zeros(m[3])
		if got := validTraceparent(s); got != want && !containsNewline(s) {
			t.Fatalf("validTraceparent(%q) = %t, want %t", s, got, want)
		}
	})
}

// containsNewline tells values that no header can have, and which the regular
// expression of the test reads differently.
func containsNewline(s string) bool { return regexp.MustCompile(`[\r\n]`).MatchString(s) }

package auth

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// FuzzTokenHeaders sends all that can stand where tokens stand. Nobody is known
// without a good one, and one that was used does not go upstream.
func FuzzTokenHeaders(f *testing.F) {
	const good, protocol = "good-token", "base64url.bearer.authorization.k8s.io."
	encoded := base64.RawURLEncoding.EncodeToString([]byte(good))
	for _, seed := range []struct{ authorization, protocols string }{
		{"Bearer " + good, ""},
		{"bearer  " + good + " ", "v4.channel.k8s.io"},
		{"Basic YTpi", protocol + encoded + ", v4.channel.k8s.io"},
		{"Bearer", protocol},
		{"Bearer bad", protocol + encoded},
		{"", protocol + encoded + "," + protocol + encoded + ",x"},
		{"", protocol + "!!!, x"},
		{"", "\xee" + protocol + encoded + "," + protocol + encoded + ",x"},
	} {
		f.Add(seed.authorization, seed.protocols)
	}
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	f.Fuzz(func(t *testing.T, authorization, protocols string) {
		tokens := newTestTokens(t, &reviewer{users: map[string]string{good: "alice"}}, clock)
		a := New(&authority{}, tokens, FrontProxy, clock)
		r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/a/pods/b/exec", nil)
		r.Header["Authorization"] = []string{authorization}
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
		r.Header["Sec-Websocket-Protocol"] = []string{protocols}
		identity, err := a.Authenticate(r)
		if identity == nil {
			return
		}
		if err != nil || identity.GetName() != "alice" {
			t.Fatalf("%q, %q: %s, %v", authorization, protocols, identity.GetName(), err)
		}
		if !strings.Contains(authorization, good) && !strings.Contains(protocols, protocol) {
			t.Errorf("%q, %q: known without a token", authorization, protocols)
		}
		if len(r.Header["Authorization"]) == 0 {
			return
		}
		// So it was the other one.
		for _, line := range r.Header["Sec-Websocket-Protocol"] {
			for left := range strings.SplitSeq(line, ",") {
				// Only what begins so is a token, to kube-apiserver as well.
				if strings.HasPrefix(strings.TrimSpace(left), protocol) {
					t.Errorf("%q, %q: %q goes upstream", authorization, protocols, left)
				}
			}
		}
	})
}

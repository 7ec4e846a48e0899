package attack

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

const unauthorized = http.StatusUnauthorized

// TestCertificatesWithOddNames: a certificate whose name headers cannot carry is
// refused, any other is the user that the apiserver takes it for.
func TestCertificatesWithOddNames(t *testing.T) {
	s := theStage(t)
	for name := range oddNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, err := s.direct.one(t.Context(), name, selfRequest())
			if err != nil {
				t.Fatal(err)
			}
			for _, side := range s.through {
				got, err := side.one(t.Context(), name, selfRequest())
				if err != nil {
					t.Error(err)
					continue
				}
				if got.status != direct.status && !(got.status == unauthorized && (cannotBeAHeader(name) || cannotBeAsserted(name, side))) {
					t.Errorf("%s: answered %s; directly %s", side.name, got, direct)
				}
				if got.status != accepted {
					continue
				}
				user, err := got.user()
				if err != nil {
					t.Error(err)
				}
				want, err := direct.user()
				if side.mode == fixture.FrontProxy {
					// The kube-apiserver drops groups without a name, to which nothing
					// can be granted.
					want.Groups = slices.DeleteFunc(want.Groups, func(group string) bool { return group == "" })
				}
				if err != nil || !sameUser(user, want) {
					t.Errorf("%s: taken for %+v; the apiserver says %+v, %v", side.name, user, want, err)
				}
				if slices.Contains(user.Groups, "system:masters") {
					t.Errorf("%s: became a master: %+v", side.name, user)
				}
			}
		})
	}
}

// cannotBeAHeader tells subjects that headers would carry changed, or not at all.
func cannotBeAHeader(name string) bool {
	subject := oddNames[name]
	for _, value := range append([]string{subject.CommonName}, subject.Organization...) {
		if strings.Trim(value, " \t") != value || strings.ContainsFunc(value, func(c rune) bool { return c != '\t' && (c < ' ' || c == 0x7f) }) {
			return true
		}
	}
	return false
}

// cannotBeAsserted tells users whom the gateway refuses to assert because the
// apiserver would end the connection that all share.
func cannotBeAsserted(name string, side *side) bool {
	return side.mode == fixture.FrontProxy && (name == "name of anonymous" || name == "group of anonymous")
}

// TestCertificateOfTheFrontProxyIsNobody: a client with the certificate of an
// apiserver's front proxy cannot use the gateway to speak for others.
func TestCertificateOfTheFrontProxyIsNobody(t *testing.T) {
	s := theStage(t)
	for _, side := range s.through {
		for _, lines := range [][]string{
			nil,
			{"X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters"},
			{"X-Remote-User: mallory"},
			{"Impersonate-User: kubernetes-admin", "X-Remote-User: kubernetes-admin"},
		} {
			if got, err := side.one(t.Context(), "front-proxy", selfRequest(lines...)); err != nil || got.status != unauthorized {
				t.Errorf("%s: %q answered %s, %v; want 401", side.name, lines, got, err)
			}
		}
	}
	// The same certificate is good at the apiserver, or the above would say little.
	if got, err := s.direct.one(t.Context(), "front-proxy", selfRequest("X-Remote-User: mallory")); err != nil || got.status != accepted {
		t.Errorf("direct: answered %s, %v", got, err)
	}
}

// TestSeveralCredentials sends more of them than one, good and bad.
func TestSeveralCredentials(t *testing.T) {
	s := theStage(t)
	token, err := serviceAccountToken(t.Context(), s.admin, robot)
	if err != nil {
		t.Fatal(err)
	}
	good := "Authorization: Bearer " + keepForSearch(token)
	wrong := "Authorization: Bearer " + secret("wrong")
	login := "Authorization: Basic " + basic("kubernetes-admin", secret("basic"))
	for _, tc := range []struct {
		name, as string
		lines    []string
		want     int
	}{
		{"a token", "nobody", []string{good}, accepted},
		{"a token, then a password", "nobody", []string{good, login}, accepted},
		{"a password, then a token", "nobody", []string{login, good}, refused},
		{"a token, then a wrong one", "nobody", []string{good, wrong}, accepted},
		{"a wrong token, then a good one", "nobody", []string{wrong, good}, unauthorized},
		{"a wrong token", "nobody", []string{wrong}, unauthorized},
		{"a password", "nobody", []string{login}, refused},
		{"a token in a comma list", "nobody", []string{wrong + ", Bearer " + token}, unauthorized},
		{"a token behind a password in one line", "nobody", []string{login + ", Bearer " + token}, refused},
		{"a token with claims of a front proxy", "nobody", []string{good, "X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters"}, accepted},
		{"a token that impersonates", "nobody", []string{good, "Impersonate-User: kubernetes-admin"}, refused},
		{"a certificate and a token", "mallory", []string{good}, accepted},
		{"a certificate and a wrong token", "mallory", []string{wrong}, accepted},
		{"a certificate and a password", "mallory", []string{login}, accepted},
		{"a token named by Connection", "nobody", []string{good, "Connection: Authorization"}, accepted},
		{"a proxy's password", "nobody", []string{"Proxy-Authorization: Bearer " + token}, refused},
		{"a token with a line that continues", "nobody", []string{"Authorization: Bearer", " " + token}, accepted},
		{"a token of another alphabet", "nobody", []string{"Authorization: Bearer größe-" + secret("alphabet")}, unauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var want authenticationv1.UserInfo
			for _, side := range s.sides() {
				got, err := side.one(t.Context(), tc.as, selfRequest(tc.lines...))
				if err != nil {
					t.Fatal(err)
				}
				if got.status != tc.want {
					t.Errorf("%s: answered %s; want %d", side.name, got, tc.want)
					continue
				}
				if got.status != accepted {
					continue
				}
				user, err := got.user()
				if err != nil {
					t.Fatal(err)
				}
				if side == s.direct {
					want = user
				} else if !sameUser(user, want) {
					t.Errorf("%s: taken for %+v; the apiserver says %+v", side.name, user, want)
				}
			}
		})
	}
}

// TestWebSocketTokenIsUsedHere: a bearer token among the subprotocols is judged
// by the gateway and goes no further.
func TestWebSocketTokenIsUsedHere(t *testing.T) {
	s := theStage(t)
	token, err := serviceAccountToken(t.Context(), s.admin, robot)
	if err != nil {
		t.Fatal(err)
	}
	keepForSearch(token)
	upgrade := func(path string, protocols ...string) string {
		return strings.Join([]string{"GET " + path + " HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
			"Sec-WebSocket-Protocol: " + strings.Join(protocols, ", "), "", ""}, "\r\n")
	}
	subprotocol := func(token string) string {
		return "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(token))
	}
	path := "/api/v1/namespaces/" + namespace + "/pods/none/exec?command=" + secret("command")
	for _, side := range s.sides() {
		got, err := side.one(t.Context(), "nobody", upgrade(path, subprotocol(token), "v4.channel.k8s.io"))
		if err != nil || got.status != refused || !strings.Contains(got.body, "system:serviceaccount:"+namespace+":"+robot) {
			t.Errorf("%s: answered %s, %v; want 403 for the account", side.name, got, err)
		}
		got, err = side.one(t.Context(), "nobody", upgrade(path, subprotocol(secret("websocket")), "v4.channel.k8s.io"))
		if err != nil || got.status != unauthorized {
			t.Errorf("%s: a wrong token answered %s, %v; want 401", side.name, got, err)
		}
		// Two tokens are one too many.
		got, err = side.one(t.Context(), "nobody", upgrade(path, subprotocol(token), subprotocol(secret("second")), "v4.channel.k8s.io"))
		if err != nil || got.status != unauthorized {
			t.Errorf("%s: two tokens answered %s, %v; want 401", side.name, got, err)
		}
	}
}

package attack

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// attack is a request by someone who wants to be taken for someone else.
type attack struct {
	name string
	// as is who sends it: the holder of a certificate, "" for mallory.
	as string
	// lines are header lines, raw those of a whole request instead.
	lines []string
	raw   string
	// want is the status code. With 201 the answer must show the sender and
	// nobody else.
	want int
}

func (a attack) text() string {
	if a.raw != "" {
		return a.raw
	}
	return selfRequest(a.lines...)
}

func (a attack) sender() string {
	if a.as == "" {
		return "mallory"
	}
	return a.as
}

const (
	accepted = http.StatusCreated
	refused  = http.StatusForbidden
	bad      = http.StatusBadRequest
)

// launch sends attacks to the kube-apiserver and through all gateways. All must
// answer what is wanted, and show the same user.
func launch(t *testing.T, attacks []attack) {
	s := theStage(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, side := range s.sides() {
				got, err := side.one(t.Context(), a.sender(), a.text())
				if err != nil {
					t.Error(err)
					continue
				}
				if got.status != a.want {
					t.Errorf("%s: answered %s; want %d", side.name, got, a.want)
					continue
				}
				if got.status != accepted {
					continue
				}
				user, err := got.user()
				if err != nil {
					t.Errorf("%s: %v", side.name, err)
				} else if want := s.whoIs(t, a.sender()); !sameUser(user, want) {
					t.Errorf("%s: taken for %+v; want %+v", side.name, user, want)
				}
			}
		})
	}
}

// TestClaimsOfAFrontProxyAreNotBelieved sends X-Remote-* in every form that some
// server might read as the plain one.
func TestClaimsOfAFrontProxyAreNotBelieved(t *testing.T) {
	var many []string
	for i := range 2000 {
		many = append(many, fmt.Sprintf("X-Remote-Group: system:masters-%d", i), "X-Remote-User: kubernetes-admin")
	}
	attacks := []attack{
		{name: "plain", lines: []string{"X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters", "X-Remote-Uid: 0", "X-Remote-Extra-Scopes: all"}, want: accepted},
		{name: "user alone", lines: []string{"X-Remote-User: kubernetes-admin"}, want: accepted},
		{name: "group alone", lines: []string{"X-Remote-Group: system:masters"}, want: accepted},
		{name: "uid alone", lines: []string{"X-Remote-Uid: 0"}, want: accepted},
		{name: "extra alone", lines: []string{"X-Remote-Extra-Scopes: all"}, want: accepted},
		{name: "extra with its key encoded", lines: []string{"X-Remote-Extra-authentication.kubernetes.io%2fcredential-id: mine", "X-Remote-Extra-%41: b"}, want: accepted},
		{name: "extra with a broken escape", lines: []string{"X-Remote-Extra-%zz: b"}, want: accepted},
		{name: "extra without a key", lines: []string{"X-Remote-Extra-: b"}, want: accepted},
		{name: "prefix alone", lines: []string{"X-Remote-: kubernetes-admin"}, want: accepted},
		{name: "duplicated", lines: []string{"X-Remote-User: mallory", "X-Remote-User: kubernetes-admin", "X-Remote-Group: a", "X-Remote-Group: system:masters"}, want: accepted},
		{name: "comma lists", lines: []string{"X-Remote-User: mallory, kubernetes-admin", "X-Remote-Group: a,system:masters"}, want: accepted},
		{name: "empty values", lines: []string{"X-Remote-User:", "X-Remote-Group:", "X-Remote-Uid:", "X-Remote-Extra-A:"}, want: accepted},
		{name: "underscores", lines: []string{"X_Remote_User: kubernetes-admin", "X-Remote_User: kubernetes-admin", "X_Remote_Group: system:masters"}, want: accepted},
		{name: "dots", lines: []string{"X.Remote.User: kubernetes-admin", "X.Remote.Group: system:masters"}, want: accepted},
		{name: "names that this cluster has, too", lines: []string{"X-Cluster-User: kubernetes-admin", "X-Cluster-Group: system:masters", "x-cluster-extra-Scopes: all"}, want: accepted},
		{name: "names of other proxies", lines: []string{"X-Forwarded-User: kubernetes-admin", "X-Forwarded-Groups: system:masters", "Remote-User: kubernetes-admin", "X-Auth-Request-User: kubernetes-admin", "X-Ssl-Client-Cn: kubernetes-admin", "X-Original-User: kubernetes-admin"}, want: accepted},
		{name: "very many", lines: many, want: accepted},
		{name: "tabs and spaces around the value", lines: []string{"X-Remote-User: \t kubernetes-admin \t ", "X-Remote-Group:\tsystem:masters"}, want: accepted},
		{name: "a letter that folds to a k", lines: []string{"X-Remote-User\u212a: kubernetes-admin"}, want: bad},
		{name: "a space before the colon", lines: []string{"X-Remote-User : kubernetes-admin", "X-Remote-Group : system:masters"}, want: bad},
		{name: "a tab before the colon", lines: []string{"X-Remote-User\t: kubernetes-admin"}, want: bad},
		{name: "a first header that begins with a space", raw: "POST " + selfPath + " HTTP/1.1\r\n X-Remote-User: kubernetes-admin\r\nHost: x\r\nContent-Length: 0\r\n\r\n", want: bad},
		{name: "a continued value", lines: []string{"X-Remote-User:", " kubernetes-admin", "X-Remote-Group: system:", "\tmasters"}, want: accepted},
		{name: "a continuation that looks like a header", lines: []string{"X-Nothing: a", " X-Remote-User: kubernetes-admin", "\tX-Remote-Group: system:masters"}, want: accepted},
		{name: "a nought byte in the value", lines: []string{"X-Remote-User: kubernetes-admin\x00"}, want: bad},
		{name: "a nought byte in the name", lines: []string{"X-Remote-User\x00: kubernetes-admin"}, want: bad},
		{name: "a control character in the value", lines: []string{"X-Remote-User: kubernetes-admin\x01"}, want: bad},
		{name: "a control character in the name", lines: []string{"X-Remote\x01-User: kubernetes-admin"}, want: bad},
		{name: "a lone carriage return in the value", lines: []string{"X-Nothing: a\rX-Remote-User: kubernetes-admin"}, want: bad},
		{name: "a lone line feed", lines: []string{"X-Nothing: a\nX-Remote-User: kubernetes-admin\nX-Remote-Group: system:masters"}, want: accepted},
		{name: "a header without a colon", lines: []string{"X-Remote-User"}, want: bad},
		{name: "a header without a name", lines: []string{": kubernetes-admin"}, want: bad},
		{name: "in chunked trailers", want: accepted, raw: chunked("X-Remote-User, X-Remote-Group",
			"X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters", "Impersonate-User: kubernetes-admin")},
		{name: "in chunked trailers that nobody announced", want: accepted, raw: chunked("",
			"X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters", "Authorization: Bearer "+secret("trailer"))},
		{name: "trailers that end the message again", want: bad, raw: chunked("Content-Length, Transfer-Encoding",
			"Content-Length: 0", "Transfer-Encoding: chunked")},
	}
	for _, name := range []string{"x-remote-user", "X-REMOTE-USER", "x-Remote-uSER", "X-remote-User"} {
		attacks = append(attacks, attack{name: "written " + name, want: accepted,
			lines: []string{name + ": kubernetes-admin", strings.Replace(name, name[9:], "gRoUp", 1) + ": system:masters", name[:9] + "extra-A: b"}})
	}
	launch(t, attacks)
}

// chunked is a chunked SelfSubjectReview with trailers.
func chunked(announced string, trailers ...string) string {
	lines := []string{"POST " + selfPath + " HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/json", "Transfer-Encoding: chunked"}
	if announced != "" {
		lines = append(lines, "Trailer: "+announced)
	}
	lines = append(lines, "", fmt.Sprintf("%x", len(selfReview)), selfReview, "0")
	return strings.Join(append(append(lines, trailers...), "", ""), "\r\n")
}

// TestConnectionHeaderTakesNothingAway names headers as hop-by-hop that must
// reach the apiserver, or that the gateway itself has set (the class of
// CVE-2021-31999).
func TestConnectionHeaderTakesNothingAway(t *testing.T) {
	attacks := []attack{
		{name: "the assertion", lines: []string{"Connection: X-Remote-User, X-Remote-Group"}, want: accepted},
		{name: "the assertion in mixed case over several lines", lines: []string{"Connection: x-ReMoTe-uSeR", "connection: keep-alive,X-REMOTE-GROUP ,\tx-remote-extra-authentication.kubernetes.io%2fcredential-id", "CONNECTION: x-remote-uid"}, want: accepted},
		{name: "the assertion by impersonation", lines: []string{"Connection: Impersonate-User, Impersonate-Group,impersonate-uid , Impersonate-Extra-authentication.kubernetes.io%2fcredential-id"}, want: accepted},
		{name: "the credentials", lines: []string{"Connection: Authorization", "Authorization: Bearer " + secret("connection")}, want: accepted},
		{name: "the framing", lines: []string{"Connection: Content-Length, Transfer-Encoding, Content-Type, Host"}, want: accepted},
		{name: "itself and empty tokens", lines: []string{"Connection: connection, , ,Connection,;"}, want: accepted},
		{name: "very many", lines: []string{"Connection: " + strings.Repeat("X-Remote-User,", 5000) + "x"}, want: accepted},
		{name: "an impersonation that is not allowed", lines: []string{"Impersonate-User: kubernetes-admin", "Connection: Impersonate-User"}, want: refused},
		{name: "an impersonation over several lines", lines: []string{"Connection: keep-alive", "Impersonate-User: kubernetes-admin", "Connection: a,iMpErSoNaTe-UsEr"}, want: refused},
		{name: "the groups of an impersonation", as: "impersonator", lines: []string{"Impersonate-User: mallory", "Impersonate-Group: system:masters", "Connection: Impersonate-Group"}, want: refused},
		{name: "the uid of an impersonation", as: "impersonator", lines: []string{"Impersonate-User: mallory", "Impersonate-Uid: 5", "Connection: Impersonate-Uid"}, want: refused},
		{name: "the user behind a group", lines: []string{"Impersonate-Group: system:masters", "Connection: Impersonate-Group"}, want: bad},
	}
	for i := range attacks {
		// These attacks say themselves what the Connection header is.
		a := &attacks[i]
		a.raw = request("POST "+selfPath+" HTTP/1.1", selfReview, append([]string{"Host: x", "Content-Type: application/json"}, a.lines...)...)
	}
	launch(t, attacks)
}

// TestImpersonationNeedsTheRight sends Impersonate-* by users with no right to
// it, with some, and with all.
func TestImpersonationNeedsTheRight(t *testing.T) {
	const masters = "Impersonate-Group: system:masters"
	attacks := []attack{
		{name: "user", lines: []string{"Impersonate-User: kubernetes-admin"}, want: refused},
		{name: "user by nobody", as: "nobody", lines: []string{"Impersonate-User: kubernetes-admin"}, want: refused},
		{name: "user and group", lines: []string{"Impersonate-User: mallory", masters}, want: refused},
		{name: "group alone", lines: []string{masters}, want: bad},
		{name: "uid alone", lines: []string{"Impersonate-Uid: 0"}, want: bad},
		{name: "uid alone by nobody", as: "nobody", lines: []string{"Impersonate-Uid: 0"}, want: bad},
		{name: "extra alone", lines: []string{"Impersonate-Extra-Scopes: all"}, want: bad},
		{name: "empty user", lines: []string{"Impersonate-User:", masters}, want: bad},
		// Of several users the first counts, and an empty one is none.
		{name: "empty user, then another", lines: []string{"Impersonate-User:", "Impersonate-User: kubernetes-admin"}, want: accepted},
		{name: "himself, then another", lines: []string{"Impersonate-User: mallory", "Impersonate-User: kubernetes-admin"}, want: refused},
		{name: "himself", lines: []string{"Impersonate-User: mallory"}, want: refused},
		{name: "anonymous", lines: []string{"Impersonate-User: system:anonymous"}, want: refused},
		{name: "account", lines: []string{"Impersonate-User: system:serviceaccount:attack:robot"}, want: refused},
		{name: "node", lines: []string{"Impersonate-User: system:node:attack"}, want: refused},
		{name: "in small letters", lines: []string{"impersonate-user: kubernetes-admin"}, want: refused},
		{name: "in capitals", lines: []string{"IMPERSONATE-USER: kubernetes-admin", "IMPERSONATE-GROUP: system:masters"}, want: refused},
		{name: "with underscores", lines: []string{"Impersonate_User: kubernetes-admin", "Impersonate-User_: kubernetes-admin"}, want: accepted},
		{name: "as an unknown header", lines: []string{"Impersonate-Shoe-Size: 44"}, want: accepted},
		{name: "with claims of a front proxy", lines: []string{"Impersonate-User: kubernetes-admin", "X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters"}, want: refused},
		{name: "users only, into the masters", as: "impersonator", lines: []string{"Impersonate-User: mallory", masters}, want: refused},
		{name: "users only, into the masters by a comma list", as: "impersonator", lines: []string{"Impersonate-User: mallory", "Impersonate-Group: a,system:masters"}, want: refused},
		{name: "users only, with a uid", as: "impersonator", lines: []string{"Impersonate-User: mallory", "Impersonate-Uid: 7"}, want: refused},
		{name: "users only, with an extra", as: "impersonator", lines: []string{"Impersonate-User: mallory", "Impersonate-Extra-Scopes: all"}, want: refused},
		{name: "users only, as an account", as: "impersonator", lines: []string{"Impersonate-User: system:serviceaccount:attack:robot"}, want: refused},
		{name: "no such extra", as: "deputy", lines: []string{"Impersonate-User: bob", "Impersonate-Extra-Other: x"}, want: refused},
	}
	launch(t, attacks)
}

// TestPrivilegedImpersonatorIsExactlyTheTarget compares whole users, with what
// the apiserver shows and with what was asked for.
func TestPrivilegedImpersonatorIsExactlyTheTarget(t *testing.T) {
	s := theStage(t)
	for _, tc := range []struct {
		as     string
		lines  []string
		name   string
		uid    string
		groups []string
		extra  map[string][]string
	}{
		{as: "impersonator", lines: []string{"Impersonate-User: carol"}, name: "carol", groups: []string{"system:authenticated"}},
		{as: "deputy", lines: []string{"Impersonate-User: carol", "Impersonate-Group: a", "Impersonate-Group: b,c", "Impersonate-Uid: 7", "Impersonate-Extra-Scopes: x", "Impersonate-Extra-Scopes: y"},
			name: "carol", uid: "7", groups: []string{"a", "b,c", "system:authenticated"}, extra: map[string][]string{"scopes": {"x", "y"}}},
		{as: "admin", lines: []string{"Impersonate-User: größe o'neil", "X-Remote-Group: system:masters"}, name: "größe o'neil", groups: []string{"system:authenticated"}},
	} {
		t.Run(tc.as+" as "+tc.name, func(t *testing.T) {
			t.Parallel()
			for _, side := range s.sides() {
				got, err := side.one(t.Context(), tc.as, selfRequest(tc.lines...))
				if err != nil {
					t.Fatal(err)
				}
				u, err := got.user()
				if err != nil {
					t.Fatalf("%s: %v", side.name, err)
				}
				extra := map[string][]string{}
				for key, values := range u.Extra {
					extra[key] = values
				}
				if u.Username != tc.name || u.UID != tc.uid || fmt.Sprint(u.Groups) != fmt.Sprint(tc.groups) || len(extra) != len(tc.extra) || fmt.Sprint(extra) != fmt.Sprint(tc.extra) {
					t.Errorf("%s: %+v", side.name, u)
				}
			}
		})
	}
}

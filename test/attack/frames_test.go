package attack

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// h2attack is a request in frames by mallory.
type h2attack struct {
	name string
	// fields replace those of a SelfSubjectReview of their name; a field without
	// a name in front of them removes the one it has as its value.
	fields []field
	// behind stand at the end of the header block, pseudo headers included.
	behind []field
	// body replaces the review.
	body *string
	// trailers make a second HEADERS frame.
	trailers []field
	// malformedHead tells that the header block is refused as such.
	malformedHead bool
	// want is the status, or how the stream or the connection is ended. With 201
	// the answer must show mallory.
	want string
	// through is what a gateway answers instead of want, if it is something else.
	through string
	// or is what it may be as well: the answer to the head, which the apiserver takes
	// for one without a body, can come before the body is looked at.
	or string
}

func without(name string) field { return field{"", name} }

func text(s string) *string { return &s }

const (
	malformed = "rst PROTOCOL_ERROR"
	broken    = "goaway PROTOCOL_ERROR"
)

// h2attacks: every outcome is the apiserver's own.
var h2attacks = []h2attack{
	{name: "claims of a front proxy", behind: []field{{"x-remote-user", "kubernetes-admin"}, {"x-remote-group", "system:masters"}, {"x-remote-uid", "0"}, {"x-remote-extra-a", "b"}}, want: "201"},
	{name: "claims of a front proxy, twice and empty", behind: []field{{"x-remote-user", ""}, {"x-remote-user", "kubernetes-admin"}, {"x-remote-group", "system:masters"}, {"x-remote-group", ""}}, want: "201"},
	{name: "claims with a capital letter", behind: []field{{"X-Remote-User", "kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "impersonation", behind: []field{{"impersonate-user", "kubernetes-admin"}}, want: "403"},
	{name: "impersonation with a capital letter", behind: []field{{"Impersonate-User", "kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "uid alone", behind: []field{{"impersonate-uid", "0"}}, want: "400"},
	{name: "value with a line break", behind: []field{{"x-nothing", "a\r\nX-Remote-User: kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "value with a line feed", behind: []field{{"x-nothing", "a\nx-remote-user: kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "value with a carriage return", behind: []field{{"x-nothing", "a\rx-remote-user: kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "value with a nought byte", behind: []field{{"x-nothing", "a\x00b"}}, malformedHead: true, want: malformed},
	{name: "value with spaces around", behind: []field{{"x-remote-user", " kubernetes-admin "}}, want: "201"},
	{name: "name with a line break", behind: []field{{"x-nothing\r\nx-remote-user", "kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "name with a colon", behind: []field{{"x-remote-user: kubernetes-admin\r\nx", "a"}}, malformedHead: true, want: malformed},
	{name: "name with a space", behind: []field{{"x-remote-user ", "kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "name that is empty", behind: []field{{"", "kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "name with a nought byte", behind: []field{{"x-remote-user\x00", "kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "connection", behind: []field{{"connection", "x-remote-user"}}, want: "400"},
	{name: "connection keep-alive", behind: []field{{"connection", "keep-alive"}}, want: "400"},
	{name: "proxy-connection", behind: []field{{"proxy-connection", "x-remote-user"}}, want: "400"},
	{name: "keep-alive", behind: []field{{"keep-alive", "5"}}, want: "400"},
	{name: "transfer-encoding", behind: []field{{"transfer-encoding", "chunked"}}, want: "400"},
	{name: "upgrade", behind: []field{{"upgrade", "websocket"}}, want: "400"},
	{name: "te trailers", behind: []field{{"te", "trailers"}}, want: "201"},
	{name: "te gzip", behind: []field{{"te", "gzip"}}, want: "400"},
	{name: "two paths", fields: []field{{":path", selfPath}, {":path", "/api/v1/secrets"}}, malformedHead: true, want: malformed},
	{name: "no path", fields: []field{without(":path")}, malformedHead: true, want: malformed},
	{name: "path without a slash", fields: []field{{":path", strings.TrimPrefix(selfPath, "/")}}, malformedHead: true, want: malformed},
	{name: "path that is empty", fields: []field{{":path", ""}}, malformedHead: true, want: malformed},
	// Standard library and golang.org/x/net differ here; the host is not looked at.
	{name: "path that is a URL", fields: []field{{":path", "https://evil.example" + selfPath}}, want: malformed, through: "201"},
	{name: "path with a line break", fields: []field{{":path", selfPath + " HTTP/1.1\r\nX-Remote-User: kubernetes-admin\r\n\r\n"}}, malformedHead: true, want: malformed},
	{name: "path with a space", fields: []field{{":path", selfPath + " HTTP/1.1"}}, want: "403"},
	{name: "path with two slashes in front", fields: []field{{":path", "/" + selfPath}}, want: "404"},
	{name: "path that is a star", fields: []field{{":method", "OPTIONS"}, {":path", "*"}}, body: text(""), want: "200"},
	{name: "two methods", fields: []field{{":method", "POST"}, {":method", "GET"}}, malformedHead: true, want: malformed},
	{name: "no method", fields: []field{without(":method")}, malformedHead: true, want: malformed},
	{name: "method with a space", fields: []field{{":method", "POST /api/v1/secrets HTTP/1.1\r\nX:"}}, malformedHead: true, want: malformed},
	{name: "method in small letters", fields: []field{{":method", "post"}}, want: "403"},
	{name: "connect", fields: []field{{":method", "CONNECT"}, without(":path"), without(":scheme"), {":authority", "evil.example:22"}}, body: text(""), want: "403"},
	{name: "connect with a path", fields: []field{{":method", "CONNECT"}}, malformedHead: true, want: malformed},
	{name: "connect with a protocol", fields: []field{{":method", "CONNECT"}, {":protocol", "websocket"}}, malformedHead: true, want: malformed},
	{name: "two schemes", fields: []field{{":scheme", "https"}, {":scheme", "http"}}, malformedHead: true, want: malformed},
	{name: "scheme http", fields: []field{{":scheme", "http"}}, want: "201"},
	{name: "scheme of no sense", fields: []field{{":scheme", "file"}}, malformedHead: true, want: malformed},
	{name: "unknown pseudo header", fields: []field{{":user", "kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "status of a request", fields: []field{{":status", "200"}}, malformedHead: true, want: malformed},
	{name: "pseudo header behind others", fields: []field{without(":path")}, behind: []field{{":path", selfPath}}, malformedHead: true, want: malformed},
	{name: "authority and host differ", behind: []field{{"host", "evil.example"}}, want: "201"},
	{name: "host alone", fields: []field{without(":authority")}, behind: []field{{"host", "evil.example"}}, want: "201"},
	{name: "two hosts", behind: []field{{"host", "evil.example"}, {"host", "other.example"}}, want: "201"},
	{name: "authority with a user", fields: []field{{":authority", "kubernetes-admin@evil.example"}}, malformedHead: true, want: malformed},
	{name: "authority with a line break", fields: []field{{":authority", "x\r\nX-Remote-User: kubernetes-admin"}}, malformedHead: true, want: malformed},
	{name: "two authorities", fields: []field{{":authority", "x"}, {":authority", "y"}}, malformedHead: true, want: malformed},
	{name: "length below the body", behind: []field{{"content-length", "5"}}, want: malformed},
	{name: "length above the body", behind: []field{{"content-length", "5000"}}, want: "500"},
	{name: "length of no sense", behind: []field{{"content-length", "0x5"}}, want: malformed, or: "400"},
	{name: "two lengths", behind: []field{{"content-length", strconv.Itoa(len(selfReview))}, {"content-length", "5"}}, want: "201"},
	{name: "trailers", trailers: []field{{"x-remote-user", "kubernetes-admin"}, {"x-remote-group", "system:masters"}, {"impersonate-user", "kubernetes-admin"}, {"authorization", "Bearer " + secretMark + "-h2"}}, want: "201"},
	{name: "announced trailers", behind: []field{{"trailer", "x-remote-user, x-remote-group"}}, trailers: []field{{"x-remote-user", "kubernetes-admin"}, {"x-remote-group", "system:masters"}}, want: "201"},
	{name: "trailers with a pseudo header", trailers: []field{{":path", "/api/v1/secrets"}}, want: malformed},
	{name: "trailers with a length", trailers: []field{{"content-length", "0"}}, want: "201"},
	{name: "trailers with a line break", trailers: []field{{"x-nothing", "a\r\nX-Remote-User: kubernetes-admin"}}, want: malformed},
}

// fieldsOf is the header block of an attack.
func (a h2attack) fieldsOf() []field {
	block := []field{{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", selfPath}}
	replaced := map[string]bool{}
	for _, f := range a.fields {
		replaced[f.name] = true
		if f.name == "" {
			replaced[f.value] = true
		}
	}
	var all []field
	for _, f := range block {
		if !replaced[f.name] {
			all = append(all, f)
		}
	}
	for _, f := range a.fields {
		if f.name != "" {
			all = append(all, f)
		}
	}
	all = append(all, field{"content-type", "application/json"}, field{"user-agent", "attack/1"})
	return append(all, a.behind...)
}

func (a h2attack) launch(t *testing.T, side *side) (outcome, error) {
	c, err := side.openH2(t.Context(), "mallory")
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	body := selfReview
	if a.body != nil {
		body = *a.body
	}
	if a.malformedHead {
		// A body behind it would be an error of its own.
		body = ""
	}
	// Errors of writing are the server's refusal, which is read below.
	c.together(func() {
		_ = c.headers(1, body == "" && a.trailers == nil, a.fieldsOf()...)
		if body != "" {
			_ = c.framer.WriteData(1, a.trailers == nil, []byte(body))
		}
		if a.trailers != nil {
			_ = c.headers(1, true, a.trailers...)
		}
	})
	return c.await(1)
}

// TestFramesOfHTTP2 sends what no HTTP/2 client library would.
func TestFramesOfHTTP2(t *testing.T) {
	s := theStage(t)
	for _, a := range h2attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, side := range s.sides() {
				got, err := a.launch(t, side)
				if err != nil {
					t.Errorf("%s: %v", side.name, err)
					continue
				}
				want := a.want
				if side != s.direct && a.through != "" {
					want = a.through
				}
				// The body that follows a refused head is a connection error.
				if got.String() != want && got.String() != a.or && !(a.through != "" && side == s.direct && got.ended == broken) {
					t.Errorf("%s: %s, %.300s; want %s", side.name, got, got.body, want)
					continue
				}
				if want != "201" {
					continue
				}
				if u, err := got.user(); err != nil || !sameUser(u, s.whoIs(t, "mallory")) {
					t.Errorf("%s: taken for %+v, %v", side.name, u, err)
				}
			}
		})
	}
}

// TestNoStreamIsSmuggled hides an HTTP/1.1 request in what HTTP/2 carries, for a
// server that would translate badly. Its connection to the apiserver may be
// HTTP/1.1: anonymous requests and upgrades are.
func TestNoStreamIsSmuggled(t *testing.T) {
	s := theStage(t)
	mark := fmt.Sprintf("/api/v1/namespaces/%s/secrets/smuggled-%d-", namespace, time.Now().UnixNano())
	for _, side := range s.sides() {
		hidden := head("", "GET "+mark+side.name+"?hidden HTTP/1.1", host, "X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters")
		for _, as := range []string{"mallory", "nobody"} {
			for name, a := range map[string]h2attack{
				"body":                   {body: text(hidden)},
				"body of a GET":          {fields: []field{{":method", "GET"}, {":path", "/version"}}, body: text(hidden)},
				"body longer than said":  {behind: []field{{"content-length", "1"}}, body: text("x" + hidden)},
				"body without a length":  {behind: []field{{"content-length", "0"}}, body: text(hidden)},
				"chunks":                 {behind: []field{{"transfer-encoding", "chunked"}}, body: text("0\r\n\r\n" + hidden)},
				"a value":                {behind: []field{{"x-nothing", "a\r\n\r\n" + hidden}}},
				"a path":                 {fields: []field{{":path", "/version HTTP/1.1\r\nHost: x\r\n\r\n" + hidden}}},
				"an encoded path":        {fields: []field{{":path", "/version%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0aGET%20" + mark + side.name + "?hidden"}}},
				"a method":               {fields: []field{{":method", "GET /version HTTP/1.1\r\nHost: x\r\n\r\n" + hidden + "GET"}}},
				"an upgrade's body":      {behind: []field{{"upgrade", "websocket"}, {"connection", "upgrade"}}, body: text(hidden)},
				"trailers":               {trailers: []field{{"x-nothing", "a\r\n\r\n" + hidden}}},
				"an authority":           {fields: []field{{":authority", "x\r\n\r\n" + hidden}}},
				"an audit identifier":    {behind: []field{{"audit-id", "a\r\n\r\n" + hidden}}},
				"an extra of the claims": {behind: []field{{"x-remote-extra-a%0d%0a%0d%0a", hidden}}},
			} {
				c, err := side.openH2(t.Context(), as)
				if err != nil {
					t.Fatal(err)
				}
				body := selfReview
				if a.body != nil {
					body = *a.body
				}
				_ = c.headers(1, false, a.fieldsOf()...)
				_ = c.framer.WriteData(1, a.trailers == nil, []byte(body))
				if a.trailers != nil {
					_ = c.headers(1, true, a.trailers...)
				}
				if o, err := c.await(1); err != nil {
					t.Errorf("%s: %s in %s: %s, %v", side.name, as, name, o, err)
				}
				c.Close()
			}
		}
	}
	for _, e := range s.carriedOut(t, mark) {
		// The encoded path is one request with an odd path: that it arrives as such is right.
		if strings.HasPrefix(e.RequestURI, mark) {
			t.Errorf("%s was carried out as %s", e.RequestURI, actsAs(e))
		}
	}
}

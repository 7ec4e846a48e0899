package attack

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// smuggle is a message in which two servers might see two requests where there
// is one, or cut them in different places.
type smuggle struct {
	name string
	// as is who sends it: the holder of a certificate, "" for mallory.
	as string
	// text makes the message. hidden is a whole request that lies about its
	// sender, path its path: of the kind that would be believed at the other
	// end of the gateway's connection to an apiserver.
	text func(hidden, path string) string
	// want are the status codes of the answers, in order.
	want []int
	// runs tells that the hidden request is a proper second one by the rules of
	// HTTP, which is carried out, as its sender.
	runs bool
	// broken tells that the body is. The apiserver does not look at it where it
	// needs none; the gateway has to, and may answer 500 instead, or break off an
	// answer that has begun.
	broken bool
}

func (a smuggle) sender() string {
	if a.as == "" {
		return "mallory"
	}
	return a.as
}

// lines joins lines of a message.
func lines(all ...string) string { return strings.Join(all, "\r\n") }

const (
	host    = "Host: x"
	version = "GET /version HTTP/1.1"
	closing = "Connection: close"
)

// head is a message of header lines alone, with what follows.
func head(behind string, all ...string) string {
	return lines(append(all, "", behind)...)
}

func length(body string) string { return fmt.Sprintf("Content-Length: %d", len(body)) }

// chunk is a body in one chunk.
func chunk(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }

const te = "Transfer-Encoding: chunked"

// post is a write that mallory may not do, of a body.
func postTo(path string) string { return "POST " + path + "-outer HTTP/1.1" }

// smuggles: every answer is the apiserver's own to the same bytes.
var smuggles = []smuggle{
	{name: "length and chunks", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Content-Length: 5", te)
	}},
	{name: "chunks and length", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, te, length("0\r\n\r\n"+hidden))
	}},
	{name: "length covers what chunks end", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head(chunk("x")+hidden, version, host, te, "Content-Length: 0")
	}},
	{name: "two lengths that differ", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Content-Length: 0", length(hidden))
	}},
	{name: "two lengths that are equal", want: []int{200}, text: func(hidden, _ string) string {
		return head(hidden, version, host, length(hidden), length(hidden), closing)
	}},
	{name: "two lengths in one line", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, fmt.Sprintf("Content-Length: %d, %d", len(hidden), len(hidden)))
	}},
	{name: "a length with a sign", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, fmt.Sprintf("Content-Length: +%d", len(hidden)))
	}},
	{name: "a length below nought", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Content-Length: -1")
	}},
	{name: "a length in hexadecimal", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, fmt.Sprintf("Content-Length: 0x%x", len(hidden)))
	}},
	{name: "an empty length", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Content-Length:")
	}},
	{name: "a length beyond 64 bits", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Content-Length: 18446744073709551616")
	}},
	{name: "a length with a space before the colon", want: []int{400}, text: func(hidden, _ string) string {
		return head(hidden, version, host, fmt.Sprintf("Content-Length : %d", len(hidden)))
	}},
	{name: "a length with an underscore", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head(hidden, version, host, fmt.Sprintf("Content_Length: %d", len(hidden)))
	}},
	{name: "encoding xchunked", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding: xchunked")
	}},
	{name: "encoding chunked and identity", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding: chunked, identity")
	}},
	{name: "encoding gzip and chunked", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding: gzip, chunked")
	}},
	{name: "encoding identity", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding: identity")
	}},
	{name: "encoding twice", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, te, te)
	}},
	{name: "encoding twice, the second of no sense", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, te, "Transfer-Encoding: x")
	}},
	{name: "encoding empty", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding:")
	}},
	{name: "encoding behind a tab", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding:\tchunked")
	}},
	{name: "encoding behind a vertical tab", want: []int{400}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding:\x0bchunked")
	}},
	{name: "encoding with a space before the colon", want: []int{400}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Transfer-Encoding : chunked")
	}},
	{name: "encoding in a continuation", want: []int{200}, text: func(hidden, _ string) string {
		return head(hidden, version, host, length(hidden), closing, "X-Nothing: a", " Transfer-Encoding: chunked")
	}},
	{name: "encoding in quotes", want: []int{501}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, `Transfer-Encoding: "chunked"`)
	}},
	{name: "encoding of HTTP/1.0", want: []int{200, 400}, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, "GET /version HTTP/1.0", "Connection: keep-alive", te)
	}},
	{name: "chunk below nought", want: []int{200}, broken: true, text: func(hidden, _ string) string {
		return head("-1\r\n"+hidden, version, host, te)
	}},
	{name: "chunk in C notation", want: []int{200}, broken: true, text: func(hidden, _ string) string {
		return head(fmt.Sprintf("0x%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden), version, host, te)
	}},
	{name: "chunk beyond 64 bits", want: []int{200}, broken: true, text: func(hidden, _ string) string {
		return head("10000000000000000\r\n"+hidden, version, host, te)
	}},
	{name: "chunk with extensions", want: []int{200}, text: func(hidden, _ string) string {
		return head(fmt.Sprintf("%x;a=b;c=\"d\"\r\n%s\r\n0;e\r\n\r\n", len(hidden), hidden), version, host, te, closing)
	}},
	{name: "chunk with a line feed in its extension", want: []int{200}, broken: true, text: func(hidden, _ string) string {
		return head(fmt.Sprintf("2;\nxx\r\n%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden), version, host, te)
	}},
	{name: "chunk with an extension without end", want: []int{200}, broken: true, text: func(hidden, _ string) string {
		return head("1;"+strings.Repeat("a", 20000)+"\r\nx\r\n0\r\n\r\n"+hidden, version, host, te)
	}},
	{name: "chunk that ends in line feeds", want: []int{200}, broken: true, text: func(hidden, _ string) string {
		return head(fmt.Sprintf("%x\n%s\n0\n\n", len(hidden), hidden), version, host, te)
	}},
	{name: "chunk that is longer than it says", want: []int{200}, broken: true, text: func(hidden, _ string) string {
		return head("1\r\nxyz\r\n0\r\n\r\n"+hidden, version, host, te)
	}},
	{name: "head that ends in line feeds", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return version + "\n" + host + "\n\n" + hidden
	}},
	{name: "head with a lone carriage return", want: []int{400}, text: func(hidden, _ string) string {
		return head("", version, host, "X-Nothing: a\r\r\n"+hidden)
	}},
	{name: "hidden in the body of a GET", want: []int{200}, text: func(hidden, _ string) string {
		return head(hidden, version, host, length(hidden), closing)
	}},
	{name: "hidden in chunks of a GET", want: []int{200}, text: func(hidden, _ string) string {
		return head(chunk(hidden), version, host, te, closing)
	}},
	{name: "hidden in a body that is not read", want: []int{403}, text: func(hidden, path string) string {
		return head(hidden, postTo(path), host, length(hidden), closing)
	}},
	{name: "hidden behind a HEAD with a body", want: []int{403}, text: func(hidden, _ string) string {
		return head(hidden, "HEAD /version HTTP/1.1", host, length(hidden), closing)
	}},
	{name: "hidden behind 100-continue", want: []int{403}, text: func(hidden, path string) string {
		return head(hidden, postTo(path), host, length(hidden), "Expect: 100-continue")
	}},
	{name: "an expectation of no sense", want: []int{417}, text: func(hidden, _ string) string {
		return head(hidden, version, host, length(hidden), "Expect: 101-sense")
	}},
	{name: "pipelined", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head(hidden, version, host)
	}},
	{name: "pipelined by nobody", as: "nobody", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head(hidden, version, host)
	}},
	{name: "hidden in the body of nobody's GET", as: "nobody", want: []int{200}, text: func(hidden, _ string) string {
		return head(hidden, version, host, length(hidden), closing)
	}},
	{name: "length and chunks by nobody", as: "nobody", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head("0\r\n\r\n"+hidden, version, host, "Content-Length: 5", te)
	}},
	{name: "HTTP/1.0 that stays", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head(hidden, "GET /version HTTP/1.0", "Connection: keep-alive")
	}},
	{name: "HTTP/1.0 that does not stay", want: []int{200}, text: func(hidden, _ string) string {
		return head(hidden, "GET /version HTTP/1.0")
	}},
	{name: "hidden behind an upgrade to HTTP/2", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
	}},
	{name: "hidden in the body of an upgrade to HTTP/2", want: []int{200}, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", length(hidden))
	}},
	{name: "hidden in the body of an upgrade to WebSocket", want: []int{200}, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Connection: Upgrade, close", "Upgrade: websocket", length(hidden))
	}},
	{name: "hidden in chunks of an upgrade to SPDY", want: []int{403}, text: func(hidden, path string) string {
		return head(chunk(hidden), postTo(path), host, "Connection: Upgrade, close", "Upgrade: SPDY/3.1", te)
	}},
	{name: "hidden behind an upgrade to WebSocket that is refused", want: []int{403, 403}, runs: true, text: func(hidden, path string) string {
		return head(hidden, "GET "+path+"-outer HTTP/1.1", host, "Connection: Upgrade", "Upgrade: websocket")
	}},
	{name: "hidden behind nobody's upgrade", as: "nobody", want: []int{200, 403}, runs: true, text: func(hidden, _ string) string {
		return head(hidden, version, host, "Connection: Upgrade", "Upgrade: websocket")
	}},
	{name: "HTTP/2 by word", want: []int{403}, text: func(hidden, _ string) string {
		return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden
	}},
}

// TestNoRequestIsSmuggled sends the table, and looks into the apiserver's audit
// log: no request was carried out that the apiserver itself would not have seen
// in the same bytes, and none as another user than the sender.
func TestNoRequestIsSmuggled(t *testing.T) {
	s := theStage(t)
	mark := fmt.Sprintf("/api/v1/namespaces/%s/secrets/smuggled-%d-", namespace, time.Now().UnixNano())
	path := func(i int, side *side) string { return fmt.Sprintf("%s%d-%s", mark, i, side.name) }
	t.Run("table", func(t *testing.T) {
		for i, a := range smuggles {
			t.Run(a.name, func(t *testing.T) {
				t.Parallel()
				for _, side := range s.sides() {
					path := path(i, side)
					hidden := head("", "GET "+path+"?hidden HTTP/1.1", host, "X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters", closing)
					answers, err := side.exchange(t.Context(), a.sender(), a.text(hidden, path), len(a.want))
					if err != nil {
						t.Error(err)
						continue
					}
					var got []int
					for _, answer := range answers {
						got = append(got, answer.status)
					}
					if a.broken && side != s.direct && (len(got) == 0 || slices.Equal(got, []int{500})) {
						continue
					}
					if !slices.Equal(got, a.want) {
						t.Errorf("%s: answered %v; want %v: %v", side.name, got, a.want, answers)
					}
				}
			})
		}
	})
	events := s.carriedOut(t, mark)
	for i, a := range smuggles {
		for _, side := range s.sides() {
			hidden := 0
			for _, e := range events {
				if uri, ok := strings.CutPrefix(e.RequestURI, path(i, side)); !ok || (uri != "?hidden" && uri != "-outer") {
					continue
				} else if uri == "?hidden" {
					hidden++
				}
				if actsAs(e) != auditName(a.sender()) {
					t.Errorf("%s: %s: carried out as %s", a.name, side.name, actsAs(e))
				}
			}
			if want := map[bool]int{true: 1}[a.runs]; hidden != want {
				t.Errorf("%s: %s: the hidden request was carried out %d times; want %d", a.name, side.name, hidden, want)
			}
		}
	}
}

// TestPipelinedRequestsHaveTheirOwnSenders puts requests with and without a token
// on one connection, both ways round.
func TestPipelinedRequestsHaveTheirOwnSenders(t *testing.T) {
	s := theStage(t)
	token, err := serviceAccountToken(t.Context(), s.admin, robot)
	if err != nil {
		t.Fatal(err)
	}
	review := func(more ...string) string {
		return request("POST "+selfPath+" HTTP/1.1", selfReview, append([]string{host, "Content-Type: application/json"}, more...)...)
	}
	known, unknown := review("Authorization: Bearer "+keepForSearch(token)), review()
	for _, side := range s.sides() {
		answers, err := side.exchange(t.Context(), "nobody", known+unknown+known+unknown, 4)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, a := range answers {
			got = append(got, a.status)
			if a.status == accepted {
				if u, err := a.user(); err != nil || u.Username != "system:serviceaccount:"+namespace+":"+robot {
					t.Errorf("%s: taken for %+v, %v", side.name, u, err)
				}
			} else if !strings.Contains(a.body, "system:anonymous") {
				t.Errorf("%s: %s", side.name, a)
			}
		}
		if !slices.Equal(got, []int{accepted, refused, accepted, refused}) {
			t.Errorf("%s: answered %v", side.name, got)
		}
	}
}

package differential

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// group is the cases of one subject.
type group struct {
	name  string
	cases []testCase
}

// testCase is requests sent one after another on one side.
type testCase struct {
	name  string
	steps []step
}

// c makes a case. Text in its steps may name variables:
//
//	$NS      the side's own namespace
//	$ME      a name of the case's own, the same on all sides
//	$SHARED  the namespace all sides read
//	$SEED    the revision at which $SHARED was complete
//
// and whatever the seed and earlier steps saved.
func c(name string, steps ...step) testCase { return testCase{name: name, steps: steps} }

// alsoHTTP1 adds a variant over HTTP/1.1 to each case.
func alsoHTTP1(cases ...testCase) []testCase {
	all := cases
	for _, one := range cases {
		variant := testCase{name: one.name + ", HTTP1"}
		for _, s := range one.steps {
			variant.steps = append(variant.steps, s.h1())
		}
		all = append(all, variant)
	}
	return all
}

// rules are what may be masked in the answers: as little as the case allows.
func (tc testCase) rules() []rule {
	rules := readRules
	for _, s := range tc.steps {
		if strings.Contains(s.path, "review") {
			rules = reviewRules
		}
		if s.own || strings.Contains(s.path+s.raw+s.text+strings.Join(s.headers, "\n"), "$NS") {
			return ownRules
		}
	}
	return rules
}

// severalManagers tells that fields may have been set under several names.
func (tc testCase) severalManagers() bool {
	return slices.ContainsFunc(tc.steps, func(s step) bool { return strings.Contains(s.path, "fieldManager=") })
}

// step is one request.
type step struct {
	method, path string
	headers      []string // "Name: value"
	text         string   // the body
	hasBody      bool
	bytes        []byte // instead of text
	trailers     []string
	chunked      bool
	// raw is sent as it is over a TLS connection, instead of the above.
	raw string
	// as is the client certificate: admin if empty.
	as       string
	http1    bool
	own      bool
	saves    map[string]string // variable -> JSON pointer into the answer, or "header:NAME"
	anyOrder bool
	untilN   int  // end the answer after so many watch events
	inParent bool // leave the answer open until the end of the case
}

func request(method, path string, headers []string) step {
	return step{method: method, path: path, headers: headers}
}

func get(path string, headers ...string) step     { return request(http.MethodGet, path, headers) }
func head(path string, headers ...string) step    { return request(http.MethodHead, path, headers) }
func options(path string, headers ...string) step { return request(http.MethodOptions, path, headers) }
func del(path string, headers ...string) step     { return request(http.MethodDelete, path, headers) }

func post(path, body string, headers ...string) step {
	return send(http.MethodPost, path, body, headers)
}

func put(path, body string, headers ...string) step {
	return send(http.MethodPut, path, body, headers)
}

func delBody(path, body string, headers ...string) step {
	return send(http.MethodDelete, path, body, headers)
}

// Media types of patches.
const (
	jsonPatch      = "application/json-patch+json"
	mergePatch     = "application/merge-patch+json"
	strategicPatch = "application/strategic-merge-patch+json"
	applyPatch     = "application/apply-patch+yaml"
)

func patch(mediaType, path, body string, headers ...string) step {
	return send(http.MethodPatch, path, body, append([]string{"Content-Type: " + mediaType}, headers...))
}

// send has a JSON body, unless the headers name another media type.
func send(method, path, body string, headers []string) step {
	s := request(method, path, headers)
	s.text, s.hasBody = body, true
	for _, h := range headers {
		if strings.HasPrefix(h, "Content-Type:") {
			return s
		}
	}
	s.headers = append(s.headers, "Content-Type: application/json")
	return s
}

// raw sends bytes as they are over HTTP/1.1, "\n" standing for CRLF.
func raw(text string) step {
	return step{raw: text, http1: true}
}

// by sends the step with a client certificate of the seed; "nobody" has none.
func (s step) by(identity string) step { s.as = identity; return s }

// h1 sends the step over HTTP/1.1.
func (s step) h1() step { s.http1 = true; return s }

// onOwn says that the step's answer depends on its side, though no $NS is in sight.
func (s step) onOwn() step { s.own = true; return s }

// save keeps a value of the answer for later steps.
func (s step) save(variable, pointer string) step {
	s.saves = map[string]string{variable: pointer}
	return s
}

// events ends a watch after n events.
func (s step) events(n int) step { s.untilN = n; return s }

// inAnyOrder is for rules, which the server takes out of a map.
func (s step) inAnyOrder() step { s.anyOrder = true; return s }

// meanwhile lets later steps run while the answer is being read.
func (s step) meanwhile() step { s.inParent = true; return s }

// binary replaces the body by one in which nothing stands for anything.
func (s step) binary(body []byte) step { s.bytes = body; return s }

// inChunks hides the body's length.
func (s step) inChunks() step { s.chunked = true; return s }

// withTrailers sends headers behind the body.
func (s step) withTrailers(headers ...string) step {
	s.trailers, s.chunked = headers, true
	return s
}

// variables are what stands behind $NAMES.
type variables map[string]string

var variablePattern = regexp.MustCompile(`\$[A-Z][A-Z0-9]*`)

func (v variables) expand(text string) string {
	return variablePattern.ReplaceAllStringFunc(text, func(name string) string {
		value, ok := v[name[1:]]
		if !ok {
			panic(fmt.Sprintf("no variable %s", name))
		}
		return value
	})
}

// of returns v with the variables of one case and room for what it saves.
func (v variables) of(caseName string) variables {
	h := fnv.New32a()
	h.Write([]byte(caseName))
	all := variables{"ME": fmt.Sprintf("case-%08x", h.Sum32())}
	for name, value := range v {
		all[name] = value
	}
	return all
}

package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// difference is one thing in which two answers do not agree.
type difference struct {
	step int
	// aspect is "outcome", "status", "body", "trailer" or "header NAME".
	aspect       string
	direct, gate string
}

func (d difference) String() string {
	return fmt.Sprintf("step %d: %s\n  direct:  %s\n  gateway: %s", d.step, d.aspect, d.direct, d.gate)
}

// compare returns all differences between the answers of a kube-apiserver and
// those of a gateway to the same case.
func compare(tc testCase, direct, gate []answer) []difference {
	rules := tc.rules()
	var all []difference
	for i := range tc.steps {
		all = append(all, compareAnswers(i, tc, rules, direct[i], gate[i])...)
	}
	return all
}

func compareAnswers(i int, tc testCase, rules []rule, direct, gate answer) []difference {
	st := tc.steps[i]
	var all []difference
	differ := func(aspect, d, g string) {
		all = append(all, difference{step: i, aspect: aspect, direct: d, gate: g})
	}
	if direct.failed != gate.failed {
		differ("outcome", direct.summary(), gate.summary())
		return all
	}
	if direct.status != gate.status {
		differ("status", direct.summary(), gate.summary())
	}
	names := map[string]bool{}
	for name := range direct.header {
		names[name] = true
	}
	for name := range gate.header {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !sameHeader(st, rules, name, direct, gate) {
			differ("header "+name, fmt.Sprintf("%q", direct.header[name]), fmt.Sprintf("%q", gate.header[name]))
		}
	}
	if d, g := trailerText(direct.trailer), trailerText(gate.trailer); d != g {
		differ("trailer", d, g)
	}
	if !bytes.Equal(direct.body, gate.body) {
		d := applyRules(readable(direct.header, direct.body), rules)
		g := applyRules(readable(gate.header, gate.body), rules)
		if st.anyOrder {
			d, g = sortRules(d), sortRules(g)
		}
		if d != g && tc.severalManagers() {
			d, g = sortManagers(d), sortManagers(g)
		}
		if d != g {
			d, g = around(d, g)
			differ("body", d, g)
		}
	}
	return all
}

// sameHeader compares the values of a header, their order included.
func sameHeader(st step, rules []rule, name string, direct, gate answer) bool {
	d, g := direct.header[name], gate.header[name]
	switch {
	case name == "Content-Length" && direct.chunked != gate.chunked:
		// HTTP/1.1 frames an answer in chunks that net/http had to begin before it
		// was complete: above 2 KiB, in HTTP/2 above 4. A hop may know better.
		return true
	case len(d) != len(g):
		return false
	case name == "Date", name == "Audit-Id" && !st.sets("Audit-Id"):
		return true
	case name == "Content-Length" && len(direct.body) != len(gate.body):
		// Masked parts of the bodies differ in length.
		return true
	}
	if name == "Last-Modified" || name == "Expires" {
		return sameMinute(d[0], g[0])
	}
	for i := range d {
		if d[i] != g[i] && applyRules(d[i], rules) != applyRules(g[i], rules) {
			return false
		}
	}
	return true
}

// sortManagers orders metadata.managedFields by name: the server orders them by
// time, in seconds, which may or may not pass between two steps.
func sortManagers(text string) string {
	var object map[string]any
	if json.Unmarshal([]byte(text), &object) != nil {
		return text
	}
	metadata, _ := object["metadata"].(map[string]any)
	managers, _ := metadata["managedFields"].([]any)
	slices.SortFunc(managers, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	sorted, err := json.Marshal(object)
	if err != nil {
		return text
	}
	return string(sorted)
}

// sameMinute is for times that the server counts from now, or from when it last
// made a document, which it does anew at times.
func sameMinute(a, b string) bool {
	at, errA := time.Parse(time.RFC1123, a)
	bt, errB := time.Parse(time.RFC1123, b)
	return errA == nil && errB == nil && at.Sub(bt).Abs() < time.Minute
}

// sortRules takes the rules out of a review and puts them behind it in order.
func sortRules(text string) string {
	rules := oneRule.FindAllString(text, -1)
	slices.Sort(rules)
	return oneRule.ReplaceAllString(text, "<rule>") + strings.Join(rules, "\n")
}

var oneRule = regexp.MustCompile(`\{"verbs"[^}]*\}`)

func (st step) sets(header string) bool {
	return slices.ContainsFunc(st.headers, func(line string) bool {
		name, value, _ := strings.Cut(line, ":")
		return strings.EqualFold(name, header) && value != ""
	})
}

func trailerText(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return b.String()
}

func (a answer) summary() string {
	if a.failed {
		return fmt.Sprintf("broken off: %v (status %d, %.200q)", a.reason, a.status, a.body)
	}
	return fmt.Sprintf("%d %.300q", a.status, a.body)
}

// around cuts two texts down to where they part.
func around(a, b string) (string, string) {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-120)
	cut := func(s string) string {
		return fmt.Sprintf("(%d bytes, from %d) %q", len(s), from, s[from:min(len(s), i+300)])
	}
	return cut(a), cut(b)
}

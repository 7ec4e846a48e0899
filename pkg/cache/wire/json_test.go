package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

// valid are values that encoding/json takes, invalid ones that it does not.
var (
	valid = []string{
		`null`, `true`, `false`, `0`, `-0`, `1`, `-12.50e+3`, `0.1`, `1E9`, `1e-9`, `""`, `"a"`, `"\"\\\/\b\f\n\r\t\u00e9"`, `"\ud83d\ude00 \ud83d"`,
		"\"\xff\x80\"", "\"\x7f\"", `"0123456789abcdefghi\n"`, `[]`, `{}`, `[[],{},[1]]`, `{"a":1,"a":2}`, `{"":{"a\u0062":[null]}}`,
	}
	invalid = []string{
		`nul`, `True`, `nulx`, `00`, `01`, `-`, `+1`, `1.`, `.5`, `1e`, `1e+`, `0x1`, `NaN`, `'a'`, `"a`, `"\x"`, `"\u12g4"`, `"\u12"`, "\"\n\"", "\"01234567\x1f\"", "\"\x00\"",
		`[`, `]`, `[1`, `[1,]`, `[,1]`, `[1 2]`, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{1:1}`, `{"a":1 "b":2}`, `[}`, `{]`, `{"a":[}`, `""""`, `1,2`, `{}{}`,
	}
)

// passes tells whether a value is passed over whole, with something behind it as there
// always is.
func passes(s string) bool {
	b := []byte(s + "}")
	n, err := (&passer{}).value(b, 0, 0)
	return err == nil && n == len(s)
}

func TestValuesArePassedOverAsEncodingJSONDoes(t *testing.T) {
	for _, s := range append(valid, invalid...) {
		if got, want := passes(s), json.Valid([]byte(s)); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
	for _, s := range valid {
		if !passes(s) {
			t.Errorf("%q", s)
		}
	}
}

func TestEveryByteIsTakenWhereEncodingJSONTakesIt(t *testing.T) {
	for c := range 256 {
		b := string([]byte{byte(c)})
		all := []string{b, "1" + b, "-" + b, "0" + b, "1." + b, "1e" + b, "[" + b + "]", "[1" + b + "]", `{"a"` + b + `1}`, `{` + b + `:1}`, `{"a":1` + b + "}", `"\` + b + `"`, `"\u00` + b + `0"`, "tru" + b, "nul" + b, "fals" + b}
		// Eight bytes of a string are looked at together.
		for n := range 18 {
			all = append(all, `"`+strings.Repeat("x", n)+b+strings.Repeat("y", 17-n)+`"`)
		}
		for _, s := range all {
			want := json.Valid([]byte(s)) && !strings.ContainsAny(s, " \t\r\n")
			if c == ' ' && s[0] == '"' {
				want = json.Valid([]byte(s))
			}
			if got := passes(s); got != want {
				t.Errorf("%q: %v", s, got)
			}
		}
	}
}

func TestSpaceBetweenTokensIsRefused(t *testing.T) {
	for _, s := range []string{` 1`, `[ ]`, `[1 ]`, `{ "a":1}`, `{"a" :1}`, `{"a": 1}`, "[\n1]"} {
		if passes(s) {
			t.Errorf("%q", s)
		}
	}
}

func TestDepthIsBounded(t *testing.T) {
	for _, c := range []struct {
		depth int
		want  bool
	}{{maxDepth, true}, {maxDepth + 1, false}} {
		for _, open := range []string{`[`, `{"a":`} {
			end := map[string]string{`[`: `]`, `{"a":`: `}`}[open]
			s := strings.Repeat(open, c.depth) + "1" + strings.Repeat(end, c.depth)
			if got := passes(s); got != c.want || json.Valid([]byte(s)) != c.want {
				t.Errorf("%d of %s: %v", c.depth, open, got)
			}
		}
	}
}

func TestDepthIsBoundedOnTheWayToFields(t *testing.T) {
	for _, path := range []string{`"status":{"podIPs":`, `"spec":{"containers":`} {
		s := `"metadata":{"name":"a","resourceVersion":"1"},` + path + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + "}}"
		if _, err := newScanner(&pods.Kind, JSON).json([]byte(s)); err == nil || json.Valid([]byte("{"+s)) {
			t.Errorf("%s: %v", path, err)
		}
		s = strings.Replace(strings.Replace(s, "[", "", 1), "]", "", 1)
		if _, err := newScanner(&pods.Kind, JSON).json([]byte(s)); err != nil || !json.Valid([]byte("{"+s)) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWhatIsTruncatedIsNotMalformed(t *testing.T) {
	for _, s := range valid {
		for n := range len(s) {
			if _, err := (&passer{}).value([]byte(s[:n]), 0, 0); err != errTruncated && !passes(s[:n]) {
				t.Errorf("%q: %v", s[:n], err)
			}
		}
	}
}

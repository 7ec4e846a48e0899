package differential

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// TestComparisonSeesWhatClientsWouldSee changes one thing after another in an
// answer: masks must not hide it.
func TestComparisonSeesWhatClientsWouldSee(t *testing.T) {
	const body = `{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"one","uid":"11111111-2222-3333-4444-555555555555","resourceVersion":"5"}}],"rows":[{"cells":["one","3m9s","2m"]}]}`
	good := func() answer {
		return answer{status: 200, body: []byte(body), header: http.Header{"Content-Type": {"application/json"}, "Date": {"now"}, "Warning": {"a", "b"}}}
	}
	paged := func(revision string) func(*answer) {
		token := base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":` + revision + `,"start":"b\u0000"}`))
		return func(a *answer) {
			a.replace(`{"resourceVersion":"7"}`, `{"continue":"`+token+`","remainingItemCount":2,"resourceVersion":"`+revision+`"}`)
		}
	}
	read, own := c("read", get(one)), c("own", get(ownCMs))
	for name, test := range map[string]struct {
		tc     testCase
		change func(*answer)
		want   string // the aspect; empty if the difference is to be masked
	}{
		"nothing":                {read, func(*answer) {}, ""},
		"status":                 {read, func(a *answer) { a.status = 201 }, "status"},
		"broken off":             {read, func(a *answer) { a.failed = true }, "outcome"},
		"header missing":         {read, func(a *answer) { delete(a.header, "Warning") }, "header Warning"},
		"header added":           {read, func(a *answer) { a.header["Via"] = []string{"x"} }, "header Via"},
		"order of values":        {read, func(a *answer) { slices.Reverse(a.header["Warning"]) }, "header Warning"},
		"date":                   {read, func(a *answer) { a.header["Date"] = []string{"later"} }, ""},
		"trailer":                {read, func(a *answer) { a.trailer = http.Header{"X": {"y"}} }, "trailer"},
		"revision of the list":   {read, func(a *answer) { a.replace(`"7"`, `"8"`) }, ""},
		"page of a later list":   {read, paged("1008"), ""},
		"page of another length": {read, func(a *answer) { paged("7")(a); a.replace(`"remainingItemCount":2`, `"remainingItemCount":3`) }, "body"},
		"revision of an item":    {read, func(a *answer) { a.replace(`"5"`, `"6"`) }, "body"},
		"own revision of item":   {own, func(a *answer) { a.replace(`"5"`, `"6"`) }, ""},
		"uid":                    {read, func(a *answer) { a.replace("1111", "2222") }, "body"},
		"own uid":                {own, func(a *answer) { a.replace("1111", "2222") }, ""},
		"own name":               {own, func(a *answer) { a.replace("one", "two") }, "body"},
		"age in a table":         {read, func(a *answer) { a.replace(`"3m9s","2m"`, `"3m10s","121s"`) }, ""},
		"cell of a table":        {read, func(a *answer) { a.replace(`["one"`, `["2m"`) }, "body"},
		"white space":            {read, func(a *answer) { a.body = append(a.body, '\n') }, "body"},
		"uid reviewed":           {c("review", whoAmI()), func(a *answer) { a.replace("1111", "2222") }, "body"},
		"order of keys":          {own, func(a *answer) { a.replace(`"name":"one","uid":`, `"uid":"one","name":`) }, "body"},
		"length where same body": {read, func(a *answer) { a.header["Content-Length"] = []string{"1"} }, "header Content-Length"},
	} {
		direct, gate := good(), good()
		if strings.HasPrefix(name, "page") {
			paged("7")(&direct)
		}
		test.change(&gate)
		var aspects []string
		for _, d := range compare(test.tc, []answer{direct}, []answer{gate}) {
			aspects = append(aspects, d.aspect)
		}
		want := []string{test.want}
		if test.want == "" {
			want = nil
		}
		if !slices.Equal(aspects, want) {
			t.Errorf("%s: differences %q, want %q", name, aspects, want)
		}
	}
}

func (a *answer) replace(old, with string) {
	a.body = bytes.Replace(a.body, []byte(old), []byte(with), 1)
}

func TestExceptionsThatDoNotOccurAreStale(t *testing.T) {
	plain := variant{mode: fixture.FrontProxy}
	e := &exceptions{
		all:  []exception{{Case: "g/a *", Modes: fixture.Modes(), Differs: []string{"status", "body"}}, {Case: "g/b", Modes: fixture.Modes(), Differs: []string{"body"}}},
		seen: map[sighting]bool{},
	}
	e.ran("g/a case", plain)
	if !e.accept("g/a case", plain, difference{aspect: "status"}) {
		t.Error("a listed difference is not accepted")
	}
	if e.accept("g/a case", plain, difference{aspect: "trailer"}) || e.accept("g/other", plain, difference{aspect: "status"}) {
		t.Error("a difference that is not listed is accepted")
	}
	if stale := e.stale(); len(stale) != 1 {
		t.Errorf("stale: %q, want the body of g/a only", stale)
	}
	if wrong := e.misnamed([]group{{"g", []testCase{c("a case")}}}); len(wrong) != 1 {
		t.Errorf("misnamed: %q, want g/b only", wrong)
	}
}

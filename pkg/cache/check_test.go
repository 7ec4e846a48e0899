package cache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// lister is upstream as a check sees it: config maps in namespace a, at resource
// version 10, in pages.
type lister struct {
	names []string
	// body makes an object.
	body func(name string) string
	// gone has it answer that the resource version is gone.
	gone bool
	// pages counts them.
	pages int
}

func plainBody(name string) string {
	return fmt.Sprintf(`"metadata":{"name":%q,"namespace":"a","resourceVersion":"5"}}`, name)
}

func (l *lister) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	l.pages++
	if l.gone {
		w.WriteHeader(http.StatusGone)
		return w.Result(), nil
	}
	q := r.URL.Query()
	if token := q.Get("continue"); token == "" && (q.Get("resourceVersion") != "10" || q.Get("resourceVersionMatch") != "Exact") {
		return nil, fmt.Errorf("asked for %s", r.URL.RawQuery)
	}
	limit, _ := strconv.Atoi(q.Get("limit"))
	start, _ := strconv.Atoi(q.Get("continue"))
	end, more := len(l.names), ""
	if start+limit < end {
		end = start + limit
		more = fmt.Sprintf(`,"continue":"%d"`, end)
	}
	var items []string
	for _, name := range l.names[start:end] {
		items = append(items, "{"+l.body(name))
	}
	fmt.Fprintf(w, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"10"%s},"items":[%s]}`+"\n", more, strings.Join(items, ","))
	return w.Result(), nil
}

// instant does not wait.
type instant struct{ clock.RealClock }

func (instant) After(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}

func TestChecksFindWhatDiffersFromUpstream(t *testing.T) {
	var names []string
	for i := range 2*checkPage + 10 {
		names = append(names, fmt.Sprintf("c%05d", i))
	}
	last := len(names) - 1
	for name, tc := range map[string]struct {
		upstream *lister
		// own are what the cache has, if not the same.
		own    []string
		result string
		says   string
	}{
		"the same":                 {&lister{names: names}, names, "Equal", ""},
		"nothing":                  {&lister{}, nil, "Equal", ""},
		"exactly a page":           {&lister{names: names[:checkPage]}, names[:checkPage], "Equal", ""},
		"an object is missing":     {&lister{names: names}, append(append([]string{}, names[:7]...), names[8:]...), "Different", names[7]},
		"the last is missing":      {&lister{names: names}, names[:last], "Different", names[last]},
		"one too many":             {&lister{names: names[1:]}, names, "Different", names[0]},
		"one too many at the end":  {&lister{names: names[:last]}, names, "Different", names[last-1]},
		"many too many at the end": {&lister{names: names[:5]}, names, "Different", "2 objects"},
		"other bytes": {&lister{names: names, body: func(name string) string {
			return strings.Replace(plainBody(name), `"metadata":{`, `"metadata":{"uid":"u",`, 1)
		}}, names, "Different", "bytes"},
		"another version": {&lister{names: names, body: func(name string) string { return strings.Replace(plainBody(name), `"5"`, `"6"`, 1) }}, names, "Different", "6"},
		"history is gone": {&lister{gone: true}, names, "Unknown", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.upstream.body == nil {
				tc.upstream.body = plainBody
			}
			if tc.says == "2 objects" {
				tc.says = fmt.Sprint(len(names)-5, " objects")
			}
			s, _ := followed(t, &distant{}, 1)
			s.asker.client = tc.upstream
			s.Begin()
			for _, name := range tc.own {
				s.Add([]byte(plainBody(name)), &wire.Meta{Namespace: "a", Name: name, ResourceVersion: 5})
			}
			if err := s.Complete(10); err != nil {
				t.Fatal(err)
			}
			var why error
			s.restart = func(err error) { why = err }
			c := &Cache{config: Config{Clock: instant{}, Log: zap.NewNop()}, metrics: newMetrics()}
			c.check(t.Context(), &resource{definition: definition{Resource: configMaps}}, s)
			if n := testutil.ToFloat64(c.metrics.checks.WithLabelValues("configmaps", "json", tc.result)); n != 1 {
				t.Errorf("the result is not %s; restarted because of %v", tc.result, why)
			}
			if (tc.result == "Different") != (why != nil) || (why != nil && !strings.Contains(why.Error(), tc.says)) {
				t.Errorf("restarted because of %v, want it to say %q", why, tc.says)
			}
		})
	}
}

func TestACheckEndsWithTheGateway(t *testing.T) {
	s, _ := followed(t, &distant{}, 1)
	l := &lister{body: plainBody}
	s.asker.client = l
	s.Begin()
	for i := range 2 * checkPage {
		l.names = append(l.names, fmt.Sprintf("c%05d", i))
		s.Add([]byte(plainBody(l.names[i])), &wire.Meta{Namespace: "a", Name: l.names[i], ResourceVersion: 5})
	}
	if err := s.Complete(10); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &Cache{config: Config{Clock: clock.RealClock{}, Log: zap.NewNop()}, metrics: newMetrics()}
	if err := c.compare(ctx, s); !errors.Is(err, context.Canceled) || l.pages != 1 {
		t.Errorf("ended with %v after %d pages", err, l.pages)
	}
}

package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

var configMaps = &wire.Kind{Version: "v1", Kind: "ConfigMap", ListKind: "ConfigMapList"}

// instant does not wait for what is after something; timers are real.
type instant struct{ clock.RealClock }

func (instant) After(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}

// record writes down what a stream says.
type record struct {
	lines []string
	// refuse has an error for the n-th call of Apply or Complete.
	refuse map[string]error
}

func (r *record) say(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *record) Begin() { r.say("begin") }
func (r *record) Add(body []byte, meta *wire.Meta) {
	r.say("add %s %d", meta.Name, meta.ResourceVersion)
}
func (r *record) Complete(rv uint64) error {
	r.say("complete %d", rv)
	return r.refuse[r.lines[len(r.lines)-1]]
}
func (r *record) Apply(t wire.EventType, body []byte, meta *wire.Meta) error {
	r.say("%s %s %d", t, meta.Name, meta.ResourceVersion)
	return r.refuse[r.lines[len(r.lines)-1]]
}
func (r *record) Bookmark(rv uint64, body []byte) error { r.say("bookmark %d", rv); return nil }
func (r *record) Disconnected(err error)                { r.say("disconnected") }
func (r *record) Connected()                            { r.say("connected") }
func (r *record) Abandon(error)                         { r.say("abandon") }
func (r *record) Warnings(values []string)              {}

// script answers requests one after another, and ends the stream behind the last.
type script struct {
	answers []answer
	asked   []url.Values
	end     context.CancelFunc
}

type answer struct {
	status int
	body   string
	// broken has the body end in the middle.
	broken bool
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(s.asked) == len(s.answers) {
		s.end()
		return nil, errors.New("the script is over")
	}
	a := s.answers[len(s.asked)]
	s.asked = append(s.asked, r.URL.Query())
	body := io.Reader(strings.NewReader(a.body))
	if a.broken {
		body = io.MultiReader(body, failing{})
	}
	return &http.Response{StatusCode: a.status, Status: fmt.Sprint(a.status), Header: http.Header{}, Body: io.NopCloser(body)}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func object(name string, rv int) string {
	return fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":%q,"namespace":"a","resourceVersion":"%d"}}`, name, rv)
}

func event(t, name string, rv int) string {
	return fmt.Sprintf(`{"type":%q,"object":%s}`+"\n", t, object(name, rv))
}

func bookmark(rv int, initial bool) string {
	annotation := ""
	if initial {
		annotation = `,"annotations":{"k8s.io/initial-events-end":"true"}`
	}
	return fmt.Sprintf(`{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"%d"%s}}}`+"\n", rv, annotation)
}

// list is a whole list of objects.
func list(rv int, names ...string) string {
	var items []string
	for _, name := range names {
		items = append(items, strings.Replace(object(name, 5), `"kind":"ConfigMap","apiVersion":"v1",`, "", 1))
	}
	return fmt.Sprintf(`{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[%s]}`+"\n", rv, strings.Join(items, ","))
}

func failure(code int, reason string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":%q,"code":%d}`, reason, code)
}

func watchError(code int, reason string) string {
	return fmt.Sprintf(`{"type":"ERROR","object":%s}`+"\n", failure(code, reason))
}

// initial is a whole of one object at resource version 10.
func initial() string { return event("ADDED", "x", 5) + bookmark(10, true) }

// run plays a script to its end.
func run(t *testing.T, r *record, answers ...answer) *script {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := &script{answers: answers, end: cancel}
	New(Config{
		Client: s, Path: "/api/v1/configmaps", Kind: configMaps, Encoding: wire.JSON, MaxObject: 10 << 10,
		UserAgent: "test", Now: func() (uint64, error) { return 1000, nil }, Clock: instant{}, Log: zap.NewNop(),
	}, r).Run(ctx)
	return s
}

func TestFaults(t *testing.T) {
	whole := []string{"begin", "add x 5", "complete 10", "connected", "bookmark 10"}
	for name, tc := range map[string]struct {
		answers []answer
		refuse  map[string]error
		want    []string
		// versions are the resourceVersion of each request, "-" for a whole.
		versions []string
	}{
		"a watch that ends is taken up where it was": {
			answers: []answer{{200, initial() + event("MODIFIED", "x", 11), false}, {200, event("DELETED", "x", 12), false}},
			want:    slices.Concat(whole, []string{"MODIFIED x 11", "disconnected", "connected", "DELETED x 12", "disconnected"}), versions: []string{"-", "11"},
		},
		"so is one that breaks between two events": {
			answers: []answer{{200, initial() + bookmark(20, false), true}, {200, "", false}},
			want:    slices.Concat(whole, []string{"bookmark 20", "disconnected", "connected", "disconnected"}), versions: []string{"-", "20"},
		},
		"and one that breaks in an event": {
			answers: []answer{{200, initial() + event("MODIFIED", "x", 11)[:30], true}, {200, event("MODIFIED", "x", 11), false}},
			want:    slices.Concat(whole, []string{"disconnected", "connected", "MODIFIED x 11", "disconnected"}), versions: []string{"-", "10"},
		},
		"half a whole is none, and the next is listed": {
			answers:  []answer{{200, event("ADDED", "x", 5), true}, {200, list(10, "x"), false}, {200, event("MODIFIED", "x", 11), false}},
			want:     []string{"begin", "add x 5", "disconnected", "begin", "add x 5", "complete 10", "connected", "connected", "MODIFIED x 11", "disconnected"},
			versions: []string{"-", "-", "10"},
		},
		"if that fails, too, it is watched": {
			answers: []answer{{200, watchError(500, "InternalError"), false}, {500, failure(500, "InternalError"), false}, {200, initial(), false}},
			want:    slices.Concat([]string{"begin", "disconnected", "begin", "disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "-", "-"},
		},
		"a watch that ends before the whole is there is half of one": {
			answers:  []answer{{200, event("ADDED", "x", 5), false}, {200, list(10, "x"), false}, {200, "", false}},
			want:     []string{"begin", "add x 5", "disconnected", "begin", "add x 5", "complete 10", "connected", "connected", "disconnected"},
			versions: []string{"-", "-", "10"},
		},
		"history that is gone has everything read anew": {
			answers: []answer{{200, initial(), false}, {410, failure(410, "Expired"), false}, {200, initial(), false}},
			want:    slices.Concat(whole, []string{"disconnected", "disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "10", "-"},
		},
		"also if an event says so": {
			answers: []answer{{200, initial() + watchError(410, "Expired"), false}, {200, initial(), false}},
			want:    slices.Concat(whole, []string{"disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "-"},
		},
		"another error does not": {
			answers: []answer{{200, initial() + watchError(500, "InternalError"), false}, {200, "", false}},
			want:    slices.Concat(whole, []string{"disconnected", "connected", "disconnected"}), versions: []string{"-", "10"},
		},
		"what cannot be understood is dropped": {
			answers: []answer{{200, initial() + `{"type":"MODIFIED","object":{"kind":"Secret"}}` + "\n", false}, {200, initial(), false}},
			want:    slices.Concat(whole, []string{"abandon", "disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "-"},
		},
		"what is too large is dropped": {
			answers: []answer{{200, initial() + event("MODIFIED", strings.Repeat("x", 11<<10), 11), false}, {200, initial(), false}},
			want:    slices.Concat(whole, []string{"abandon", "disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "-"},
		},
		"a change before the whole is there is no change": {
			answers:  []answer{{200, event("MODIFIED", "x", 5), false}, {200, list(10, "x"), false}, {200, "", false}},
			want:     []string{"begin", "abandon", "disconnected", "begin", "add x 5", "complete 10", "connected", "connected", "disconnected"},
			versions: []string{"-", "-", "10"},
		},
		"an event from before drops everything": {
			answers: []answer{{200, initial() + event("MODIFIED", "x", 9), false}, {200, initial(), false}},
			refuse:  map[string]error{"MODIFIED x 9": errors.New("backwards")},
			want:    slices.Concat(whole, []string{"MODIFIED x 9", "abandon", "disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "-"},
		},
		"so does a bookmark": {
			answers: []answer{{200, initial() + bookmark(9, false), false}, {200, initial(), false}},
			want:    slices.Concat(whole, []string{"abandon", "disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "-"},
		},
		"a whole that is refused is dropped": {
			answers: []answer{{200, initial(), false}, {200, "", false}},
			refuse:  map[string]error{"complete 10": errors.New("backwards")},
			want:    []string{"begin", "add x 5", "complete 10", "abandon", "disconnected", "begin", "disconnected", "begin"}, versions: []string{"-", "-"},
		},
		"a server without initial events is listed page by page": {
			answers: []answer{
				{422, failure(422, "Invalid"), false},
				{200, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"10","continue":"next"},"items":[` + strings.Replace(object("x", 5), `"kind":"ConfigMap","apiVersion":"v1",`, "", 1) + "]}\n", false},
				{200, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"10"},"items":[]}` + "\n", false},
				{200, event("MODIFIED", "x", 11), false},
			},
			want:     []string{"begin", "add x 5", "complete 10", "connected", "connected", "MODIFIED x 11", "disconnected"},
			versions: []string{"-", "-", "-", "10"},
		},
		"a server that refuses is asked again": {
			answers: []answer{{503, "no", false}, {403, failure(403, "Forbidden"), false}, {200, initial(), false}},
			want:    slices.Concat([]string{"disconnected", "disconnected"}, whole, []string{"disconnected"}), versions: []string{"-", "-", "-"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &record{refuse: tc.refuse}
			s := run(t, r, tc.answers...)
			if !slices.Equal(r.lines, tc.want) {
				t.Errorf("got  %q\nwant %q", r.lines, tc.want)
			}
			var versions []string
			for _, q := range s.asked {
				version := q.Get("resourceVersion")
				if version == "" {
					version = "-"
				}
				versions = append(versions, version)
			}
			if !slices.Equal(versions, tc.versions) {
				t.Errorf("asked from %q; want %q", versions, tc.versions)
			}
		})
	}
}

// silent is an upstream that does not answer the first request.
type silent struct {
	script
	waited time.Duration
}

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.waited == 0 {
		start := time.Now()
		<-r.Context().Done()
		s.waited = time.Since(start)
		return nil, r.Context().Err()
	}
	return s.script.RoundTrip(r)
}

func TestAWatchThatDoesNotBeginIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &silent{script: script{answers: []answer{{200, initial(), false}}, end: cancel}}
		r := &record{}
		New(Config{
			Client: s, Path: "/api/v1/configmaps", Kind: configMaps, Encoding: wire.JSON, MaxObject: 10 << 10,
			UserAgent: "test", Now: func() (uint64, error) { return 1000, nil }, Clock: clock.RealClock{}, Log: zap.NewNop(),
		}, r).Run(ctx)
		if s.waited != headersWithin {
			t.Errorf("waited for %s, want %s", s.waited, headersWithin)
		}
		want := []string{"disconnected", "begin", "add x 5", "complete 10", "connected", "bookmark 10", "disconnected"}
		if !slices.Equal(r.lines, want) {
			t.Errorf("got  %q\nwant %q", r.lines, want)
		}
	})
}

// quiet is an upstream whose watches stay open, but for the first, when the script is
// over.
type quiet struct{ script }

func (q *quiet) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := q.script.RoundTrip(r)
	if err == nil && len(q.asked) > 1 {
		response.Body = io.NopCloser(io.MultiReader(response.Body, until(r.Context())))
	}
	return response, err
}

// until has nothing to read until ctx ends.
func until(ctx context.Context) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	return r
}

// TestAStoreThatWasRestoredWhileNobodyWatchedIsReadAnew: its watch, from a resource
// version that has not come yet, tells nothing.
func TestAStoreThatWasRestoredWhileNobodyWatchedIsReadAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		restored := strings.ReplaceAll(initial(), `"10"`, `"7"`)
		q := &quiet{script{answers: []answer{{200, initial(), false}, {200, "", false}, {200, restored, false}}, end: cancel}}
		r := &record{}
		asked := 0
		now := func() (uint64, error) {
			// It takes a while until anybody can be asked.
			if asked++; asked < 3 {
				return 0, errors.New("not yet")
			}
			time.AfterFunc(time.Minute, cancel)
			return 7, nil
		}
		New(Config{
			Client: q, Path: "/api/v1/configmaps", Kind: configMaps, Encoding: wire.JSON, MaxObject: 10 << 10,
			UserAgent: "test", Now: now, Clock: clock.RealClock{}, Log: zap.NewNop(),
		}, r).Run(ctx)
		want := []string{
			"begin", "add x 5", "complete 10", "connected", "bookmark 10", "disconnected",
			"connected", "abandon", "disconnected", "begin", "add x 5", "complete 7", "connected", "bookmark 7",
		}
		if !slices.Equal(r.lines, want) {
			t.Errorf("got  %q\nwant %q", r.lines, want)
		}
		if asked != 3 {
			t.Errorf("asked %d times how far upstream is", asked)
		}
	})
}

package cache

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	fakeCRDs    = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	fakeWidgets = "/apis/example.com/v1/widgets"
	widgetsCRD  = "widgets.example.com"
)

// running is a Cache in front of a fakeUpstream.
type running struct {
	*Cache
	upstream *fakeUpstream
	judge    *judge
	clock    *clocktesting.FakeClock
}

func runCache(t *testing.T, u *fakeUpstream) *running {
	t.Helper()
	c := &running{upstream: u, judge: &judge{verdict: allow}, clock: clocktesting.NewFakeClock(time.Unix(1_000_000, 0))}
	var err error
	c.Cache, err = New(Config{
		Client: u, Authorizer: c.judge, OutageTTL: time.Minute, ServeStale: func(*request.Attributes) bool { return false },
		UserAgent: "test", Clock: c.clock, Log: zap.NewNop(), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return c
}

// cachedResource is an object as the policy API hands it on.
func cachedResource(group, version, plural string, change ...func(*v1alpha1.CachedResourceSpec)) *v1alpha1.CachedResource {
	o := &v1alpha1.CachedResource{
		ObjectMeta: metav1.ObjectMeta{Name: "of-" + plural},
		Spec:       v1alpha1.CachedResourceSpec{Group: group, Version: version, Resource: plural},
	}
	for _, change := range change {
		change(&o.Spec)
	}
	v1alpha1.SetDefaults_CachedResource(o)
	return o
}

// ask sends a read.
func (c *running) ask(t *testing.T, target string, change ...func(*request.Attributes)) (*Answer, Reason) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("User-Agent", "test/1")
	a, err := request.NewParser().Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Identity = &request.Identity{Info: alice}
	for _, change := range change {
		change(a)
	}
	return c.Answer(t.Context(), r, a)
}

// read returns a body, or why there is none.
func (c *running) read(t *testing.T, target string) string {
	t.Helper()
	answer, reason := c.ask(t, target)
	if answer == nil {
		return string(reason)
	}
	var b bytes.Buffer
	if err := answer.WriteTo(t.Context(), &b, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// says waits until a read is answered so.
func (c *running) says(t *testing.T, target, want string) {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("%s: %s", target, got)
		}
	}()
	eventually(t, target+" is "+want, func() bool {
		got = c.read(t, target)
		return got == want
	})
}

// define makes the CustomResourceDefinition of widgets, at a resource version of its own.
func (u *fakeUpstream) define(generation int, versions string) {
	u.put(fakeCRDs, widgetsCRD, fmt.Sprintf(`,"spec":{"group":"example.com","scope":"Namespaced","versions":[%s]},`+
		`"status":{"acceptedNames":{"plural":"widgets","kind":"Widget","listKind":"WidgetList"},"conditions":[{"type":"Established","status":"True"}],"storedVersions":["v1"]}`,
		versions), fmt.Sprintf(`"uid":"u","generation":%d,`, generation))
}

const (
	v1Plain     = `{"name":"v1","served":true}`
	v1ByColor   = `{"name":"v1","served":true,"selectableFields":[{"jsonPath":".spec.color"}]}`
	v1NotServed = `{"name":"v1","served":false}`
)

func withWidgets(versions string) *fakeUpstream {
	u := newFakeUpstream()
	u.serve(fakeCRDs, "apiextensions.k8s.io/v1", "CustomResourceDefinition", false)
	u.serve(fakeWidgets, "example.com/v1", "Widget", true)
	u.define(1, versions)
	u.put(fakeWidgets, "blue", `,"spec":{"color":"blue"}`, "")
	return u
}

// listOf is what a list of widgets looks like.
func listOf(rv int, items ...string) string {
	return fmt.Sprintf(`{"apiVersion":"example.com/v1","items":[%s],"kind":"WidgetList","metadata":{"continue":"","resourceVersion":"%d"}}`+"\n", strings.Join(items, ","), rv)
}

func widget(name, color string, rv int) string {
	return fmt.Sprintf(`{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":%q,"namespace":"a","resourceVersion":"%d"},"spec":{"color":%q}}`, name, rv, color)
}

func TestResourcesComeAndGo(t *testing.T) {
	u := withWidgets(v1ByColor)
	c := runCache(t, u)
	const all = fakeWidgets + "?resourceVersion=0"
	if got := c.read(t, all); got != string(NotCached) {
		t.Errorf("before anything is to be cached: %s", got)
	}
	if u.watching(fakeCRDs) != 0 {
		t.Error("definitions are followed although nothing is to be cached")
	}
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
	c.says(t, all, listOf(101, widget("blue", "blue", 101)))
	u.put(fakeWidgets, "red", `,"spec":{"color":"red"}`, "")
	c.says(t, all, listOf(102, widget("blue", "blue", 101), widget("red", "red", 102)))
	c.says(t, all+"&fieldSelector=spec.color%3Dred", listOf(102, widget("red", "red", 102)))
	if got := c.read(t, all+"&fieldSelector=spec.size%3D1"); got != string(Selector) {
		t.Errorf("a field that is not selectable: %s", got)
	}

	answer, reason := c.ask(t, fakeWidgets+"?watch=1&resourceVersion=102")
	if answer == nil {
		t.Fatal(reason)
	}
	var seen bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- answer.WriteTo(t.Context(), &seen, func() error { return nil }) }()
	eventually(t, "the watch is there", func() bool { return c.Live()["of-widgets"].Encodings[0].Watchers == 1 })
	u.put(fakeWidgets, "red", `,"spec":{"color":"green"}`, "")
	c.says(t, all, listOf(103, widget("blue", "blue", 101), widget("red", "green", 103)))
	late, reason := c.ask(t, fakeWidgets+"?watch=1&resourceVersion=102")
	if late == nil {
		t.Fatal(reason)
	}

	c.Update(nil)
	want := `{"type":"MODIFIED","object":` + widget("red", "green", 103) + "}\n"
	if err := <-ended; err != nil || seen.String() != want {
		t.Errorf("the watch has ended with %v, and has seen %s", err, seen.String())
	}
	c.says(t, all, string(NotCached))
	eventually(t, "upstream's watch has ended", func() bool { return u.watching(fakeWidgets) == 0 })
	// Who had found the resource before it went gets what there was, and no more.
	seen.Reset()
	if err := late.WriteTo(t.Context(), &seen, func() error { return nil }); err != nil || seen.String() != want {
		t.Errorf("a late watch has ended with %v, and has seen %s", err, seen.String())
	}
	if live := c.Live(); len(live) != 0 {
		t.Errorf("still alive: %v", live)
	}
	eventually(t, "its memory is given back", func() bool {
		c.budget.mu.Lock()
		defer c.budget.mu.Unlock()
		return c.budget.used == 0
	})
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
	c.says(t, all, listOf(103, widget("blue", "blue", 101), widget("red", "green", 103)))
}

func TestOnlyVerbsThatAreToBeAreAnswered(t *testing.T) {
	c := runCache(t, withWidgets(v1Plain))
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets", func(s *v1alpha1.CachedResourceSpec) {
		s.Verbs = []v1alpha1.CachedVerb{v1alpha1.CachedGet}
	})})
	const blue = "/apis/example.com/v1/namespaces/a/widgets/blue?resourceVersion=0"
	c.says(t, blue, widget("blue", "blue", 101)+"\n")
	for _, target := range []string{fakeWidgets + "?resourceVersion=0", fakeWidgets + "?watch=1&resourceVersion=101"} {
		if got := c.read(t, target); got != string(NotCached) {
			t.Errorf("%s: %s", target, got)
		}
	}
}

// TestChangedDefinitionDropsWhatWasRead: a schema's defaults change objects without a
// change of their resource versions.
func TestChangedDefinitionDropsWhatWasRead(t *testing.T) {
	u := withWidgets(v1Plain)
	c := runCache(t, u)
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
	const all, blue = fakeWidgets + "?resourceVersion=0", fakeWidgets + "?resourceVersion=0&fieldSelector=spec.color%3Dblue"
	c.says(t, all, listOf(101, widget("blue", "blue", 101)))
	c.says(t, blue, string(Selector))
	before := c.published.Load().resources[resourceKey{"example.com", "v1", "widgets"}]
	u.define(2, v1ByColor)
	c.says(t, all, string(NotCached))
	if why := c.Live()["of-widgets"].Reason; !strings.Contains(why, "has just changed") {
		t.Errorf("the reason is %q", why)
	}
	eventually(t, "upstream's watch has ended", func() bool { return u.watching(fakeWidgets) == 0 })
	c.clock.Step(definitionSettles / 2)
	if got := c.read(t, all); got != string(NotCached) {
		t.Errorf("before apiservers must know: %s", got)
	}
	c.clock.Step(definitionSettles)
	c.says(t, blue, listOf(101, widget("blue", "blue", 101)))
	if after := c.published.Load().resources[resourceKey{"example.com", "v1", "widgets"}]; after == before {
		t.Error("it is the same as before")
	}
}

func TestStatusOfADefinitionChangesNothing(t *testing.T) {
	u := withWidgets(v1Plain)
	c := runCache(t, u)
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
	key := resourceKey{"example.com", "v1", "widgets"}
	c.says(t, fakeWidgets+"?resourceVersion=0", listOf(101, widget("blue", "blue", 101)))
	before := c.published.Load()
	u.define(1, v1Plain)
	eventually(t, "it has been looked at", func() bool { return c.published.Load() != before })
	if c.published.Load().resources[key] != before.resources[key] {
		t.Error("it is cached anew")
	}
}

func TestDeletedDefinitionEndsTheCache(t *testing.T) {
	u := withWidgets(v1Plain)
	c := runCache(t, u)
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
	const all = fakeWidgets + "?resourceVersion=0"
	c.says(t, all, listOf(101, widget("blue", "blue", 101)))
	u.remove(fakeCRDs, widgetsCRD)
	c.says(t, all, string(NotCached))
	if why := c.Live()["of-widgets"].Reason; !strings.Contains(why, "no CustomResourceDefinition widgets.example.com") {
		t.Errorf("the reason is %q", why)
	}
}

func TestWhatCannotBeCachedSaysWhy(t *testing.T) {
	for name, tc := range map[string]struct {
		upstream func() *fakeUpstream
		resource *v1alpha1.CachedResource
		reason   string
	}{
		"no definition":         {func() *fakeUpstream { return withWidgets(v1Plain) }, cachedResource("example.com", "v1", "gadgets"), "there is no CustomResourceDefinition gadgets.example.com"},
		"another version":       {func() *fakeUpstream { return withWidgets(v1Plain) }, cachedResource("example.com", "v2", "widgets"), "serves no version v2"},
		"a version not served":  {func() *fakeUpstream { return withWidgets(v1NotServed) }, cachedResource("example.com", "v1", "widgets"), "serves no version v1"},
		"no right to read them": {newFakeUpstream, cachedResource("example.com", "v1", "widgets"), "CustomResourceDefinitions cannot be read"},
		"not of Kubernetes":     {newFakeUpstream, cachedResource("", "v1", "gadgets"), "gadgets of v1 cannot be cached"},
	} {
		t.Run(name, func(t *testing.T) {
			c := runCache(t, tc.upstream())
			c.Update([]*v1alpha1.CachedResource{tc.resource})
			eventually(t, tc.reason, func() bool { return strings.Contains(c.Live()[tc.resource.Name].Reason, tc.reason) })
		})
	}
}

func TestLiveStateSaysHowFarItIs(t *testing.T) {
	c := runCache(t, withWidgets(v1Plain))
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets"), cachedResource("", "v1", "pods")})
	c.says(t, fakeWidgets+"?resourceVersion=0", listOf(101, widget("blue", "blue", 101)))
	live := c.Live()
	widgets := live["of-widgets"]
	if len(widgets.Encodings) != 1 || widgets.Reason != "" {
		t.Fatalf("%+v", widgets)
	}
	e := widgets.Encodings[0]
	if e.Encoding != v1alpha1.EncodingJSON || !e.Ready || e.Objects != 1 || e.ResourceVersion != "101" || e.Bytes < 100 || !e.Following || e.LastError != "" || !e.Since.Time.Equal(c.clock.Now()) {
		t.Errorf("%+v", e)
	}
	eventually(t, "pods cannot be read", func() bool {
		pods := c.Live()["of-pods"]
		return len(pods.Encodings) == 1 && pods.Encodings[0].LastError != ""
	})
	pods := c.Live()["of-pods"].Encodings[0]
	if pods.Ready || pods.Following || pods.Encoding != v1alpha1.EncodingProtobuf || pods.ResourceVersion != "" || pods.LastErrorAt == nil {
		t.Errorf("%+v", pods)
	}
}

// TestRedefinedResourceIsNoFault: upstream, which lists nothing here, may know of a
// changed definition a moment before the cache does.
func TestRedefinedResourceIsNoFault(t *testing.T) {
	for name, tc := range map[string]struct {
		redefine bool
		result   string
	}{"as it was": {false, "Different"}, "redefined": {true, "Unknown"}} {
		t.Run(name, func(t *testing.T) {
			u := withWidgets(v1Plain)
			c := runCache(t, u)
			c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
			c.says(t, fakeWidgets+"?resourceVersion=0", listOf(101, widget("blue", "blue", 101)))
			r := c.published.Load().resources[resourceKey{"example.com", "v1", "widgets"}]
			checked := make(chan struct{})
			go func() {
				defer close(checked)
				c.check(t.Context(), r, r.streams[wire.JSON].Load())
			}()
			if tc.redefine {
				u.define(2, v1ByColor)
				c.says(t, fakeWidgets+"?resourceVersion=0", string(NotCached))
			}
			eventually(t, "it is checked", func() bool {
				c.clock.Step(definitionSettles)
				select {
				case <-checked:
					return true
				default:
					return false
				}
			})
			if got := testutil.ToFloat64(c.metrics.checks.WithLabelValues("widgets.example.com", "json", tc.result)); got != 1 {
				t.Errorf("%v checks were %s", got, tc.result)
			}
		})
	}
}

package differential

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// recachedWithin bounds how long a resource is not cached after its definition has
	// changed, or its CachedResource has been made again.
	recachedWithin = 30 * time.Second

	cachedWidgets = "/apis/gateway.asi.io/v1alpha1/cachedresources/widgets.diff.example.com"
	widgetsAt0    = widgets + "?resourceVersion=0"
)

// testCachedResources changes what is cached while gateways run: the definition of a
// custom resource in the cluster, and the object that has it cached.
func testCachedResources(t *testing.T, b *bench) {
	admin := seeder{t.Context(), b}
	if _, err := admin.do(patch(jsonPatch, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.diff.example.com", `[
		{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape","value":{"type":"string","default":"round"}},
		{"op":"add","path":"/spec/versions/0/selectableFields/-","value":{"jsonPath":".spec.shape"}}]`)); err != nil {
		t.Fatal(err)
	}
	// The objects themselves have not changed, nor have their resource versions.
	if err := admin.until(get(widgetsAt0), `"shape":"round"`); err != nil {
		t.Fatal(err)
	}
	if err := admin.until(get(widgets+"?fieldSelector=spec.shape%3Dround"), `"shape":"round"`); err != nil {
		t.Fatal(err)
	}
	for v, node := range b.nodes {
		if !v.cached {
			continue
		}
		t.Run(v.String(), func(t *testing.T) {
			s := b.gateways[v]
			for _, path := range []string{widgetsAt0, widgetsAt0 + "&fieldSelector=spec.shape%3Dround", widgets + "/red?resourceVersion=0"} {
				s.becomes(t, b.direct, path, true)
			}
			s.must(t, del(cachedWidgets))
			s.becomes(t, b.direct, widgetsAt0, false)
			// Others are not touched.
			s.becomes(t, b.direct, cms+"?resourceVersion=0", true)
			s.must(t, post("/apis/gateway.asi.io/v1alpha1/cachedresources",
				`{"apiVersion":"gateway.asi.io/v1alpha1","kind":"CachedResource","metadata":{"name":"widgets.diff.example.com"},"spec":{"group":"diff.example.com","resource":"widgets"}}`))
			if err := node.AwaitCached(t.Context(), "widgets.diff.example.com"); err != nil {
				t.Fatal(err)
			}
			s.becomes(t, b.direct, widgetsAt0, true)
			live := s.must(t, get(cachedWidgets+"/live"))
			for _, want := range []string{`"encoding":"JSON"`, `"ready":true`, `"following":true`} {
				if !bytes.Contains(live.body, []byte(want)) {
					t.Errorf("its live state has no %s: %s", want, live.body)
				}
			}
		})
	}
}

// must sends a step that must succeed.
func (s *side) must(t *testing.T, st step) answer {
	t.Helper()
	answers, err := s.play(t.Context(), c("cached resources", st))
	if err != nil {
		t.Fatal(err)
	}
	if a := answers[0]; a.failed || a.status >= 300 {
		t.Fatalf("%s %s: %s", st.method, st.path, a.summary())
	}
	return answers[0]
}

// becomes waits until a read is answered from memory, or by the kube-apiserver, and
// with what a direct answer has: that the definition has changed is known to both
// within moments of each other.
func (s *side) becomes(t *testing.T, direct *side, path string, cached bool) {
	t.Helper()
	var a, want answer
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, recachedWithin, true, func(context.Context) (bool, error) {
		a = s.must(t, get(path))
		want = direct.must(t, get(path))
		return fromMemory(a.header) == cached && bytes.Equal(masked(a.body), masked(want.body)), nil
	})
	if err != nil {
		t.Fatalf("%s: after %s from memory %v: %s\ndirect: %s", path, recachedWithin, fromMemory(a.header), a.body, want.body)
	}
}

// fromMemory tells that an answer has passed no flow control.
func fromMemory(h http.Header) bool { return h.Get("X-Kubernetes-Pf-Flowschema-Uid") == "" }

// masked is a list without its revision.
func masked(body []byte) []byte {
	for _, r := range readRules {
		body = r.pattern.ReplaceAll(body, []byte(r.with))
	}
	return body
}

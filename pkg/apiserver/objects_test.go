package apiserver

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// subject is a kind, with a change of its spec.
type subject struct {
	resource string
	named    func(string) *unstructured.Unstructured
	// path leads to a field of the spec, value and other are two values of it.
	path         string
	value, other any
}

func subjects() []subject {
	return []subject{
		{"ratelimits", rateLimitNamed, "burst", int64(7), int64(8)},
		{"clientclasses", clientClassNamed, "precedence", int64(7), int64(8)},
		{"switches", switchNamed, "reason", "first", "second"},
		{"upstreamgroups", upstreamGroupNamed, "maxInFlight", int64(7), int64(8)},
		{"routes", routeNamed, "precedence", int64(7), int64(8)},
		{"cachedresources", cachedResourceNamed, "history", int64(70), int64(80)},
	}
}

func TestEveryKindIsServed(t *testing.T) {
	f := newFixture(t, nil)
	for _, s := range subjects() {
		t.Run(s.resource, func(t *testing.T) {
			ctx, client := t.Context(), objects(t, f.admin(), s.resource)
			w, err := client.Watch(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()

			created, err := client.Create(ctx, s.named("one"), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if created.GetGeneration() != 1 || created.GetUID() == "" {
				t.Errorf("created %v", created)
			}
			_, err = client.Create(ctx, s.named("one"), metav1.CreateOptions{})
			if !apierrors.IsAlreadyExists(err) {
				t.Errorf("created twice: %v", err)
			}
			got, err := client.Get(ctx, "one", metav1.GetOptions{})
			if err != nil || got.GetResourceVersion() != created.GetResourceVersion() {
				t.Errorf("got %v, %v", got, err)
			}
			if _, err := client.Get(ctx, "two", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("got what does not exist: %v", err)
			}

			_ = unstructured.SetNestedField(got.Object, s.value, "spec", s.path)
			updated, err := client.Update(ctx, got, metav1.UpdateOptions{})
			if err != nil || updated.GetGeneration() != 2 {
				t.Fatalf("updated %v, %v", updated, err)
			}
			if _, err := client.Update(ctx, got, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("updated from an old version: %v", err)
			}
			labelled, err := client.Patch(ctx, "one", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			if err != nil || labelled.GetGeneration() != 2 {
				t.Errorf("a label changed the generation: %v, %v", labelled, err)
			}
			patch, _ := json.Marshal([]any{map[string]any{"op": "replace", "path": "/spec/" + s.path, "value": s.other}})
			patched, err := client.Patch(ctx, "one", types.JSONPatchType, patch, metav1.PatchOptions{})
			if err != nil || patched.GetGeneration() != 3 || value(t, patched, "spec", s.path) != s.other {
				t.Errorf("patched %v, %v", patched, err)
			}

			list, err := client.List(ctx, metav1.ListOptions{LabelSelector: "a=b"})
			if err != nil || len(list.Items) != 1 {
				t.Errorf("list %v, %v", list, err)
			}
			list, err = client.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=other"})
			if err != nil || len(list.Items) != 0 {
				t.Errorf("list %v, %v", list, err)
			}
			if err := client.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			for _, name := range []string{"a", "b", "c"} {
				if _, err := client.Create(ctx, s.named(name), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := client.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
				t.Error(err)
			}
			list, err = client.List(ctx, metav1.ListOptions{})
			if err != nil || len(list.Items) != 0 {
				t.Errorf("list %v, %v", list, err)
			}

			var seen []string
			deadline := timeout(t)
			want := "ADDED one,MODIFIED one,MODIFIED one,MODIFIED one,DELETED one,ADDED a,ADDED b,ADDED c,DELETED a,DELETED b,DELETED c"
			for len(seen) < 11 {
				select {
				case e := <-w.ResultChan():
					seen = append(seen, string(e.Type)+" "+e.Object.(*unstructured.Unstructured).GetName())
				case <-deadline:
					t.Fatalf("saw only %v", seen)
				}
			}
			if got := strings.Join(seen, ","); got != want {
				t.Errorf("the watch saw\n%s, want\n%s", got, want)
			}
		})
	}
}

func TestServerSideApplyKnowsOwners(t *testing.T) {
	f := newFixture(t, nil)
	for _, s := range subjects() {
		t.Run(s.resource, func(t *testing.T) {
			client := objects(t, f.admin(), s.resource)
			apply := func(manager string, v any, force bool) error {
				o := s.named("shared")
				_ = unstructured.SetNestedField(o.Object, v, "spec", s.path)
				_, err := client.Apply(t.Context(), "shared", o, metav1.ApplyOptions{FieldManager: manager, Force: force})
				return err
			}
			if err := apply("one", s.value, false); err != nil {
				t.Fatal(err)
			}
			if err := apply("one", s.value, false); err != nil {
				t.Errorf("applied again: %v", err)
			}
			err := apply("two", s.other, false)
			if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `.spec.`+s.path) {
				t.Errorf("two managers, two values: %v", err)
			}
			if err := apply("two", s.other, true); err != nil {
				t.Error(err)
			}
			o, err := client.Get(t.Context(), "shared", metav1.GetOptions{})
			if err != nil || value(t, o, "spec", s.path) != s.other {
				t.Errorf("%v, %v", o, err)
			}
		})
	}
}

func TestSetListsAreMergedByServerSideApply(t *testing.T) {
	f := newFixture(t, nil)
	client := objects(t, f.admin(), "ratelimits")
	for manager, agent := range map[string]string{"one": "a-*", "two": "b-*"} {
		o := object("RateLimit", "merged", map[string]any{
			"qps": "5", "match": map[string]any{"clients": map[string]any{"userAgents": []any{agent}}},
		})
		if _, err := client.Apply(t.Context(), "merged", o, metav1.ApplyOptions{FieldManager: manager}); err != nil {
			t.Fatal(err)
		}
	}
	o, err := client.Get(t.Context(), "merged", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if agents := value(t, o, "spec", "match", "clients", "userAgents"); len(agents.([]any)) != 2 {
		t.Errorf("userAgents %v, want those of both managers", agents)
	}
}

func TestServersAreMergedByServerSideApply(t *testing.T) {
	f := newFixture(t, nil)
	client := objects(t, f.admin(), "upstreamgroups")
	for manager, url := range map[string]string{"one": "https://10.0.0.1:6443", "two": "https://10.0.0.2:6443"} {
		o := object("UpstreamGroup", "main", map[string]any{"servers": []any{map[string]any{"url": url, "weight": int64(3)}}})
		if _, err := client.Apply(t.Context(), "main", o, metav1.ApplyOptions{FieldManager: manager}); err != nil {
			t.Fatal(err)
		}
	}
	o, err := client.Get(t.Context(), "main", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if servers := value(t, o, "spec", "servers"); len(servers.([]any)) != 2 {
		t.Errorf("servers %v, want those of both managers", servers)
	}
}

func TestGroupsOfARouteKeepTheirOrder(t *testing.T) {
	f := newFixture(t, nil)
	client := objects(t, f.admin(), "routes")
	for _, groups := range [][]any{{"main", "bypass"}, {"bypass", "main"}, {"canary", "main", "bypass"}} {
		o := object("Route", "ordered", map[string]any{"groups": groups})
		o, err := client.Apply(t.Context(), "ordered", o, metav1.ApplyOptions{FieldManager: "one"})
		if err != nil {
			t.Fatal(err)
		}
		if got := value(t, o, "spec", "groups"); fmt.Sprint(got) != fmt.Sprint(groups) {
			t.Errorf("applied %v, got %v", groups, got)
		}
	}
}

func TestDefaultsAreVisible(t *testing.T) {
	f := newFixture(t, nil)
	limit, err := objects(t, f.admin(), "ratelimits").Create(t.Context(), rateLimitNamed("d"), metav1.CreateOptions{})
	if err != nil || value(t, limit, "spec", "mode") != "Enforce" || value(t, limit, "spec", "scope") != "Replica" {
		t.Errorf("%v, %v", limit, err)
	}
	class, err := objects(t, f.admin(), "clientclasses").Create(t.Context(), clientClassNamed("d"), metav1.CreateOptions{})
	if err != nil || value(t, class, "spec", "reads", "mode") != "Strict" {
		t.Errorf("%v, %v", class, err)
	}
	s, err := objects(t, f.admin(), "switches").Create(t.Context(), switchNamed("d"), metav1.CreateOptions{})
	if err != nil || value(t, s, "spec", "duration") != "1h0m0s" || value(t, s, "spec", "readOnly") == nil {
		t.Errorf("%v, %v", s, err)
	}
	group, err := objects(t, f.admin(), "upstreamgroups").Create(t.Context(), upstreamGroupNamed("d"), metav1.CreateOptions{})
	if err != nil || value(t, group, "spec", "shedding") != "Auto" || value(t, group, "spec", "hedging") != "Never" || value(t, group, "spec", "slowStart") != "10s" ||
		value(t, group, "spec", "failback") != "30s" || !strings.Contains(fmt.Sprint(value(t, group, "spec", "servers")), "weight:1") {
		t.Errorf("%v, %v", group, err)
	}
	route, err := objects(t, f.admin(), "routes").Create(t.Context(), routeNamed("d"), metav1.CreateOptions{})
	if err != nil || value(t, route, "spec", "share") != int64(100) {
		t.Errorf("%v, %v", route, err)
	}
	cached, err := objects(t, f.admin(), "cachedresources").Create(t.Context(), cachedResourceNamed("d"), metav1.CreateOptions{})
	if err != nil || value(t, cached, "spec", "version") != "v1" || value(t, cached, "spec", "compressAbove") != "4Ki" || value(t, cached, "spec", "history") != int64(4096) ||
		fmt.Sprint(value(t, cached, "spec", "verbs")) != "[get list watch]" || value(t, cached, "spec", "fieldIndexes") != nil {
		t.Errorf("%v, %v", cached, err)
	}
}

func TestInvalidObjectsAreRefusedByField(t *testing.T) {
	f := newFixture(t, nil)
	for field, o := range map[string]*unstructured.Unstructured{
		"spec.qps":                          object("RateLimit", "x", map[string]any{"qps": "-1"}),
		"spec.match.clients.sourceCIDRs[0]": object("RateLimit", "x", map[string]any{"qps": "1", "match": map[string]any{"clients": map[string]any{"sourceCIDRs": []any{"ten"}}}}),
		"spec.priority":                     object("ClientClass", "x", map[string]any{"priority": "P9"}),
		"spec.reason":                       object("Switch", "x", map[string]any{"type": "ReadOnly"}),
		"metadata.name":                     rateLimitNamed("Not_a_name"),
		"spec.servers[0].url":               object("UpstreamGroup", "x", map[string]any{"servers": []any{map[string]any{"url": "http://a"}}}),
		"spec.groups":                       object("Route", "x", map[string]any{"groups": []any{}}),
		"spec.forceGroup.group":             forceNamed("x", "Not_a_name"),
		"spec.resource":                     object("CachedResource", "x", map[string]any{"resource": "pods/status"}),
		"spec.verbs[1]":                     object("CachedResource", "x", map[string]any{"resource": "pods", "verbs": []any{"get", "create"}}),
		"spec.fieldIndexes[0]":              object("CachedResource", "x", map[string]any{"resource": "pods", "fieldIndexes": []any{".spec.nodeName"}}),
	} {
		resource := map[string]string{
			"RateLimit": "ratelimits", "ClientClass": "clientclasses", "Switch": "switches", "UpstreamGroup": "upstreamgroups", "Route": "routes",
			"CachedResource": "cachedresources",
		}[o.GetKind()]
		_, err := objects(t, f.admin(), resource).Create(t.Context(), o, metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	client := objects(t, f.admin(), "switches")
	if _, err := client.Create(t.Context(), switchNamed("s"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := client.Patch(t.Context(), "s", types.MergePatchType, []byte(`{"spec":{"type":"ShedPriority","readOnly":null,"shedPriority":{"priority":"P3"}}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.type") {
		t.Errorf("changed the type of a switch: %v", err)
	}
}

func TestUnknownFieldsAreRefusedOrWarnedOf(t *testing.T) {
	f := newFixture(t, nil)
	body := `{"apiVersion":"gateway.asi.io/v1alpha1","kind":"RateLimit","metadata":{"name":"typo"},"spec":{"qps":"1","brust":5,"mode":"Off","mode":"Off"}}`
	strict := do(t, f.admin(), "POST", base+"ratelimits?fieldValidation=Strict", body)
	if s := strict.status(t); s.Code != 400 || !strings.Contains(s.Message, `unknown field "spec.brust"`) || !strings.Contains(s.Message, `duplicate field "spec.mode"`) {
		t.Errorf("strict: %+v", s)
	}
	warned := do(t, f.admin(), "POST", base+"ratelimits?fieldValidation=Warn", body)
	if warned.code != 201 || !strings.Contains(strings.Join(warned.header["Warning"], " "), `unknown field \"spec.brust\"`) {
		t.Errorf("warn: %d, %v", warned.code, warned.header["Warning"])
	}
}

func TestSpecAndStatusAreWrittenApart(t *testing.T) {
	f := newFixture(t, nil)
	for _, s := range subjects() {
		t.Run(s.resource, func(t *testing.T) {
			client := objects(t, f.admin(), s.resource)
			observed := func(o *unstructured.Unstructured) any { return value(t, o, "status", "observedGeneration") }
			o := s.named("apart")
			_ = unstructured.SetNestedField(o.Object, int64(9), "status", "observedGeneration")
			o, err := client.Create(t.Context(), o, metav1.CreateOptions{})
			if err != nil || observed(o) != nil {
				t.Fatalf("created with a status: %v, %v", o, err)
			}
			_ = unstructured.SetNestedField(o.Object, int64(9), "status", "observedGeneration")
			o, err = client.Update(t.Context(), o, metav1.UpdateOptions{})
			if err != nil || observed(o) != nil {
				t.Fatalf("the status was written with the spec: %v, %v", o, err)
			}

			_ = unstructured.SetNestedField(o.Object, int64(9), "status", "observedGeneration")
			_ = unstructured.SetNestedField(o.Object, s.other, "spec", s.path)
			o.SetLabels(map[string]string{"a": "b"})
			o, err = client.UpdateStatus(t.Context(), o, metav1.UpdateOptions{})
			if err != nil || observed(o) != int64(9) {
				t.Fatalf("status %v, %v", o, err)
			}
			if value(t, o, "spec", s.path) == s.other || o.GetLabels() != nil || o.GetGeneration() != 1 {
				t.Errorf("a write of the status changed more: %v", o)
			}
			status := fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"status":{"observedGeneration":10}}`, o.GetAPIVersion(), o.GetKind())
			o, err = client.Patch(t.Context(), "apart", types.ApplyPatchType, []byte(status), metav1.PatchOptions{FieldManager: "status"}, "status")
			if err == nil {
				t.Errorf("took the status over from another manager: %v", o)
			}
			force := true
			o, err = client.Patch(t.Context(), "apart", types.ApplyPatchType, []byte(status), metav1.PatchOptions{FieldManager: "status", Force: &force}, "status")
			if err != nil || observed(o) != int64(10) {
				t.Errorf("applied status %v, %v", o, err)
			}
		})
	}
}

func TestSwitchTellsWhoAndUntilWhen(t *testing.T) {
	f := newFixture(t, nil)
	client := objects(t, f.as("jane", user.SystemPrivilegedGroup), "switches")
	o, err := client.Create(t.Context(), switchNamed("s"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(o *unstructured.Unstructured, expires time.Time) {
		t.Helper()
		if by := value(t, o, "status", "requestedBy"); by != "jane" {
			t.Errorf("requested by %v", by)
		}
		if at := value(t, o, "status", "expiresAt"); at != expires.Format(time.RFC3339) {
			t.Errorf("expires at %v, want %s", at, expires.Format(time.RFC3339))
		}
	}
	check(o, now.Add(time.Hour))

	f.clock.SetTime(now.Add(10 * time.Minute))
	patch := func(body string, sub ...string) *unstructured.Unstructured {
		t.Helper()
		o, err := objects(t, f.as("john", user.SystemPrivilegedGroup), "switches").Patch(t.Context(), "s", types.MergePatchType, []byte(body), metav1.PatchOptions{}, sub...)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	check(patch(`{"spec":{"reason":"takes longer"}}`), now.Add(time.Hour))
	check(patch(`{"status":{"requestedBy":"nobody","expiresAt":"2030-01-01T00:00:00Z"}}`, "status"), now.Add(time.Hour))
	check(patch(`{"status":{"requestedBy":null,"expiresAt":null}}`, "status"), now.Add(time.Hour))
	check(patch(`{"spec":{"duration":"2h"}}`), now.Add(10*time.Minute).Add(2*time.Hour))

	var writes []map[string]any
	for _, e := range f.logs.FilterMessage("policy write").All() {
		writes = append(writes, e.ContextMap())
	}
	if len(writes) != 5 {
		t.Fatalf("%d lines for 5 writes", len(writes))
	}
	for key, want := range map[string]any{"user": "john", "verb": "patch", "resource": "switches", "name": "s", "code": int64(200), "type": "ReadOnly", "reason": "takes longer"} {
		if writes[1][key] != want {
			t.Errorf("logged %s=%v, want %v", key, writes[1][key], want)
		}
	}
}

func TestDryRunKeepsNothing(t *testing.T) {
	f := newFixture(t, nil)
	client := objects(t, f.admin(), "ratelimits")
	o, err := client.Create(t.Context(), rateLimitNamed("dry"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil || value(t, o, "spec", "mode") != "Enforce" {
		t.Errorf("%v, %v", o, err)
	}
	if _, err := client.Get(t.Context(), "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run was kept: %v", err)
	}
}

func TestConcurrentUpdatesConflict(t *testing.T) {
	f := newFixture(t, nil)
	client := objects(t, f.admin(), "ratelimits")
	o, err := client.Create(t.Context(), rateLimitNamed("contended"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const writers = 16
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			mine := o.DeepCopy()
			_ = unstructured.SetNestedField(mine.Object, int64(i+1), "spec", "burst")
			_, errs[i] = client.Update(t.Context(), mine, metav1.UpdateOptions{})
		})
	}
	wg.Wait()
	good := 0
	for _, err := range errs {
		switch {
		case err == nil:
			good++
		case !apierrors.IsConflict(err):
			t.Error(err)
		}
	}
	if good != 1 {
		t.Errorf("%d of %d writers from one version have won", good, writers)
	}
}

func TestWatchResumes(t *testing.T) {
	f := newFixture(t, nil)
	client := objects(t, f.ClientConfig(), "ratelimits")
	var versions []string
	for _, name := range []string{"a", "b", "c"} {
		o, err := client.Create(t.Context(), rateLimitNamed(name), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, o.GetResourceVersion())
	}
	names := func(w watch.Interface, n int) string {
		t.Helper()
		var all []string
		for deadline := timeout(t); len(all) < n; {
			select {
			case e := <-w.ResultChan():
				all = append(all, string(e.Type)+" "+e.Object.(*unstructured.Unstructured).GetName())
			case <-deadline:
				t.Fatalf("saw only %v", all)
			}
		}
		return strings.Join(all, ",")
	}
	for version, want := range map[string]string{
		versions[0]: "ADDED b,ADDED c",
		"0":         "ADDED a,ADDED b,ADDED c",
	} {
		w, err := client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		if got := names(w, strings.Count(want, ",")+1); got != want {
			t.Errorf("from %s: %s, want %s", version, got, want)
		}
		w.Stop()
	}
	initial := true
	w, err := client.Watch(t.Context(), metav1.ListOptions{SendInitialEvents: &initial, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if got := names(w, 4); got != "ADDED a,ADDED b,ADDED c,BOOKMARK " {
		t.Errorf("a watch with initial events: %s", got)
	}

	list, err := client.List(t.Context(), metav1.ListOptions{Limit: 2})
	if err != nil || len(list.Items) != 2 || list.GetContinue() == "" {
		t.Fatalf("first page %v, %v", list, err)
	}
	list, err = client.List(t.Context(), metav1.ListOptions{Limit: 2, Continue: list.GetContinue()})
	if err != nil || len(list.Items) != 1 || list.GetResourceVersion() != versions[2] {
		t.Errorf("second page %v, %v", list, err)
	}
	list, err = client.List(t.Context(), metav1.ListOptions{ResourceVersion: versions[1], ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil || len(list.Items) != 2 {
		t.Errorf("an older state %v, %v", list, err)
	}
	future := do(t, f.ClientConfig(), "GET", base+"ratelimits?resourceVersion=1000000", "").status(t)
	if future.Code != 504 || !strings.Contains(future.Message, "Too large resource version") {
		t.Errorf("a version of the future: %+v", future)
	}
}

func TestTypesRoundTrip(t *testing.T) {
	f := newFixture(t, nil)
	a := do(t, f.admin(), "POST", base+"ratelimits", `{"apiVersion":"gateway.asi.io/v1alpha1","kind":"RateLimit","metadata":{"generateName":"gen-"},"spec":{"qps":"500m","per":["User"]}}`)
	var limit v1alpha1.RateLimit
	a.into(t, &limit)
	if !strings.HasPrefix(limit.Name, "gen-") || limit.Spec.QPS.MilliValue() != 500 {
		t.Errorf("%+v", limit)
	}
	yaml := do(t, f.admin(), "GET", base+"ratelimits/"+limit.Name, "", "Accept", "application/yaml")
	if !strings.Contains(string(yaml.body), "qps: 500m") {
		t.Errorf("%s", yaml.body)
	}
}

package cache

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// crd is the body of a definition of widgets.
func crd(uid string, generation int, kind, scope, versions, established string) string {
	return fmt.Sprintf(`"metadata":{"name":"widgets.example.com","uid":%q,"generation":%d,"resourceVersion":"1"},"spec":{"group":"example.com","scope":%q,"versions":[%s]},`+
		`"status":{"acceptedNames":{"plural":"widgets","kind":%q,"listKind":"%sList"},"conditions":[{"type":"NamesAccepted","status":"True"},{"type":"Established","status":%q}]}}`,
		uid, generation, scope, versions, kind, kind, established)
}

func TestDefinitionSaysWhatIsServed(t *testing.T) {
	is := parseDefinition([]byte(crd("u", 3, "Widget", "Namespaced",
		`{"name":"v1","served":true,"selectableFields":[{"jsonPath":".spec.color"},{"jsonPath":".spec.size"}]},{"name":"v1beta1","served":true},{"name":"v1alpha1","served":false}`, "True")))
	if is.reason != "" || is.stamp != (stamp{"u", 3, "Widget", "WidgetList"}) || len(is.served) != 2 {
		t.Fatalf("%+v", is)
	}
	v1 := is.served["v1"]
	if !v1.Custom || !v1.Namespaced || v1.Plural != "widgets" || v1.Group != "example.com" || v1.Version != "v1" || v1.Kind.Kind != "Widget" || v1.ListKind != "WidgetList" {
		t.Errorf("%+v", v1)
	}
	if len(v1.Fields) != 2 || v1.Fields[0].Name != "spec.color" || !slices.Equal(v1.Fields[1].Path, []string{"spec", "size"}) {
		t.Errorf("fields %+v", v1.Fields)
	}
	if v1.Path() != "/apis/example.com/v1/widgets" || len(is.served["v1beta1"].Fields) != 0 {
		t.Errorf("%s, %+v", v1.Path(), is.served["v1beta1"])
	}
	if is := parseDefinition([]byte(crd("u", 1, "Widget", "Cluster", `{"name":"v1","served":true}`, "True"))); is.served["v1"].Namespaced {
		t.Error("a resource of the cluster has namespaces")
	}
	for _, body := range []string{crd("u", 1, "Widget", "Cluster", `{"name":"v1","served":true}`, "False"), crd("u", 1, "", "Cluster", `{"name":"v1","served":true}`, "True"), `"spec":{}}`, `"spec":`} {
		if is := parseDefinition([]byte(body)); is.reason == "" || is.served != nil {
			t.Errorf("%s: %+v", body, is)
		}
	}
}

func TestFieldsThatAreNotSimpleAreLeftToUpstream(t *testing.T) {
	for _, tc := range []struct {
		paths []string
		want  string
	}{
		{[]string{".spec.color", ".status.phase", ".spec.a-b_C9"}, "spec.color status.phase spec.a-b_C9"},
		{[]string{"spec.color", ".", "", ".spec.", ".spec..color", ".spec['color']", ".spec[0]", ".spec.9a", ".spec.a b", `.spec.a\.b`, ".spec.é"}, ""},
		{[]string{".metadata.generation", ".kind", ".apiVersion", ".kindness"}, "kindness"},
		{[]string{".spec", ".spec.color", ".specs"}, "specs"},
		{[]string{".spec.color", ".spec.color", ".spec.colors"}, "spec.colors"},
	} {
		var got []string
		for _, f := range selectableFields(tc.paths) {
			got = append(got, f.Name)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%q: %q, want %q", tc.paths, got, tc.want)
		}
	}
}

func TestDefinitionsSettleBeforeTheyAreUsed(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1_000_000, 0))
	changes := 0
	d := newDefinitions(clock, func() { changes++ })
	key := resourceKey{"example.com", "v1", "widgets"}
	meta := &wire.Meta{Name: "widgets.example.com"}
	const v1 = `{"name":"v1","served":true}`
	whole := func(bodies ...string) {
		t.Helper()
		d.Begin()
		for _, body := range bodies {
			d.Add([]byte(body), meta)
		}
		if err := d.Complete(1); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(event wire.EventType, body string) {
		t.Helper()
		if err := d.Apply(event, []byte(body), meta); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when, reason string, waits bool) {
		t.Helper()
		if _, why, wait := d.find(key); !strings.Contains(why, reason) || (why == "") != (reason == "") || wait != waits {
			t.Errorf("%s: %q, waits %v; want %q, %v", when, why, wait, reason, waits)
		}
	}
	expect("at first", "are being read", false)
	d.Disconnected(errors.New("forbidden"))
	expect("without the right to", "cannot be read: forbidden", false)
	whole(crd("u", 1, "Widget", "Namespaced", v1, "True"))
	expect("it was there before", "", false)
	whole(crd("u", 1, "Widget", "Namespaced", v1, "True"))
	expect("read again", "", false)
	apply(wire.Modified, crd("u", 1, "Widget", "Namespaced", v1, "True"))
	expect("another status", "", false)
	for name, body := range map[string]string{
		"another spec": crd("u", 2, "Widget", "Namespaced", v1, "True"),
		"another one":  crd("w", 1, "Widget", "Namespaced", v1, "True"),
		"another kind": crd("w", 1, "Gadget", "Namespaced", v1, "True"),
	} {
		apply(wire.Modified, body)
		expect(name, "has just changed", true)
		clock.Step(definitionSettles)
		expect(name+", settled", "", false)
	}
	whole(crd("x", 9, "Widget", "Namespaced", v1, "True"))
	expect("changed while nobody looked", "has just changed", true)
	apply(wire.Deleted, crd("x", 9, "Widget", "Namespaced", v1, "True"))
	expect("deleted", "there is no CustomResourceDefinition widgets.example.com", false)
	apply(wire.Added, crd("y", 1, "Widget", "Namespaced", v1, "False"))
	expect("not established yet", "not established", false)
	apply(wire.Modified, crd("y", 1, "Widget", "Namespaced", v1, "True"))
	expect("just established", "has just changed", true)
	d.Abandon(errors.New("etcd was restored"))
	clock.Step(definitionSettles)
	expect("settled", "", false)
	if changes < 10 {
		t.Errorf("told of %d changes", changes)
	}
}

// FuzzDefinition looks for definitions that make a resource that cannot be.
func FuzzDefinition(f *testing.F) {
	f.Add([]byte(crd("u", 3, "Widget", "Namespaced", `{"name":"v1","served":true,"selectableFields":[{"jsonPath":".spec.color"}]}`, "True")))
	f.Add([]byte(crd("u", 3, "Widget", "Cluster", `{"name":"v1","served":true,"selectableFields":[{"jsonPath":".kind"},{"jsonPath":"."},{"jsonPath":".a.b"},{"jsonPath":".a"}]}`, "True")))
	f.Add([]byte(`"spec":{"versions":null},"status":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		is := parseDefinition(body)
		if (is.reason == "") == (is.served == nil) {
			t.Errorf("served %v, reason %q", is.served, is.reason)
		}
		for version, r := range is.served {
			if !r.Custom || r.Version != version || r.Plural == "" || r.Kind.Kind == "" {
				t.Errorf("%+v", r)
			}
			seen := map[string]bool{}
			for _, field := range r.Fields {
				if seen[field.Name] || len(field.Path) == 0 || field.Path[0] == "metadata" || strings.Join(field.Path, ".") != field.Name {
					t.Errorf("field %+v", field)
				}
				seen[field.Name] = true
			}
		}
	})
}

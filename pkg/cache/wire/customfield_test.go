package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/util/jsonpath"
)

// gadgets have a field that can hold anything.
var gadgets = &Kind{
	Group: "example.org", Version: "v1", Kind: "Gadget", ListKind: "GadgetList", Custom: true,
	Fields: []Field{{Name: "spec.a.b", Type: Integer, Path: []string{"spec", "a", "b"}}},
}

// gadget is an object with that spec.
func gadget(spec string) string {
	return `{"apiVersion":"example.org/v1","kind":"Gadget","metadata":{"name":"x","resourceVersion":"7"},"spec":` + spec + `}`
}

// selected is what kube-apiserver's customresource strategy makes of the field.
func selected(t *testing.T, object string) string {
	t.Helper()
	var o map[string]any
	if err := utiljson.Unmarshal([]byte(object), &o); err != nil {
		t.Fatal(err)
	}
	path := jsonpath.New("field").AllowMissingKeys(true)
	if err := path.Parse("{.spec.a.b}"); err != nil {
		t.Fatal(err)
	}
	results, err := path.FindResults(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 || len(results[0]) == 0 || results[0][0].Interface() == nil {
		return ""
	}
	return fmt.Sprint(results[0][0].Interface())
}

func TestFieldsOfCustomResourcesAreSeenAsUpstreamSeesThem(t *testing.T) {
	for _, value := range []string{
		`"red"`, `""`, `"a\"b\u00e9"`, `true`, `false`, `null`, `0`, `7`, `-3`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775809`,
		`100000000000000000000`, `1.0`, `2.50`, `1e3`, `-0`, `{}`, `{"b":1,"a":[true,null]}`, `[]`, `["x","y"]`, `[{"c":1.5}]`,
	} {
		for _, spec := range []string{`{"a":{"b":` + value + `}}`, `{"a":[{"b":` + value + `}]}`, `{"a":` + value + `}`, value} {
			object := gadget(spec)
			_, meta, err := ParseObject(gadgets, JSON, []byte(object))
			if err != nil {
				t.Errorf("%s: %v", spec, err)
				continue
			}
			if want := selected(t, object); meta.Fields[0] != want {
				t.Errorf("%s: %q, want %q", spec, meta.Fields[0], want)
			}
		}
	}
}

// FuzzCustomField looks for values that a selector upstream sees in another way.
func FuzzCustomField(f *testing.F) {
	for _, spec := range []string{`{"a":{"b":"red"}}`, `{"a":{"b":12}}`, `{"a":{"b":1e2}}`, `{"a":[{"b":true}]}`, `{"a":{"b":{"c":[1,2.5,null]}}}`, `[]`, `null`} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		// An apiserver sends what it has decoded.
		var decoded any
		if strings.ContainsAny(spec, "\n\t\r ") || utiljson.Unmarshal([]byte(spec), &decoded) != nil {
			return
		}
		sent, err := json.Marshal(decoded)
		if err != nil {
			return
		}
		object := gadget(string(sent))
		_, meta, err := ParseObject(gadgets, JSON, []byte(object))
		if err != nil {
			t.Fatalf("%s: %v", sent, err)
		}
		if want := selected(t, object); meta.Fields[0] != want {
			t.Errorf("%s: %q, want %q", sent, meta.Fields[0], want)
		}
	})
}

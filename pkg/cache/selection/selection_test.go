package selection

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

var pods = &wire.Kind{Version: "v1", Kind: "Pod", ListKind: "PodList", Fields: []wire.Field{{Name: "spec.nodeName"}, {Name: "status.phase"}}}

func pod(namespace, name string, rv uint64, fields []string, labels ...wire.Label) *store.Object {
	meta := wire.Meta{Namespace: namespace, Name: name, ResourceVersion: rv, Fields: fields, Labels: labels}
	return store.NewObject(meta, wire.NewBody([]byte("{}"), -1), 2)
}

// some returns a snapshot of random pods.
func some(random *rand.Rand, n int, indexes ...store.Index) (*store.Snapshot, []*store.Object) {
	s := store.New(1, indexes...)
	var all []*store.Object
	for i := range n {
		var l wire.Labels
		if v := random.IntN(4); v > 0 {
			l = append(l, wire.Label{Key: "app", Value: fmt.Sprint(v)})
		}
		if random.IntN(2) == 0 {
			l = append(l, wire.Label{Key: "tier", Value: "1"})
		}
		all = append(all, pod([]string{"a", "a-b", "b"}[random.IntN(3)], fmt.Sprintf("p%d-%d", random.IntN(5), i), uint64(i+1),
			[]string{[]string{"", "n1", "n2"}[random.IntN(3)], []string{"Running", "Pending"}[random.IntN(2)]}, l...))
	}
	s.Replace(uint64(n+1), slices.Values(all))
	slices.SortFunc(all, func(a, b *store.Object) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return s.Snapshot(), all
}

// reference is what apimachinery's selectors say.
func reference(t *testing.T, namespace, labelSelector, fieldSelector string, o *store.Object) bool {
	t.Helper()
	l, err := labels.Parse(labelSelector)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fields.ParseSelector(fieldSelector)
	if err != nil {
		t.Fatal(err)
	}
	set := fields.Set{"metadata.name": o.Name, "metadata.namespace": o.Namespace, "spec.nodeName": o.Fields[0], "status.phase": o.Fields[1]}
	all := labels.Set{}
	for _, label := range o.Labels {
		all[label.Key] = label.Value
	}
	return (namespace == "" || o.Namespace == namespace) && l.Matches(all) && f.Matches(set)
}

// TestSelectsWhatApimachinerySelects, whatever indexes there are.
func TestSelectsWhatApimachinerySelects(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	sets := [][]store.Index{
		nil,
		{store.NameIndex()},
		{store.FieldIndex(0), store.FieldIndex(1), store.LabelIndex("app"), store.NameIndex()},
	}
	labelSelectors := []string{"", "app=1", "app==2", "app in (1,3)", "app notin (1)", "app", "!app", "app=1,tier=1", "app=9", "app=1,app=2", "app!=1,tier", "app in (1,2),app in (2,3)"}
	fieldSelectors := []string{"", "spec.nodeName=n1", "spec.nodeName=", "spec.nodeName!=n1", "status.phase=Running,spec.nodeName=n2", "metadata.namespace=a", "metadata.namespace!=a", "metadata.name=p1-7", "metadata.name!=p1-7", "spec.nodeName=n1,spec.nodeName=n2"}
	for round := range 6 {
		snapshot, all := some(random, 60, sets[round%len(sets)]...)
		for _, namespace := range []string{"", "a", "a-b", "c"} {
			for _, l := range labelSelectors {
				for _, f := range fieldSelectors {
					s, err := Parse(pods, true, namespace, "", l, f)
					if err != nil {
						t.Fatalf("%q %q: %v", l, f, err)
					}
					from := []string{"", all[random.IntN(len(all))].Key}[random.IntN(2)]
					var want, got []string
					for _, o := range all {
						selected := reference(t, namespace, l, f, o)
						if s.Matches(o) != selected {
							t.Fatalf("in %q, labels %q, fields %q: %s is selected: %v", namespace, l, f, o.Key, !selected)
						}
						if selected && o.Key >= from {
							want = append(want, o.Key)
						}
					}
					s.Range(snapshot, from, func(o *store.Object) bool {
						got = append(got, o.Key)
						return true
					})
					if !slices.Equal(got, want) {
						t.Fatalf("in %q, labels %q, fields %q from %q: got %v; want %v", namespace, l, f, from, got, want)
					}
				}
			}
		}
	}
}

func TestAskingForTheLastNamesEndsEarly(t *testing.T) {
	snapshot, _ := some(rand.New(rand.NewPCG(5, 6)), 50)
	s, err := Parse(pods, true, "", "", "app", "")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	s.Range(snapshot, "", func(*store.Object) bool {
		n++
		return n < 3
	})
	if n != 3 {
		t.Errorf("%d objects were visited after the third was the last", n)
	}
}

func TestWhatIsNotUnderstoodIsAnError(t *testing.T) {
	for _, q := range []struct{ labels, fields string }{
		{labels: "app in"}, {labels: "=x"}, {labels: "a=b=c"}, {fields: "spec.nodeName"}, {fields: "spec.host=n1"}, {fields: "involvedObject.name=x"},
		{fields: "metadata.name="}, {fields: "metadata.uid=x"}, {fields: "spec.nodeName>n1"},
	} {
		if s, err := Parse(pods, true, "", "", q.labels, q.fields); !errors.Is(err, ErrNotUnderstood) {
			t.Errorf("labels %q, fields %q: %+v, error %v", q.labels, q.fields, s, err)
		}
	}
	// What has no namespace cannot be selected by one.
	if _, err := Parse(pods, false, "", "", "", "metadata.namespace=a"); !errors.Is(err, ErrNotUnderstood) {
		t.Errorf("error %v", err)
	}
}

// FuzzParse looks for selectors that panic, or select something else than
// apimachinery's.
func FuzzParse(f *testing.F) {
	f.Add("app in (1,2),!tier", "spec.nodeName!=n1,metadata.name=p")
	f.Add("app", `spec.nodeName=a\,b`)
	random := rand.New(rand.NewPCG(7, 8))
	_, all := some(random, 20)
	f.Fuzz(func(t *testing.T, l, fs string) {
		s, err := Parse(pods, true, "", "", l, fs)
		if err != nil {
			return
		}
		for _, o := range all {
			if s.Matches(o) != reference(t, "", l, fs, o) {
				t.Errorf("labels %q, fields %q: %s", l, fs, o.Key)
			}
		}
	})
}

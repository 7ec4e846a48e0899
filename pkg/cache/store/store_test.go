package store

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"
	"weak"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

func object(namespace, name string, rv uint64) *Object {
	return NewObject(wire.Meta{Namespace: namespace, Name: name, ResourceVersion: rv}, wire.NewBody(nil, -1), 10)
}

func keys(visit func(func(*Object) bool)) (all []string) {
	visit(func(o *Object) bool {
		all = append(all, o.Key)
		return true
	})
	return all
}

func in(s *Snapshot, prefix, from string) []string {
	return keys(func(visit func(*Object) bool) { s.Range(prefix, from, visit) })
}

func TestOrderIsByKeyNotByNamespace(t *testing.T) {
	s := New(1)
	s.Replace(1, slices.Values([]*Object{object("a", "x", 1), object("a-b", "x", 1), object("b", "x", 1)}))
	if got := in(s.Snapshot(), "", ""); !slices.Equal(got, []string{"a-b/x", "a/x", "b/x"}) {
		t.Errorf("order is %v", got)
	}
	if got := in(s.Snapshot(), "a/", ""); !slices.Equal(got, []string{"a/x"}) {
		t.Errorf("namespace a has %v", got)
	}
}

func TestListGoesOnBehindAKey(t *testing.T) {
	s := New(1)
	s.Replace(1, slices.Values([]*Object{object("a", "x", 1), object("a", "x0", 1), object("a", "y", 1), object("b", "x", 1)}))
	if got := in(s.Snapshot(), "a/", "a/x\x00"); !slices.Equal(got, []string{"a/x0", "a/y"}) {
		t.Errorf("behind a/x are %v", got)
	}
	if got := s.Snapshot().Sum("a/", "a/x\x00"); got.Objects != 2 || got.ItemSize != 20 || got.Memory != s.Snapshot().Get("a/x0").Memory()+s.Snapshot().Get("a/y").Memory() {
		t.Errorf("their sum is %v", got)
	}
}

func TestEmptyStoreHasNoStateToAskFor(t *testing.T) {
	s := New(10, NameIndex())
	if got := s.Snapshot(); got.ResourceVersion() != 0 || got.Len() != 0 || got.Get("a") != nil || got.Count(NameIndex(), "a", "") != 0 {
		t.Errorf("it has %d objects at %d", got.Len(), got.ResourceVersion())
	}
	if _, ok := s.At(0); ok {
		t.Error("there is a state at 0")
	}
	if err := s.Progress(5); err != nil {
		t.Error(err)
	}
	if _, ok := s.At(5); ok {
		t.Error("there is a state before there were objects")
	}
}

func put(t *testing.T, s *Store, o *Object, rv uint64) *Object {
	t.Helper()
	previous, err := s.Put(o, rv)
	if err != nil {
		t.Fatal(err)
	}
	return previous
}

func TestStateIsKnownBetweenEventsAndUpToTheLastBookmark(t *testing.T) {
	s := New(10)
	s.Replace(10, slices.Values([]*Object{object("a", "x", 10)}))
	put(t, s, object("a", "y", 20), 20)
	if err := s.Progress(30); err != nil {
		t.Fatal(err)
	}
	put(t, s, object("a", "z", 40), 40)
	for rv, want := range map[uint64]int{9: 0, 10: 1, 19: 1, 20: 2, 25: 2, 30: 2, 35: 2, 40: 3, 41: 0} {
		got, ok := s.At(rv)
		if ok != (want > 0) {
			t.Errorf("at %d: %v", rv, ok)
		} else if ok && (got.Len() != want || got.ResourceVersion() != rv) {
			t.Errorf("at %d: %d objects at %d", rv, got.Len(), got.ResourceVersion())
		}
	}
}

func TestBookmarksPushNoStateOut(t *testing.T) {
	s := New(2)
	s.Replace(10, slices.Values([]*Object{object("a", "x", 10)}))
	put(t, s, object("a", "y", 11), 11)
	for rv := uint64(12); rv < 100; rv++ {
		if err := s.Progress(rv); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delete("absent", rv); !errors.Is(err, ErrBackwards) {
			t.Fatal(err)
		}
	}
	if got, ok := s.At(10); !ok || got.Len() != 1 {
		t.Error("the state at 10 has gone")
	}
	put(t, s, object("a", "z", 100), 100)
	if _, ok := s.At(10); ok {
		t.Error("there are three states instead of two")
	}
	if got, ok := s.At(11); !ok || got.Len() != 2 {
		t.Error("the state at 11 has gone")
	}
}

func TestReplaceForgetsStatesAndMayGoBack(t *testing.T) {
	s := New(10)
	s.Replace(100, slices.Values([]*Object{object("a", "x", 100)}))
	put(t, s, object("a", "y", 101), 101)
	held := s.Snapshot()
	s.Replace(50, slices.Values([]*Object{object("a", "z", 50)}))
	for _, rv := range []uint64{49, 51, 100, 101} {
		if _, ok := s.At(rv); ok {
			t.Errorf("there is a state at %d", rv)
		}
	}
	if got := in(s.Snapshot(), "", ""); !slices.Equal(got, []string{"a/z"}) {
		t.Errorf("objects are %v", got)
	}
	if got := in(held, "", ""); !slices.Equal(got, []string{"a/x", "a/y"}) {
		t.Errorf("the state before has become %v", got)
	}
}

func TestRefusedChangesChangeNothing(t *testing.T) {
	s := New(10)
	s.Replace(10, slices.Values([]*Object{object("a", "x", 10)}))
	before := s.Snapshot()
	if _, err := s.Put(object("a", "y", 10), 10); !errors.Is(err, ErrBackwards) {
		t.Error(err)
	}
	if _, err := s.Delete("a/x", 9); !errors.Is(err, ErrBackwards) {
		t.Error(err)
	}
	if err := s.Progress(9); !errors.Is(err, ErrBackwards) {
		t.Error(err)
	}
	if err := s.Progress(10); err != nil {
		t.Error(err)
	}
	if s.Snapshot() != before {
		t.Error("there is another snapshot")
	}
}

func TestIndexesAreOfStatesFromWhenTheyWereAdded(t *testing.T) {
	s := New(10)
	s.Replace(10, slices.Values([]*Object{object("a", "x", 10), object("b", "x", 10)}))
	before := s.Snapshot()
	put(t, s, object("c", "x", 11), 11)
	s.AddIndex(NameIndex())
	s.AddIndex(NameIndex())
	put(t, s, object("d", "x", 12), 12)
	for rv, indexed := range map[uint64]bool{10: false, 11: true, 12: true} {
		if got, _ := s.At(rv); got.Indexed(NameIndex()) != indexed {
			t.Errorf("at %d: %v", rv, !indexed)
		}
	}
	find := func(s *Snapshot) []string {
		return keys(func(visit func(*Object) bool) { s.Lookup(NameIndex(), "x", "", "", visit) })
	}
	if got := find(before); !slices.Equal(got, []string{"a/x", "b/x"}) {
		t.Errorf("without the index there is %v", got)
	}
	if got := find(s.Snapshot()); !slices.Equal(got, []string{"a/x", "b/x", "c/x", "d/x"}) {
		t.Errorf("with the index there is %v", got)
	}
	s.RemoveIndex(NameIndex())
	s.RemoveIndex(NameIndex())
	if s.Snapshot().Indexed(NameIndex()) {
		t.Error("the index is still there")
	}
}

func TestNoValueIsAValueOfFieldsButNotOfLabels(t *testing.T) {
	s := New(1, LabelIndex("app"), FieldIndex(0), FieldIndex(1))
	bare := object("a", "bare", 1)
	bare.Fields = []string{""}
	empty := object("a", "empty", 1)
	empty.Fields, empty.Labels = []string{"n"}, wire.Labels{{Key: "app"}}
	s.Replace(1, slices.Values([]*Object{bare, empty}))
	for index, want := range map[Index]string{LabelIndex("app"): "a/empty", FieldIndex(0): "a/bare", FieldIndex(1): ""} {
		got := keys(func(visit func(*Object) bool) { s.Snapshot().Lookup(index, "", "", "", visit) })
		if strings.Join(got, " ") != want {
			t.Errorf("%v: %v", index, got)
		}
	}
}

func TestIndexesAreComparable(t *testing.T) {
	all := map[Index]string{}
	for _, i := range []Index{NameIndex(), LabelIndex("a"), LabelIndex("b"), FieldIndex(0), FieldIndex(1), OwnerIndex(), LabelIndex("a")} {
		all[i] = i.String()
	}
	if len(all) != 6 || all[LabelIndex("a")] != "label a" {
		t.Error(all)
	}
	s := New(1, NameIndex(), NameIndex())
	if got := s.Snapshot().Indexes(); !slices.Equal(got, []Index{NameIndex()}) {
		t.Error(got)
	}
}

// arena returns strings that are parts of one allocation, as whoever decodes objects
// may make them, and what tells whether it is still held.
func arena(text string) (parts []string, held func() bool) {
	memory := new([80]byte)
	n := copy(memory[:], text)
	whole := weak.Make(memory)
	return strings.Fields(unsafe.String(&memory[0], n)), func() bool {
		runtime.GC()
		return whole.Value() != nil
	}
}

// version returns a version of a pod whose strings are parts of one allocation, and what
// tells whether that is still held.
func version(pod string, rv uint64) (o *Object, held func() bool) {
	parts, held := arena("namespace " + pod + " front node-17 uid-of-the-owner")
	return NewObject(wire.Meta{
		Namespace: parts[0], Name: parts[1], ResourceVersion: rv, Labels: wire.Labels{{Key: "app", Value: parts[2]}},
		Fields: parts[3:4:4], Owners: parts[4:],
	}, wire.NewBody(nil, -1), 1), held
}

func TestNothingOfAnObjectThatHasGoneIsKept(t *testing.T) {
	s := New(1, NameIndex(), LabelIndex("app"), FieldIndex(0), OwnerIndex())
	var gone []func() bool
	next := func(pod string, rv uint64) *Object {
		o, held := version(pod, rv)
		gone = append(gone, held)
		return o
	}
	check := func(versions ...int) {
		t.Helper()
		for _, i := range versions {
			if gone[i]() {
				t.Errorf("something of version %d is still held", i+1)
			}
		}
	}
	// All have the same values. One is replaced that the list has brought, one that has come
	// when there were others, and one that has come alone.
	s.Replace(1, slices.Values([]*Object{next("x", 1)}))
	put(t, s, next("x", 2), 2)
	put(t, s, next("y", 3), 3)
	put(t, s, next("y", 4), 4)
	check(0, 2)
	for rv, pod := range []string{"x", "y"} {
		if _, err := s.Delete("namespace/"+pod, uint64(5+rv)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, next("z", 7), 7)
	last, held := version("z", 8)
	put(t, s, last, 8)
	check(0, 1, 2, 3, 4)
	if !held() {
		t.Error("the last version has no strings")
	}
	runtime.KeepAlive(s)
}

func TestKeySharesNoMemory(t *testing.T) {
	for _, namespace := range []string{"", "namespace"} {
		parts, held := arena("pod")
		key := Key(namespace, parts[0])
		parts = nil
		if held() {
			t.Errorf("%q holds the name that it was made of", key)
		}
		runtime.KeepAlive(key)
	}
}

func TestVersionsOfAnObjectShareTheirKey(t *testing.T) {
	s := New(1)
	first, second := object("namespace", "pod", 1), object("namespace", "pod", 2)
	key := unsafe.StringData(first.Key)
	s.Replace(1, slices.Values([]*Object{first}))
	put(t, s, second, 2)
	if unsafe.StringData(second.Key) != key || unsafe.StringData(second.Namespace) != key {
		t.Error("the key of the second version is another string")
	}
	if second.Namespace != "namespace" || second.Name != "pod" || second.Key != "namespace/pod" {
		t.Errorf("%q has namespace %q and name %q", second.Key, second.Namespace, second.Name)
	}
}

func TestReplaceLetsGoOfStatesBefore(t *testing.T) {
	s := New(10, LabelIndex("app"))
	first, heldFirst := version("x", 1)
	s.Replace(1, slices.Values([]*Object{first}))
	second, heldSecond := version("x", 2)
	put(t, s, second, 2)
	if !heldFirst() || !heldSecond() {
		t.Error("a state that can be asked for is not held")
	}
	s.Replace(3, slices.Values([]*Object{}))
	first, second = nil, nil
	if heldFirst() || heldSecond() {
		t.Error("a state before is still held")
	}
	runtime.KeepAlive(s)
}

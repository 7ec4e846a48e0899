package survival

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// replica is a reflector's store. It notes what cannot be true of a history that is
// complete and in order.
type replica struct {
	mu      sync.Mutex
	objects map[types.UID]runtime.Object
	// seen is the last version that came of each object, gone ones included.
	seen map[types.UID]uint64
	gone map[types.UID]bool
	// versions are all that came as events; gaps are those that lists have skipped.
	versions map[uint64]bool
	gaps     []gap
	// last is the version up to which everything has come.
	last uint64
	// lists is how often the state came as a whole, by LIST or by a watch with initial
	// events.
	lists int
	wrong []string
}

// gap is what is after one version, up to another.
type gap struct{ after, upTo uint64 }

func newReplica() *replica {
	return &replica{objects: map[types.UID]runtime.Object{}, seen: map[types.UID]uint64{}, gone: map[types.UID]bool{}, versions: map[uint64]bool{}}
}

// Add implements cache.ReflectorStore.
func (r *replica) Add(object any) error {
	return r.event(object, func(o metav1.Object) {
		if r.objects[o.GetUID()] != nil {
			r.note("%s was created a second time", describe(o))
		}
		r.objects[o.GetUID()] = object.(runtime.Object)
	})
}

// Update implements cache.ReflectorStore.
func (r *replica) Update(object any) error {
	return r.event(object, func(o metav1.Object) {
		if r.objects[o.GetUID()] == nil {
			r.note("%s was changed, and its creation did not come", describe(o))
		}
		r.objects[o.GetUID()] = object.(runtime.Object)
	})
}

// Delete implements cache.ReflectorStore.
func (r *replica) Delete(object any) error {
	return r.event(object, func(o metav1.Object) {
		if r.objects[o.GetUID()] == nil {
			r.note("%s was deleted, and its creation did not come", describe(o))
		}
		delete(r.objects, o.GetUID())
		r.gone[o.GetUID()] = true
	})
}

// event takes a change, which must be later than all before.
func (r *replica) event(object any, apply func(metav1.Object)) error {
	o, version, err := identify(object)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if version <= r.last {
		r.note("%s came after version %d", describe(o), r.last)
	}
	r.check(o, version)
	r.last = max(r.last, version)
	r.versions[version] = true
	apply(o)
	return nil
}

// Replace implements cache.ReflectorStore.
func (r *replica) Replace(list []any, resourceVersion string) error {
	version, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if version < r.last {
		r.note("a list of version %d came after version %d", version, r.last)
	}
	r.gaps = append(r.gaps, gap{r.last, version})
	r.last = max(r.last, version)
	r.lists++
	before := r.objects
	r.objects = map[types.UID]runtime.Object{}
	for _, object := range list {
		o, version, err := identify(object)
		if err != nil {
			return err
		}
		r.check(o, version)
		r.objects[o.GetUID()] = object.(runtime.Object)
	}
	for uid := range before {
		if r.objects[uid] == nil {
			r.gone[uid] = true
		}
	}
	return nil
}

// check compares an object with what was known of it.
func (r *replica) check(o metav1.Object, version uint64) {
	if r.gone[o.GetUID()] {
		r.note("%s came back after its deletion", describe(o))
	}
	if version < r.seen[o.GetUID()] {
		r.note("%s came after its version %d", describe(o), r.seen[o.GetUID()])
	}
	r.seen[o.GetUID()] = version
}

// Bookmark implements cache.ReflectorBookmarkStore.
func (r *replica) Bookmark(resourceVersion string) error {
	version, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if version < r.last {
		r.note("a bookmark of version %d came after version %d", version, r.last)
	}
	r.last = max(r.last, version)
	return nil
}

// Resync implements cache.ReflectorStore.
func (r *replica) Resync() error { return nil }

func (r *replica) note(format string, args ...any) {
	const most = 5
	if len(r.wrong) < most {
		r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
	}
}

// missed returns what is missing of the changes in a log: a version must have come as
// an event or lie in a gap.
func (r *replica) missed(log []change) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for _, c := range log {
		switch {
		case c.deleted && !r.gone[c.uid] && r.seen[c.uid] != 0:
			missing = append(missing, fmt.Sprintf("the deletion of %s", c.name))
		case !c.deleted && !r.versions[c.version] && !r.skipped(c.version):
			missing = append(missing, fmt.Sprintf("version %d of %s", c.version, c.name))
		}
	}
	return missing
}

func (r *replica) skipped(version uint64) bool {
	for _, g := range r.gaps {
		if g.after < version && version <= g.upTo {
			return true
		}
	}
	return false
}

// relists is how often the state came as a whole again.
func (r *replica) relists() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.lists-1)
}

func identify(object any) (metav1.Object, uint64, error) {
	o, err := meta.Accessor(object)
	if err != nil {
		return nil, 0, err
	}
	version, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	return o, version, err
}

func describe(o metav1.Object) string {
	return fmt.Sprintf("version %s of %s", o.GetResourceVersion(), o.GetName())
}

func TestReplicaNotesWhatCannotBe(t *testing.T) {
	object := func(name string, version int) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), ResourceVersion: strconv.Itoa(version)}}
	}
	type step = func(*replica) error
	list := func(version int, objects ...any) step {
		return func(r *replica) error { return r.Replace(objects, strconv.Itoa(version)) }
	}
	add := func(o any) step { return func(r *replica) error { return r.Add(o) } }
	update := func(o any) step { return func(r *replica) error { return r.Update(o) } }
	remove := func(o any) step { return func(r *replica) error { return r.Delete(o) } }
	bookmark := func(version string) step { return func(r *replica) error { return r.Bookmark(version) } }
	fine := []step{list(10, object("a", 5)), add(object("b", 11)), update(object("a", 12)), bookmark("12"), remove(object("b", 13))}
	for name, wrong := range map[string]step{
		"":                        list(20, object("a", 19)),
		"an event again":          remove(object("b", 13)),
		"an old event":            update(object("a", 12)),
		"events out of order":     add(object("c", 9)),
		"an old list":             list(12, object("a", 12)),
		"an old object in a list": list(20, object("a", 11)),
		"a deleted object":        list(20, object("a", 12), object("b", 11)),
		"created anew":            add(object("b", 20)),
		"created twice":           add(object("a", 20)),
		"changed without being":   update(object("c", 20)),
		"deleted without being":   remove(object("c", 20)),
		"an old bookmark":         bookmark("11"),
	} {
		r := newReplica()
		for _, s := range fine {
			must(t, s(r))
		}
		if len(r.wrong) > 0 {
			t.Fatalf("a right history: %v", r.wrong)
		}
		must(t, wrong(r))
		if (len(r.wrong) > 0) != (name != "") {
			t.Errorf("%q: %v", name, r.wrong)
		}
	}
}

func TestReplicaKnowsWhatItMissed(t *testing.T) {
	r := newReplica()
	must(t, r.Replace(nil, "10"))
	must(t, r.Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{UID: "a", ResourceVersion: "11"}}))
	must(t, r.Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{UID: "b", ResourceVersion: "14"}}))
	must(t, r.Replace([]any{&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{UID: "b", ResourceVersion: "14"}}}, "20"))
	for _, test := range []struct {
		change
		missed bool
	}{
		{change{uid: "x", version: 9}, false}, // before the first list
		{change{uid: "a", version: 11}, false},
		{change{uid: "a", version: 12}, true},
		{change{uid: "x", version: 15}, false}, // between the lists
		{change{uid: "x", version: 21}, true},
		{change{uid: "a", deleted: true}, false},
		{change{uid: "b", deleted: true}, true},
		{change{uid: "x", deleted: true}, false}, // never seen
	} {
		if missed := len(r.missed([]change{test.change})) > 0; missed != test.missed {
			t.Errorf("%+v: missed %t", test.change, missed)
		}
	}
}

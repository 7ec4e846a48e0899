package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// narrow makes deep trees of few objects.
var narrow = fanout{leaf: 4, inner: 4}

// state is what a snapshot should be.
type state struct {
	rv uint64
	// objects are in key order.
	objects []*Object
	indexes []Index
}

func (m *state) find(key string) (int, bool) {
	return slices.BinarySearchFunc(m.objects, key, func(o *Object, key string) int { return cmp.Compare(o.Key, key) })
}

// model does with slices what a Store does with trees.
type model struct {
	state
	// states are all since the last Replace; each is as of its own resource version and
	// up to that of the next.
	states []state
}

func (m *model) remember() {
	s := m.state
	s.objects = slices.Clone(s.objects)
	m.states = append(m.states, s)
}

func (m *model) put(o *Object, rv uint64) (previous *Object) {
	i, found := m.find(o.Key)
	if found {
		previous, m.objects[i] = m.objects[i], o
	} else {
		m.objects = slices.Insert(m.objects, i, o)
	}
	m.rv = rv
	m.remember()
	return previous
}

func (m *model) delete(key string, rv uint64) (previous *Object) {
	m.rv = rv
	i, found := m.find(key)
	if !found {
		return nil
	}
	previous = m.objects[i]
	m.objects = slices.Delete(m.objects, i, i+1)
	m.remember()
	return previous
}

func (m *model) replace(objects []*Object, rv uint64) {
	m.objects, m.states, m.rv = slices.Clone(objects), nil, rv
	m.remember()
}

// at returns the state at rv, if it is among the last so many.
func (m *model) at(rv uint64, history int) (state, bool) {
	held := m.states[max(0, len(m.states)-history):]
	for _, s := range slices.Backward(held) {
		if s.rv <= rv && rv <= m.rv {
			s.rv = rv
			return s, true
		}
	}
	return state{}, false
}

// universe is what a replay draws from. "a-b" and "a" tell key order from the order of
// namespaces, the empty namespace is that of cluster-wide objects.
type universe struct {
	namespaces []string
	names      int
}

func (u universe) key(n int) (namespace, name string) {
	n %= len(u.namespaces) * u.names
	return u.namespaces[n%len(u.namespaces)], fmt.Sprintf("o%d", n/len(u.namespaces))
}

var allIndexes = []Index{NameIndex(), LabelIndex("app"), LabelIndex("tier"), FieldIndex(0), OwnerIndex()}

// object makes an object whose labels, fields, owners and size follow from shape.
func (u universe) object(n int, shape byte, rv uint64) *Object {
	m := wire.Meta{ResourceVersion: rv, Fields: []string{[]string{"", "n1", "n2", "n3"}[shape>>2&3]}}
	m.Namespace, m.Name = u.key(n)
	if app := shape & 3; app > 0 {
		m.Labels = append(m.Labels, wire.Label{Key: "app", Value: []string{"", "x", "y"}[app-1]})
	}
	if shape&0x40 != 0 {
		m.Labels = append(m.Labels, wire.Label{Key: "tier", Value: "t"})
	}
	m.Owners = [][]string{nil, {"u1"}, {"u2", "u1"}, {"u2", "u2"}}[shape>>4&3]
	return NewObject(m, wire.NewBody(nil, -1), int(shape)*7)
}

// check compares all that a snapshot can be asked with the model.
func check(t testing.TB, s *Snapshot, want *state, prefixes, from []string) {
	t.Helper()
	if s.ResourceVersion() != want.rv || s.Len() != len(want.objects) {
		t.Fatalf("%d objects at %d instead of %d at %d", s.Len(), s.ResourceVersion(), len(want.objects), want.rv)
	}
	for _, o := range want.objects {
		if s.Get(o.Key) != o {
			t.Fatalf("Get(%q) is another object", o.Key)
		}
	}
	for _, prefix := range prefixes {
		if i, found := want.find(prefix); !found && s.Get(prefix) != nil {
			t.Fatalf("Get(%q) is %v, which is not there", prefix, want.objects[i])
		}
		for _, from := range from {
			checkRange(t, s, want, prefix, from)
		}
	}
}

func checkRange(t testing.TB, s *Snapshot, want *state, prefix, from string) {
	t.Helper()
	var objects, visited []*Object
	var sum Sum
	for _, o := range want.objects {
		if strings.HasPrefix(o.Key, prefix) && o.Key >= from {
			objects = append(objects, o)
			sum = sum.plus(Sum{1, int64(o.ItemSize), o.Memory()})
		}
	}
	visit := func(o *Object) bool {
		visited = append(visited, o)
		return true
	}
	if s.Range(prefix, from, visit); !slices.Equal(visited, objects) {
		t.Fatalf("Range(%q, %q) visits %d objects instead of %d", prefix, from, len(visited), len(objects))
	}
	if got := s.Sum(prefix, from); got != sum {
		t.Fatalf("Sum(%q, %q) is %v instead of %v", prefix, from, got, sum)
	}
	if half := len(objects) / 2; half > 0 {
		visited = nil
		s.Range(prefix, from, func(o *Object) bool { return visit(o) && len(visited) < half })
		if !slices.Equal(visited, objects[:half]) {
			t.Fatalf("Range(%q, %q) visits %d objects when told to stop after %d", prefix, from, len(visited), half)
		}
	}
	for _, index := range allIndexes {
		if s.Indexed(index) != slices.Contains(want.indexes, index) {
			t.Fatalf("index %v: %v", index, s.Indexed(index))
		}
		for _, value := range []string{"", "x", "n1", "t", "u1", "u2", "o1", "absent"} {
			var found []*Object
			for _, o := range objects {
				if index.finds(o, value) {
					found = append(found, o)
				}
			}
			visited = nil
			if s.Lookup(index, value, prefix, from, visit); !slices.Equal(visited, found) {
				t.Fatalf("Lookup(%v, %q, %q, %q) visits %d objects instead of %d", index, value, prefix, from, len(visited), len(found))
			}
			if n := s.Count(index, value, prefix); from == "" && n != len(found) {
				t.Fatalf("Count(%v, %q, %q) is %d instead of %d", index, value, prefix, n, len(found))
			}
		}
	}
}

// replay does with a store and the model what the log says, and compares them after
// every step: the newest state, the one at a resource version drawn from the log, and a snapshot
// that has been held.
type replay struct {
	testing.TB
	universe
	store   *Store
	model   model
	history int
	log     []byte
	// held are snapshots with what they were.
	held []heldSnapshot
}

type heldSnapshot struct {
	snapshot *Snapshot
	want     state
}

func (r *replay) next() byte {
	if len(r.log) == 0 {
		return 0
	}
	b := r.log[0]
	r.log = r.log[1:]
	return b
}

func (r *replay) number() int { return int(r.next())<<8 | int(r.next()) }

// step does one thing.
func (r *replay) step() {
	op := r.next()
	rv := r.model.rv + 1 + uint64(op>>6)
	switch op % 16 {
	default:
		r.put(r.number(), r.next(), rv)
	case 8, 9, 10:
		r.delete(r.number(), rv)
	case 11:
		if err := r.store.Progress(rv - 1); err != nil {
			r.Fatal(err)
		}
		r.model.rv = rv - 1
	case 12:
		r.toggle(allIndexes[int(r.next())%len(allIndexes)])
	case 13:
		r.backwards(rv - 1)
	case 14:
		r.deleteMany(r.next())
	case 15:
		r.replace(r.number(), r.next(), rv)
	}
}

func (r *replay) put(n int, shape byte, rv uint64) {
	o := r.object(n, shape, rv)
	previous, err := r.store.Put(o, rv)
	if want := r.model.put(o, rv); err != nil || previous != want {
		r.Fatalf("Put(%q): %v, %v", o.Key, previous, err)
	}
}

func (r *replay) delete(n int, rv uint64) {
	key := Key(r.key(n))
	previous, err := r.store.Delete(key, rv)
	if want := r.model.delete(key, rv); err != nil || previous != want {
		r.Fatalf("Delete(%q): %v, %v", key, previous, err)
	}
}

// deleteMany deletes one run of neighbours, so that nodes become small one after the
// other.
func (r *replay) deleteMany(where byte) {
	first := int(where) * len(r.model.objects) / 256
	for range len(r.model.objects) / 4 {
		rv := r.model.rv + 1
		key := r.model.objects[min(first, len(r.model.objects)-1)].Key
		if previous, err := r.store.Delete(key, rv); err != nil || previous != r.model.delete(key, rv) {
			r.Fatalf("Delete(%q): %v, %v", key, previous, err)
		}
	}
}

func (r *replay) toggle(i Index) {
	if at := slices.Index(r.model.indexes, i); at >= 0 {
		r.store.RemoveIndex(i)
		r.model.indexes = slices.Delete(slices.Clone(r.model.indexes), at, at+1)
	} else {
		r.store.AddIndex(i)
		r.model.indexes = append(slices.Clone(r.model.indexes), i)
	}
	if n := len(r.model.states); n > 0 {
		r.model.states[n-1].indexes = r.model.indexes
	}
}

// backwards tries changes that do not go forward.
func (r *replay) backwards(rv uint64) {
	rv = min(rv, r.model.rv)
	o := r.object(r.number(), 0, rv)
	if _, err := r.store.Put(o, rv); err != ErrBackwards {
		r.Fatalf("Put at %d after %d: %v", rv, r.model.rv, err)
	}
	if _, err := r.store.Delete(o.Key, rv); err != ErrBackwards {
		r.Fatalf("Delete at %d after %d: %v", rv, r.model.rv, err)
	}
	if err := r.store.Progress(rv); err != nil && rv == r.model.rv {
		r.Fatalf("Progress to where it is: %v", err)
	}
	if rv > 0 {
		if err := r.store.Progress(rv - 1); err != ErrBackwards {
			r.Fatalf("Progress to %d after %d: %v", rv-1, r.model.rv, err)
		}
	}
}

// replace loads some objects, in order, reversed or with duplicates, at a resource version
// before or behind.
func (r *replay) replace(seed int, shape byte, rv uint64) {
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	last := map[string]*Object{}
	var all, want []*Object
	for n := range len(r.namespaces) * r.names {
		if rng.Uint32()%256 < uint32(shape) {
			all = append(all, r.object(n, byte(rng.Uint32()), rv))
		}
	}
	slices.SortFunc(all, func(a, b *Object) int { return cmp.Compare(a.Key, b.Key) })
	switch seed % 3 {
	case 1:
		slices.Reverse(all)
	case 2:
		for n := range 3 {
			all = append(all, r.object(n, byte(seed), rv))
		}
		rv /= 2
	}
	for _, o := range all {
		last[o.Key] = o
	}
	for _, o := range last {
		want = append(want, o)
	}
	slices.SortFunc(want, func(a, b *Object) int { return cmp.Compare(a.Key, b.Key) })
	r.store.Replace(rv, slices.Values(all))
	r.model.replace(want, rv)
}

func (r *replay) verify(prefixes, from []string) {
	r.Helper()
	newest := r.store.Snapshot()
	validateSnapshot(r, r.store.fanout, newest)
	check(r, newest, &r.model.state, prefixes, from)
	for _, rv := range []uint64{r.model.rv + 1, r.model.rv, r.model.rv - 1, r.model.rv - uint64(r.next())} {
		got, ok := r.store.At(rv)
		want, wanted := r.model.at(rv, r.history)
		if ok != wanted {
			r.Fatalf("At(%d) is %v at %d", rv, ok, r.model.rv)
		}
		if ok {
			check(r, got, &want, prefixes[:1], from[:1])
		}
	}
}

// keep holds the newest snapshot, and looks whether one of the others is still what
// it was.
func (r *replay) keep(prefixes, from []string) {
	r.Helper()
	want := r.model.state
	want.objects = slices.Clone(want.objects)
	r.held = append(r.held, heldSnapshot{r.store.Snapshot(), want})
	h := &r.held[int(r.next())%len(r.held)]
	check(r, h.snapshot, &h.want, prefixes[:1], from)
}

func newReplay(t testing.TB, u universe, f fanout, history int, log []byte) *replay {
	return &replay{TB: t, universe: u, store: newStore(f, history, allIndexes[:2]...), history: history, log: log, model: model{state: state{indexes: allIndexes[:2]}}}
}

// run compares some of what can be asked after every step, as the log says, and all of
// it in the end.
func (r *replay) run() {
	prefixes := []string{"", "a/", "a-b/", "a", "b/", "c/o1", "zz", "\xff"}
	from := []string{"", "a/o1\x00", "b/o2", "b/o20"}
	for len(r.log) > 0 {
		r.step()
		some := int(r.next())
		somePrefix, someFrom := prefixes[some%8:][:1], from[some/8%4:][:1]
		r.verify(somePrefix, someFrom)
		r.keep(somePrefix, someFrom)
	}
	check(r, r.store.Snapshot(), &r.model.state, prefixes, from)
	for i := range r.held {
		check(r, r.held[i].snapshot, &r.held[i].want, prefixes[:2], from[:1])
		validateSnapshot(r, r.store.fanout, r.held[i].snapshot)
	}
}

func randomLog(seed uint64, length int) []byte {
	rng := rand.New(rand.NewPCG(seed, seed))
	log := make([]byte, length)
	for i := range log {
		log[i] = byte(rng.Uint32())
	}
	return log
}

var small = universe{namespaces: []string{"a", "a-b", "b", ""}, names: 12}

func TestStoreAgreesWithModelAfterEveryStep(t *testing.T) {
	for seed := range uint64(40) {
		newReplay(t, small, narrow, 8, randomLog(seed, 800)).run()
	}
}

func TestDeepTreesAgreeWithModel(t *testing.T) {
	u := universe{namespaces: []string{"a", "a-b", "b", "c"}, names: 1000}
	r := newReplay(t, u, narrow, 50, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	verify := func() {
		r.log = randomLog(rng.Uint64(), 1)
		r.verify([]string{"", "b/"}, []string{"", "b/o5"})
	}
	// It grows, is changed all over, and shrinks to nothing.
	for _, phase := range []struct{ steps, puts int }{{4000, 90}, {4000, 50}, {12000, 10}} {
		for i := range phase.steps {
			if rng.IntN(100) < phase.puts {
				r.put(rng.IntN(4000), byte(rng.Uint32()), r.model.rv+1)
			} else if n := len(r.model.objects); n > 0 {
				key := r.model.objects[rng.IntN(n)].Key
				if previous, err := r.store.Delete(key, r.model.rv+1); err != nil || previous != r.model.delete(key, r.model.rv+1) {
					t.Fatalf("Delete(%q): %v, %v", key, previous, err)
				}
			}
			if i%97 == 0 {
				verify()
			}
			r.model.states = r.model.states[max(0, len(r.model.states)-r.history):]
		}
		verify()
	}
}

func TestBulkBuildsOfEverySizeAreWellFormed(t *testing.T) {
	for _, f := range []fanout{narrow, {leaf: 6, inner: 4}, usual} {
		for n := range 600 {
			entries := make([]posting, n)
			for i := range entries {
				entries[i] = posting{value: fmt.Sprintf("%06d", i)}
			}
			if got := validate(t, f, build[posting](f, entries)); !slices.Equal(got, entries) {
				t.Fatalf("%d of %d entries", len(got), n)
			}
		}
	}
}

// FuzzStore replays a log against the model.
func FuzzStore(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(randomLog(seed, 200))
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		if len(log) > 300 {
			t.Skip("no longer logs than can be read")
		}
		newReplay(t, small, narrow, 8, log).run()
	})
}

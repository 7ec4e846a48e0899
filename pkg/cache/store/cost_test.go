package store

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// podIndexes are eight that a cluster's pods can have.
var podIndexes = []Index{
	NameIndex(), OwnerIndex(), FieldIndex(0), FieldIndex(1),
	LabelIndex("app"), LabelIndex("pod-template-hash"), LabelIndex("tier"), LabelIndex("version"),
}

// pod returns one of many pods: 500 a namespace, 50 a deployment, 50 a node, where
// those of a node are of 50 namespaces. Version tells versions of it apart.
func pod(n, version int) *Object {
	deployment := n / 50
	node := n/25_000*500 + n%500
	m := wire.Meta{
		Namespace: fmt.Sprintf("team-%05d", n/500), Name: fmt.Sprintf("service-%03d-7d9c5b8f6d-%05x", deployment%10, (n*7919)&0xfffff),
		UID: fmt.Sprintf("00000000-0000-0000-0000-%012d", n), ResourceVersion: uint64(version),
		Labels: wire.Labels{
			{Key: "app", Value: fmt.Sprintf("service-%d", deployment)}, {Key: "pod-template-hash", Value: fmt.Sprintf("%010x", deployment)},
			{Key: "tier", Value: fmt.Sprintf("tier-%d", n%5)}, {Key: "version", Value: fmt.Sprintf("v%d", n%20)},
		},
		Owners: []string{fmt.Sprintf("00000000-0000-0000-0001-%012d", deployment)},
		Fields: []string{fmt.Sprintf("node-%06d", node), "Running"},
	}
	return NewObject(m, wire.NewBody(nil, -1), 5000)
}

func pods(n int) []*Object {
	all := make([]*Object, n)
	for i := range all {
		all[i] = pod(i, 1)
	}
	slices.SortFunc(all, func(a, b *Object) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return all
}

func storeOf(f fanout, all []*Object, indexes ...Index) *Store {
	s := newStore(f, 1, indexes...)
	s.Replace(1, slices.Values(all))
	return s
}

// nodesOf returns how many objects have a value and how many nodes are looked at to
// find them.
func nodesOf(s *Snapshot, i Index, value string) (objects, nodes int) {
	nodes = s.lookup(i, value, "", "", func(o *Object) bool {
		objects++
		return true
	})
	return objects, nodes
}

func TestLookupCostsWhatItFindsNotWhatThereIs(t *testing.T) {
	indexes := podIndexes[:5]
	few, many := storeOf(usual, pods(50_000), indexes...).Snapshot(), storeOf(usual, pods(200_000), indexes...).Snapshot()
	for _, test := range []struct {
		index Index
		value string
		// most is for 50 objects: scattered ones need a way from somewhere near the root to a
		// leaf each, neighbours one way and a leaf or two.
		most int
	}{
		{FieldIndex(0), "node-000003", 50*3 + 10},
		{OwnerIndex(), "00000000-0000-0000-0001-000000000007", 15},
		{LabelIndex("app"), "service-7", 15},
		{NameIndex(), few.Get(pod(77, 1).Key).Name, 10},
	} {
		found, nodes := nodesOf(few, test.index, test.value)
		foundOfMany, nodesOfMany := nodesOf(many, test.index, test.value)
		t.Logf("%v=%s: %d nodes for %d, %d nodes for %d", test.index, test.value, nodes, found, nodesOfMany, foundOfMany)
		if found == 0 || found > 50 {
			t.Errorf("%v=%s finds %d", test.index, test.value, found)
		}
		if nodesOfMany > test.most {
			t.Errorf("%v=%s looks at %d nodes among 200,000", test.index, test.value, nodesOfMany)
		}
	}
}

func TestRangeCostsWhatItVisits(t *testing.T) {
	s := storeOf(usual, pods(200_000)).Snapshot()
	lo, hi := between("", "team-00200/", "team-00200/service-005")
	nodes, n := 0, 0
	s.objects.ascend(lo, hi, &nodes, func(*Object) bool {
		n++
		return n < 50
	})
	if n != 50 || nodes > 8 {
		t.Errorf("%d objects of %d nodes", n, nodes)
	}
}

// allocated returns the bytes that each of n calls allocates.
func allocated(n int, do func(i int)) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range n {
		do(i)
	}
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc-before.TotalAlloc) / n
}

func TestPutAllocatesOneWayFromRootToLeaf(t *testing.T) {
	all := pods(50_000)
	s := storeOf(usual, all, podIndexes...)
	updates := make([]*Object, 2000)
	for i := range updates {
		updates[i] = pod(i*25, 2)
	}
	bytes := allocated(len(updates), func(i int) {
		if _, err := s.Put(updates[i], uint64(i+2)); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d bytes per Put", bytes)
	if bytes > 4096 {
		t.Errorf("Put allocates %d bytes", bytes)
	}
}

func TestReadsAllocateLittle(t *testing.T) {
	s := storeOf(usual, pods(50_000), podIndexes...).Snapshot()
	key := pod(777, 1).Key
	n := 0
	visit := func(*Object) bool {
		n++
		return true
	}
	for name, test := range map[string]struct {
		most float64
		do   func()
	}{
		"Get":   {0, func() { s.Get(key) }},
		"Sum":   {0, func() { s.Sum("team-00002/", "") }},
		"Count": {0, func() { s.Count(FieldIndex(0), "node-000003", "team-00002/") }},
		// The cuts, and the count of nodes.
		"Range":  {3, func() { s.Range("team-00002/", "", visit) }},
		"Lookup": {6, func() { s.Lookup(FieldIndex(0), "node-000003", "", "", visit) }},
	} {
		if got := testing.AllocsPerRun(100, test.do); got > test.most {
			t.Errorf("%s makes %v allocations", name, got)
		}
	}
}

// live returns the bytes in use.
func live() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// memory returns what a store costs per object with and without its indexes, besides
// the objects: after a list, and after churn.
func memory(tb testing.TB, all []*Object, indexes []Index, churn bool) (perObject float64) {
	before := live()
	s := storeOf(usual, all, indexes...)
	if churn {
		// Half of the objects go and come again, all over the trees.
		rv := uint64(1)
		step := len(all)/2 + 1
		for _, put := range []bool{false, true} {
			for i := 0; i < len(all); i += 2 {
				rv++
				o := all[i*step%len(all)]
				var err error
				if !put {
					_, err = s.Delete(o.Key, rv)
				} else if s.Snapshot().Get(o.Key) == nil {
					_, err = s.Put(o, rv)
				}
				if err != nil {
					tb.Fatal(err)
				}
			}
		}
	}
	if s.Snapshot().Len() != len(all) {
		tb.Fatalf("%d objects", s.Snapshot().Len())
	}
	perObject = float64(live()-before) / float64(len(all))
	runtime.KeepAlive(s)
	return perObject
}

func TestTreesAreSmall(t *testing.T) {
	for name, churn := range map[string]bool{"listed": false, "churned": true} {
		all := pods(50_000)
		if churn {
			all = all[:10_000]
		}
		primary := memory(t, all, nil, churn)
		indexed := memory(t, all, podIndexes, churn)
		entry := (indexed - primary) / float64(len(podIndexes))
		t.Logf("%s: %.1f bytes per object, %.1f per index entry, %.1f in all", name, primary, entry, indexed)
		if primary > 60 || entry > 40 {
			t.Errorf("%s: %.1f bytes per object, %.1f per index entry", name, primary, entry)
		}
	}
}

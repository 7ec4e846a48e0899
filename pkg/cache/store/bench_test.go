package store

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// BenchmarkFanout is what usual was chosen by.
func BenchmarkFanout(b *testing.B) {
	all := pods(50_000)
	for _, f := range []fanout{{16, 16}, {32, 16}, {32, 32}, {48, 32}, {64, 16}, {64, 32}, {64, 64}, {96, 32}, {128, 32}, {128, 64}} {
		s := storeOf(f, all, podIndexes...)
		b.Run(fmt.Sprintf("put/leaf=%d/inner=%d", f.leaf, f.inner), func(b *testing.B) { benchmarkPut(b, s, all) })
		b.Run(fmt.Sprintf("get/leaf=%d/inner=%d", f.leaf, f.inner), func(b *testing.B) { benchmarkGet(b, s, all) })
		b.Run(fmt.Sprintf("lookup/leaf=%d/inner=%d", f.leaf, f.inner), func(b *testing.B) { benchmarkLookup(b, s, FieldIndex(0), numbered("node-%06d", 1000)) })
		b.Run(fmt.Sprintf("sum/leaf=%d/inner=%d", f.leaf, f.inner), func(b *testing.B) { benchmarkSum(b, s) })
	}
}

// scattered visits numbers below n in an order that no cache foresees.
func scattered(i, n int) int { return i * 40_503 % n }

func benchmarkPut(b *testing.B, s *Store, all []*Object) {
	b.ReportAllocs()
	rv := s.Snapshot().ResourceVersion()
	versions := slices.Clone(all)
	for i := range versions {
		version := *versions[i]
		versions[i] = &version
	}
	for i := 0; b.Loop(); i++ {
		rv++
		if _, err := s.Put(versions[scattered(i, len(versions))], rv); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut is for an update that changes nothing that is indexed by eight indexes.
func BenchmarkPut(b *testing.B) {
	all := pods(50_000)
	benchmarkPut(b, storeOf(usual, all, podIndexes...), all)
}

// BenchmarkPutMillion is the same among a million, without indexes.
func BenchmarkPutMillion(b *testing.B) {
	all := pods(1_000_000)
	benchmarkPut(b, storeOf(usual, all), all)
}

// BenchmarkPutIndexChange changes one of eight values.
func BenchmarkPutIndexChange(b *testing.B) {
	all := pods(50_000)
	s := storeOf(usual, all, podIndexes...)
	b.ReportAllocs()
	fields := [][]string{{"node-000001", "Running"}, {"node-000002", "Running"}}
	rv := uint64(1)
	for i := 0; b.Loop(); i++ {
		rv++
		n := scattered(i, len(all))
		version := *all[n]
		version.Fields = fields[i/len(all)%2]
		if _, err := s.Put(&version, rv); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDeleteAndPut deletes an object with eight indexes, and adds it again.
func BenchmarkDeleteAndPut(b *testing.B) {
	all := pods(50_000)
	s := storeOf(usual, all, podIndexes...)
	b.ReportAllocs()
	rv := uint64(1)
	for i := 0; b.Loop(); i++ {
		o := all[scattered(i, len(all))]
		if _, err := s.Delete(o.Key, rv+1); err != nil {
			b.Fatal(err)
		}
		rv += 2
		if _, err := s.Put(o, rv); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkGet(b *testing.B, s *Store, all []*Object) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o := all[scattered(i, len(all))]
		if s.Snapshot().Get(o.Key) == nil {
			b.Fatal(o.Key)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	all := pods(50_000)
	benchmarkGet(b, storeOf(usual, all), all)
}

func BenchmarkGetMillion(b *testing.B) {
	all := pods(1_000_000)
	benchmarkGet(b, storeOf(usual, all), all)
}

// numbered returns n values in an order that no cache foresees.
func numbered(format string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf(format, scattered(i, n))
	}
	return values
}

func benchmarkLookup(b *testing.B, s *Store, index Index, values []string) {
	b.ReportAllocs()
	n := 0
	visit := func(*Object) bool {
		n++
		return true
	}
	runtime.GC()
	i := 0
	for ; b.Loop(); i++ {
		s.Snapshot().Lookup(index, values[i%len(values)], "", "", visit)
	}
	b.ReportMetric(float64(n)/float64(i), "objects/op")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/object")
}

// lookups find the 50 objects of a node, scattered over namespaces, the 50 of a
// deployment, which are neighbours, every fifth, and all.
var lookups = []struct {
	name   string
	index  Index
	values []string
}{
	{"scattered", FieldIndex(0), numbered("node-%06d", 1000)},
	{"neighbours", LabelIndex("app"), numbered("service-%d", 1000)},
	{"fifth", LabelIndex("tier"), numbered("tier-%d", 5)},
	{"all", FieldIndex(1), []string{"Running"}},
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{50_000, 200_000} {
		s := storeOf(usual, pods(n), podIndexes...)
		for _, l := range lookups {
			b.Run(fmt.Sprintf("%s/of=%d", l.name, n), func(b *testing.B) { benchmarkLookup(b, s, l.index, l.values) })
		}
	}
}

// BenchmarkLookupByGet is BenchmarkLookup with every key looked up from the root: what
// finger is better than.
func BenchmarkLookupByGet(b *testing.B) {
	s := storeOf(usual, pods(50_000), podIndexes...).Snapshot()
	for _, l := range lookups {
		at := slices.Index(s.indexes, l.index)
		b.Run(l.name, func(b *testing.B) {
			n := 0
			runtime.GC()
			for i := 0; b.Loop(); i++ {
				lo, hi := between(l.values[i%len(l.values)], "", "")
				s.postings[at].ascend(lo, hi, new(int), func(p posting) bool {
					n++
					return s.Get(p.key) != nil
				})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/object")
		})
	}
}

// BenchmarkFilter is what lookups of every fifth and of all compete with: to visit all, and look.
func BenchmarkFilter(b *testing.B) {
	s := storeOf(usual, pods(50_000), podIndexes...).Snapshot()
	n := 0
	for b.Loop() {
		s.Range("", "", func(o *Object) bool {
			if o.Labels.Get("tier") == "tier-3" {
				n++
			}
			return true
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50_000, "ns/object")
}

// BenchmarkRange visits all, and reports the time for each.
func BenchmarkRange(b *testing.B) {
	s := storeOf(usual, pods(50_000)).Snapshot()
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		s.Range("", "", func(o *Object) bool {
			size += o.ItemSize
			return true
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50_000, "ns/object")
}

func benchmarkSum(b *testing.B, s *Store) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if s.Snapshot().Sum(prefixes[i%len(prefixes)], "").Objects != 500 {
			b.Fatal("another namespace")
		}
	}
}

var prefixes = []string{"team-00001/", "team-00042/", "team-00017/", "team-00099/"}

func BenchmarkSum(b *testing.B) { benchmarkSum(b, storeOf(usual, pods(50_000))) }

func BenchmarkCount(b *testing.B) {
	s := storeOf(usual, pods(50_000), podIndexes...).Snapshot()
	b.ReportAllocs()
	for b.Loop() {
		if s.Count(LabelIndex("tier"), "tier-3", "") != 10_000 {
			b.Fatal("another count")
		}
	}
}

func benchmarkReplace(b *testing.B, n int, indexes ...Index) {
	all := pods(n)
	b.ReportAllocs()
	s := New(1, indexes...)
	for b.Loop() {
		s.Replace(1, slices.Values(all))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/object")
}

func BenchmarkReplace(b *testing.B)        { benchmarkReplace(b, 50_000) }
func BenchmarkReplaceIndexed(b *testing.B) { benchmarkReplace(b, 50_000, podIndexes...) }
func BenchmarkReplaceMillion(b *testing.B) { benchmarkReplace(b, 1_000_000) }

// BenchmarkAddIndex builds one of many values, and one with a value for each object.
func BenchmarkAddIndex(b *testing.B) {
	s := storeOf(usual, pods(200_000))
	for _, index := range []Index{FieldIndex(0), FieldIndex(1), NameIndex()} {
		b.Run(index.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.AddIndex(index)
				s.RemoveIndex(index)
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s := storeOf(usual, pods(50_000))
	b.ReportAllocs()
	for b.Loop() {
		runtime.KeepAlive(s.Snapshot())
	}
}

// BenchmarkAt finds one of 1,000 states.
func BenchmarkAt(b *testing.B) {
	all := pods(1000)
	s := New(1000)
	s.Replace(1, slices.Values(all))
	for i := range 1000 {
		version := *all[i]
		if _, err := s.Put(&version, uint64(2*i+2)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.At(1001); !ok {
			b.Fatal("not held")
		}
	}
}

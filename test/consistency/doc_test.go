// Package consistency proves that reads answered by the cache are right: strict reads
// are linearizable, lists show exactly what etcd held at their resource version, and
// watches keep the guarantees that etcd and Kubernetes give.
//
// # Design
//
// Two kube-apiservers share an etcd, and three gateways with a cache stand in front
// of them; between each gateway and each apiserver is a relay that can
// break connections or keep bytes back. Writers change objects at the apiservers and
// through the gateways, readers and watchers ask the gateways alone, while faults
// strike (faults_test.go): apiservers are killed and frozen, connections are severed
// and stalled. A stalled connection is the worst of them: the cache's own watch says
// nothing, everything else works, and only a proof can tell that the state is old.
//
// # Method
//
// Everything that clients do and see is noted with the time (record_test.go), and
// judged when it is over against the history of etcd, which the test follows by a
// watch of its own from before the start (history_test.go, etcd_test.go). An object
// is compared as a whole, by a digest of all but its resource version.
//
//   - Registers: objects that hold one value, written by many at once and read one at
//     a time. Their histories are checked with porcupine (register_test.go). A write
//     of which its client does not know what became of it may be applied at any time
//     after it was sent.
//   - Strict reads: each GET and LIST without a resource version, and each initial
//     state of a watch, must be at a resource version that is not below any that
//     somebody had seen, or was told for a write, before it began, and hold what etcd
//     had at that version (reads_test.go).
//   - Watches: what a watcher got, over all times that it was resumed at some gateway
//     from the last event or bookmark, is compared with what etcd's history is to its
//     selector. What does not hold is named: ordered, unique, reliable, resumable,
//     bookmarkable, filtered, genuine (guarantees_test.go).
//
// The checks are tested with histories made by hand, and as a whole: a gateway built
// with the proof of strict reads left out must fail (skipped_test.go).
//
// A run proves nothing where the cache does not answer, so it fails with fewer than
// a hundred strict reads answered by it. Faults follow a seed that the test logs;
// ASI_SEED=N gives the same again. With ASI_SOAK=1 it lasts ten minutes.
package consistency

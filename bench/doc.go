// Command bench measures the gateway beside what a user would use instead, all
// contestants in one run on one machine, in turn:
//
//	go run ./bench forward    cost of forwarding a small GET, and writes
//	go run ./bench watches    memory and goroutines of idle watches
//	go run ./bench cache      reads that are answered from memory
//	go run ./bench scale      how these grow with pods, namespaces, watchers and rules
//	go run ./bench day        a cluster of 10,000 nodes in miniature, with rogue clients
//
// The figure that counts is the CPU time of the serving process per request,
// read from /proc: latency on a shared machine is mostly noise. Rounds of the
// contestants alternate (A B C A B C ...), the medians of the rounds are
// compared, and the result is a ratio: of forwarding, to a bare
// httputil.ReverseProxy; of the cache, to the kube-apiserver asked directly and to
// the floor, a bare net/http server that sends the same bytes (floor.go).
// Figures are written to bench/results.
//
// A scenario (scenario.go) is what all entries do in turn, with the targets that it
// is judged by (judge.go). Pods are written straight to etcd (seed.go): 50,000 of
// them, and changes of them that cost the kube-apiserver nothing but to tell its
// watchers.
package main

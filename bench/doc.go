// Command bench measures the gateway beside what a user would use instead, all
// contestants in one run on one machine, in turn:
//
//	go run ./bench forward    cost of forwarding one small GET
//	go run ./bench watches    memory and goroutines of idle watches
//
// The figure that counts is the CPU time of the serving process per request,
// read from /proc: latency on a shared machine is mostly noise. Rounds of the
// contestants alternate (A B C A B C ...), the medians of the rounds are
// compared, and the ratio to a bare httputil.ReverseProxy is the result.
// Figures are written to bench/results.
package main

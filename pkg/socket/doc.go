// Package socket reads and writes TCP connections without Go's scheduler looking at it.
//
// Package net tells the scheduler of each read and write that a system call begins and
// ends, since system calls can block. Those on its sockets never do: they are
// non-blocking. But with each the runtime's monitor is woken from its sleep, and looks
// every 20 us whether a call lasts, for a millisecond and more; where requests come
// one after another it hardly sleeps. That was 13% of the processor time of a gateway that
// forwards small ones (bench/results/forward-tried.md). A direct connection makes the same
// system calls and does not tell.
//
// What waits is as in package net: the network poller, deadlines, Close. That the monitor
// sleeps longer costs nothing but this: a goroutine that computes without a pause may do
// so until the next timer of the process, not 10 ms, before another one gets its turn.
//
// Builds with the race detector use package net.
package socket

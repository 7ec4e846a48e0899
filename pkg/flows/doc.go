// Package flows remembers what passed through the gateway in the last hour, by
// flow: client name, class, verb, resource, and scope and shape of lists. From it
// people see who asks for what (top), get limits proposed (recommend), and learn
// what limits would have refused before anyone enforces them (simulate).
//
// A flow counts requests second by second, in chunks of a minute that exist only
// while it is active, and keeps latencies and bytes in a histogram of the last
// half to full hour. Memory is bounded: at most maxFlows flows, the rest is
// counted together as one; a flow that was active all hour takes 9 KiB, all of
// them 18 MiB. To count a request is a map lookup and a few atomic additions.
package flows

// Package routing decides which kube-apiserver answers a request, and owns the
// connections to all of them.
//
// Servers stand in groups (UpstreamGroup). A request's Route, found by the same
// index as its limits, names the groups that may serve it in order (table.go).
// It goes to the first group with a healthy server, if the group's limits admit
// it (group.go), and there to one of the servers (pick.go). Servers that say that
// they are not ready, or lose requests, are asked only when no other is left.
// trip.go is one request's way through all that; it ends in one answer, a
// Refused, or ErrUnreachable.
//
// # What is known of a server
//
// Every server is probed at /readyz (probe.go), and every request tells something
// (health.go): a connection that is refused counts at once. That an answer takes
// long says nothing, for a LIST may take 20 s: a server that is frozen or cut off
// is known by its silence. No byte has come from it on any connection for 2.3 s
// while something was waited for, the pings of its probe connection included
// (silence.go). Then all its connections are closed, so that who waits on them
// moves on or learns that there is no answer, within 3 s. Before that, after 1.2 s,
// it gets new requests only if there is no other server for them, and after 1.4 s reads
// that wait for it are taken from it, if another server would take them (move.go).
//
// # What is sent twice
//
// Whatever has not been sent: its connection could not be made, or the server
// refused its stream (which net/http does by itself). Within a budget (budget.go)
// reads: once if they were lost, also if nothing but the headers of an answer has
// come, and whenever they are taken from a silent server. Never a write that may have
// arrived, nor what goes through a tunnel or to a pod.
//
// # Coming back
//
// A server that was away gets its part of the requests little by little, and a
// group its clients, always the same ones first (absence.go). Long-running
// requests stay where they are.
//
// # Too much to do
//
// While even the quickest requests wait in a group's servers, P2 and below are let in
// only as far as they can be answered quickly, the lowest to the lesser part
// (adaptive.go). While servers refuse requests all the same, or take far longer than
// they used to, the lowest priorities are turned away altogether (pressure.go). What
// each of the two is good for is measured in bench/results/overload.md.
//
// # Connections
//
// Connections are sorted into lanes, so that requests of one kind never wait in
// a socket behind another: short requests, bulk lists, watches, upgrades
// (HTTP/1.1 only), and probes. All lanes exist once per credential: identities are
// asserted with one client certificate, the gateway speaks for itself with
// another, and anonymous requests travel without any. A renewed client
// certificate gets new connections; requests under way finish on the old ones. On those
// for short requests a WINDOW_UPDATE travels with the next request (hold.go).
package routing

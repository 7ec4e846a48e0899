// Package proxy is the gateway's HTTP side: listeners, the chain that every
// request walks (chain.go), and the forwarding of bytes to and from a
// kube-apiserver. Engines decide and return values; only this package writes
// HTTP responses and metav1.Status.
//
// Every request under way is held in one registry (flights.go). A single
// sweeper looks at it and ends what must end: a request past its deadline, a
// client that stopped reading, and at shutdown the watches, one after another
// and between two events, so that each client sees a clean end and comes back
// elsewhere. No request needs a timer or a goroutine of its own for that: a
// forwarded watch costs the goroutine that net/http gave it and the one of the
// upstream transport.
//
// Forwarded bytes are never decoded. Headers are rewritten in one pass over the
// request's own map (headers.go): hop-by-hop headers and everything that claims
// an identity go, the authenticated identity is put in their place.
//
// What a handler writes leaves the process in one piece (cork.go): net/http would
// make three packets of a small answer, and of a large one eight for each 64 KiB.
// Deadlines for what is not written cost nothing (lazy.go).
package proxy

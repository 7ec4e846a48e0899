// Package cache answers reads in front of the apiserver, exactly as it would.
//
// For every cached resource and encoding it follows upstream by one watch
// (cache/upstream) into a hub (cache/watch), which holds the objects' bytes
// (cache/store, cache/wire). Cache.Answer is the way of a request through all that:
// each step either goes on or declines with a named reason, and who is declined is
// forwarded. So the cache never says no: whatever would be an error is left to the
// apiserver, and so is everything that is not certain.
//
// # Who may read
//
// Every answer is authorised by the apiserver (SubjectAccessReview, with the
// selectors) before a byte of it is looked for. What was allowed is remembered for
// seconds, and forgotten at once when a role or binding changes (access.go).
//
// # How fresh
//
// A read that names a resource version, or "0", is served from what has been
// reached. A strict one (no resource version) is served once the state has reached
// a revision that upstream has told after the read had arrived (probe.go). Where
// that rarely works, because other resources are written and this one is quiet,
// strict reads are forwarded without a try.
package cache

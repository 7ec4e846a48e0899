// Package cache answers reads in front of the apiserver, exactly as it would.
//
// For every cached resource and encoding it follows upstream by one watch
// (cache/upstream) into a hub (cache/watch), which holds the objects' bytes
// (cache/store, cache/wire). Cache.Answer is the way of a request through all that:
// each step either goes on or declines with a named reason, and who is declined is
// forwarded. So the cache never says no: whatever would be an error is left to the
// apiserver, and so is everything that is not certain.
//
// What is cached is said by CachedResources and can change at any time (Update): the
// set is published as a whole, and what goes out of it ends its watches between two
// events. Custom resources are as their CustomResourceDefinition says, and begin anew
// when that changes (definitions.go).
//
// # How fresh
//
// A read that names a resource version, or "0", is served from what has been
// reached. A strict one (no resource version) is served once there is a proof that
// the state holds everything that was acknowledged before the read arrived
// (proof.go): it has reached a revision that upstream has told since (probe.go); or,
// where other resources are written and this one is quiet, a second watch has shown
// that nothing is missing (fence.go). The latter takes a second, so it is for watches
// that begin with the state, for huge lists, and for storms. Of other lists upstream
// tells the outline, which objects they hold at which versions, and the state the
// objects (outline.go): to encode these is most of what a long list costs an apiserver.
// Small ones and single objects are forwarded, the same lists together, and have a
// fence raised for those to come (lift.go). What a client reads that a limit refuses
// more than it lets pass waits for a fence, too: its reads cost the apiserver next to
// nothing, and nobody else waits for them.
// Many reads share a proof, none is older than the read (together.go). Clients of a
// class with Relaxed reads get what was proved up to maxStaleness ago, but never from
// before their own last write (freshness.go).
//
// # Who may read
//
// The apiserver says, by a SubjectAccessReview with the selectors, before a byte of
// the answer is looked for (access.go): once for all who ask the same, and for a list
// with a selector first whether its user may have all of it. That is remembered while
// roles and bindings are followed, and forgotten when one changes (revocations.go);
// what a node may read because of the pods on it is asked for again soon, and so is all
// while changes of roles are not followed. Of a read that is going to be forwarded anyway
// nobody is asked, and for who may not read nothing is begun to be held.
//
// # When upstream is gone
//
// What may be stale is served on, with a Warning, as long as permissions hold that
// nobody can be asked about (--outage-auth-ttl); strict reads are forwarded and fail,
// unless a ServeStale switch is on. A state is never replaced by one from before it,
// so nobody sees time go backwards when upstream is there again.
//
// # When the cache is wrong
//
// It is not, but now and then it is compared with upstream byte by byte, and dropped
// if it differs (check.go). So it is when upstream's data cannot be understood, goes
// backwards, or does not fit into memory (budget.go). The history of changes makes room
// first, and what is read anew takes the place of what there was, if both do not fit.
package cache

// Package limiter decides whether a request may pass by the RateLimits that
// match it. It is pure decisions: no HTTP, and no I/O but to the shared
// counters.
//
// Update compiles RateLimits into an immutable snapshot: two request.Indexes,
// one for rules that can be decided before authentication and one for the rest.
// What a rule has counted (its state: buckets, counters) outlives snapshots. Admit
// finds the rules that match and takes a token and a slot from one bucket of
// each; if one refuses, everything taken goes back, also what an earlier phase
// took. A Ticket remembers what was taken.
//
// A bucket is a golang.org/x/time/rate.Limiter that is only ever shown a time
// that does not go back (bucket.go). A rule with `per` has a bounded number of
// buckets; one is forgotten only when that changes nothing, and requests for
// which there is no place share an overflow bucket (keyed.go).
//
// # Global limits
//
// The tokens of a rule with scope Global are in Redis, one hash per bucket,
// changed only by a Lua script that reads Redis' own clock. A replica leases
// tokens in small batches, spends them by itself, and is told when to ask again
// if there are none: no refusal needs the network, and an admission waits for it
// (at most maxWait) only when the replica has nothing leased. A leased token is
// gone from Redis, so since any start the replicas together admit at most
//
//	rate * t + burst
//
// and within a shorter window at most what is leased at its start (an eighth of
// the burst per replica, given back after a second without requests) more.
// Leases of a replica that dies are lost, never doubled.
//
// Calls are never repeated, and carry a deadline in Redis' time: one that a
// frozen Redis finds in its socket later on does nothing. A bucket that Redis does not
// have starts with what has flowed in since the epoch, which is when Redis' memory
// began, and never with more than has flowed in since this replica last saw it:
// a Redis that starts empty, or with an old snapshot, gives no burst. (It must
// not evict keys: maxmemory-policy noeviction. Its clock is trusted.)
//
// # Redis away
//
// After a failed or slow call (callTimeout) a replica stops asking, and a probe
// every probeInterval tells when Redis is back. Meanwhile, with failurePolicy
// Share, every bucket gets rate/N and burst/N of its own, N being the highest
// number of replicas with a heartbeat in Redis that was seen in the last
// replicaTTL. (Until a frozen Redis is given up, requests that need a lease wait
// for maxWait and are then refused.) These buckets start empty, and the first replica to come back voids
// what has flowed into Redis' bucket since its last lease before: that has been
// spent here. A replica that comes back later owes what it has spent since the
// last probe in vain, for Redis can have been back by then, and Redis' bucket
// goes below zero by that. So as long as N is right and all replicas lose Redis
// together, k outages add nothing in the end, and on the way at most
//
//	rate * t + burst + k * rate * (N-1)/N * (probeInterval + callTimeout)
//
// A replica that is alone in not reaching Redis adds rate/N while that lasts, and
// one that has never reached it takes N for 1. What is voided and was not spent
// is lost: after an outage a bucket fills anew.
package limiter

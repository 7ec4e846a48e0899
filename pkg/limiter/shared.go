package limiter

import (
	"context"
	"errors"
	"time"
)

// Shared are counters that several replicas have in common. Calls must not be
// repeated: a lease that is applied twice is lost. Errors mean that nothing is
// known about what has been applied. A Beat must not fail for what has happened
// to a connection before it: that it fails tells that nobody is served now.
type Shared interface {
	// Lease takes tokens out of buckets.
	Lease(ctx context.Context, requests []LeaseRequest) ([]LeaseResult, error)
	// GiveBack puts tokens back into buckets, as far as they fit.
	GiveBack(ctx context.Context, leases []LeaseRequest) error
	// Beat tells that a replica is there, and returns how many are and the time, in
	// microseconds.
	Beat(ctx context.Context, replica string) (replicas int, now int64, err error)
	// Leave takes it back.
	Leave(ctx context.Context, replica string) error
}

// LeaseRequest asks for tokens of a bucket. Durations are before the call.
type LeaseRequest struct {
	Key string
	// Tokens is how many are wanted, or given back.
	Tokens int
	Rate   float64
	Burst  int
	// Age is for how long these limits have been in force, before which it was the
	// previous ones.
	Age           time.Duration
	PreviousRate  float64
	PreviousBurst int
	// Deadline is the time of the counters, in microseconds, after which the call
	// must have no effect.
	Deadline int64
	// Seen is the time of the counters at which this replica last got an answer for
	// the bucket: a state older than that is not to be believed.
	Seen int64
	// Outage tells that the replica has been without the counters since its last
	// lease: from OutageFrom until OutageTo; Failed is when the last call in vain
	// was made. If nobody has leased from the bucket since Failed, nobody was back
	// before: nothing flows in from OutageFrom to OutageTo, for that has been spent
	// by the replicas' shares. Else Owed is taken out.
	Outage                       bool
	OutageFrom, Failed, OutageTo time.Duration
	Owed                         int
	// Debt is taken out in any case.
	Debt int
}

// LeaseResult is what was granted.
type LeaseResult struct {
	Tokens int
	// Wait is the time until there is another token, if fewer were granted than
	// asked for.
	Wait time.Duration
	// Now is the time of the counters, in microseconds.
	Now int64
}

// errLate is an answer to a call that came after its deadline.
var errLate = errors.New("the call was late")

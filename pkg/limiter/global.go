package limiter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
)

const (
	// callTimeout is how long a call to the shared counters may take before they
	// are taken for gone.
	callTimeout = 200 * time.Millisecond
	// deadlineSlack is for what is not known about Redis' time.
	deadlineSlack = 50 * time.Millisecond
	// probeInterval is how often they are asked whether they are back.
	probeInterval = 250 * time.Millisecond
	// heartbeatInterval is how often a replica tells that it is there.
	heartbeatInterval = time.Second
	// replicaTTL is how long it counts without a heartbeat.
	replicaTTL = 10 * time.Second

	// maxWait bounds how long a decision waits for a lease.
	maxWait = 50 * time.Millisecond
	// leaseAhead is for how much of its recent demand a replica leases.
	leaseAhead = 30 * time.Millisecond
	// leaseShare is the part of the burst that one lease may have, so that what lies
	// idle at one replica is not missed much by the others.
	leaseShare = 8
	// minPace is how long after a lease that was not met in full the next one is
	// asked for: at high rates a token is there again at once, but one call for each
	// would be thousands per second.
	minPace = 10 * time.Millisecond
	// sweepInterval is how often leases that nobody needs are given back.
	sweepInterval = time.Second

	// leaseWorkers, leaseBatch and leaseQueue bound the calls under way.
	leaseWorkers = 2
	leaseBatch   = 64
	leaseQueue   = 4096
	// rememberedOutages is how many outages a bucket can miss without being
	// asked for.
	rememberedOutages = 64
)

// status is what is known about the counters. It is immutable.
type status struct {
	away bool
	// outage numbers the times of being away; the first one ends with the first
	// contact. It began with the last contact before, was noticed at noticed,
	// the last call in vain was made at failed, and it ended at to.
	outage                    uint64
	from, noticed, failed, to time.Time
	// probe numbers the probes.
	probe uint64
	// replicas is how many replicas share the counters as far as is known, at
	// least 1. It has been confirmed at that time.
	replicas  int
	confirmed time.Time
}

// global keeps a replica's leases.
type global struct {
	shared  Shared
	clock   clock.WithTicker
	replica string
	log     *zap.Logger

	status atomic.Pointer[status]
	asks   chan *bucket

	// mu guards what follows, and changes of status.
	mu sync.Mutex
	// contact is when the last call that was answered had been sent.
	contact time.Time
	// starts are the beginnings of the last outages, by number.
	starts [rememberedOutages]time.Time
	// offset is the counters' time minus local time, in microseconds, at the least;
	// since is what local time counts from.
	offset int64
	synced bool
	since  time.Time

	holdersMu sync.Mutex
	// holders are buckets that may have leased tokens.
	holders []*bucket
}

func newGlobal(shared Shared, clock clock.WithTicker, replica string, log *zap.Logger) *global {
	now := clock.Now()
	g := &global{shared: shared, clock: clock, replica: replica, log: log, asks: make(chan *bucket, leaseQueue), contact: now, since: now}
	g.starts[1] = now
	g.status.Store(&status{away: true, outage: 1, from: now, noticed: now, failed: now, replicas: 1})
	return g
}

func (g *global) key(rule, suffix string) string {
	if suffix == "" {
		return rule
	}
	return rule + "/" + suffix // no name of an object has a slash
}

// run keeps leases until ctx ends, and then gives them back.
func (g *global) run(ctx context.Context) {
	workers, ctx := errgroup.WithContext(ctx)
	for range leaseWorkers {
		workers.Go(func() error { g.work(ctx); return nil })
	}
	workers.Go(func() error { g.beats(ctx); return nil })
	workers.Go(func() error {
		ticker := g.clock.NewTicker(sweepInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C():
				g.sweep(ctx, false)
			}
		}
	})
	_ = workers.Wait() // none of them fails
	// Decisions from now on are by share, as nobody asks any more.
	ctx = context.WithoutCancel(ctx)
	g.sweep(ctx, true)
	g.lost(g.clock.Now(), nil)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := g.shared.Leave(ctx, g.replica); err != nil {
		g.log.Info("Other replicas will count this one for a while", zap.Error(err), zap.Duration("while", replicaTTL))
	}
}

// work makes the calls that buckets ask for.
func (g *global) work(ctx context.Context) {
	batch := make([]*bucket, 0, leaseBatch)
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-g.asks:
			batch = append(batch[:0], b)
		}
	more:
		for len(batch) < leaseBatch {
			select {
			case b := <-g.asks:
				batch = append(batch, b)
			default:
				break more
			}
		}
		g.leaseAll(ctx, batch)
	}
}

func (g *global) leaseAll(ctx context.Context, batch []*bucket) {
	st := g.status.Load()
	now := g.clock.Now()
	requests := make([]LeaseRequest, len(batch))
	for i, b := range batch {
		requests[i] = b.leaseRequest(g, st, now)
		requests[i].Deadline = g.deadline(now)
	}
	var results []LeaseResult
	err := errAway
	if !st.away {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		results, err = g.shared.Lease(callCtx, requests)
		cancel()
		if err != nil && ctx.Err() == nil {
			g.lost(now, err)
		}
	}
	end := g.clock.Now()
	for i, b := range batch {
		var result LeaseResult
		if err == nil {
			result = results[i]
			g.heard(now, end, result.Now)
		}
		b.leaseDone(st, requests[i], result, err, end)
	}
}

// errAway is for calls that are not made.
var errAway = errors.New("the shared counters are away")

// sweep gives back leased tokens that exceed what the last interval has needed.
func (g *global) sweep(ctx context.Context, all bool) {
	if g.status.Load().away {
		return
	}
	g.holdersMu.Lock()
	holders := g.holders
	g.holders = nil
	g.holdersMu.Unlock()

	now := g.clock.Now()
	var back []LeaseRequest
	kept := holders[:0]
	for _, b := range holders {
		b.mu.Lock()
		le := b.lease
		keep := min(le.pool, le.recent)
		if all {
			keep = 0
		}
		if n := le.pool - keep; n > 0 {
			back = append(back, LeaseRequest{Key: le.key, Tokens: n, Burst: b.limits.room(), Deadline: g.deadline(now)})
		}
		le.pool, le.recent = keep, 0
		if le.held = keep > 0; le.held {
			kept = append(kept, b)
		}
		b.mu.Unlock()
	}
	g.holdersMu.Lock()
	g.holders = append(g.holders, kept...)
	g.holdersMu.Unlock()
	for len(back) > 0 {
		n := min(len(back), leaseBatch)
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		// What fails to get back is lost: giving back twice would make tokens.
		err := g.shared.GiveBack(ctx, back[:n])
		cancel()
		if err != nil {
			g.lost(now, err)
			return
		}
		back = back[n:]
	}
}

// beats tells that this replica is there, and finds out whether the counters
// are.
func (g *global) beats(ctx context.Context) {
	for {
		g.probe(ctx)
		interval := heartbeatInterval
		if g.status.Load().away {
			interval = probeInterval
		}
		// A replica whose workers lose the counters between two heartbeats probes at
		// the next one at the latest; look as often as for probes.
		next := g.clock.Now().Add(interval)
		for g.clock.Now().Before(next) {
			timer := g.clock.NewTimer(probeInterval)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C():
			}
			if g.status.Load().away {
				break
			}
		}
	}
}

func (g *global) probe(ctx context.Context) {
	now := g.clock.Now()
	g.change(func(st *status) { st.probe++ })
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	replicas, theirs, err := g.shared.Beat(callCtx, g.replica)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		g.lost(now, err)
	default:
		end := g.clock.Now()
		g.heard(now, end, theirs)
		g.found(replicas, end)
	}
}

// change publishes a changed copy of the status.
func (g *global) change(do func(*status)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st := *g.status.Load()
	do(&st)
	g.status.Store(&st)
}

// heard notes an answer to a call from start to end.
func (g *global) heard(start, end time.Time, theirs int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if start.After(g.contact) {
		g.contact = start
	}
	offset := theirs - end.Sub(g.since).Microseconds()
	// An answer takes time, so every offset is too small, and the largest the best,
	// but for clocks that drift (by up to 1 ms a call) or are set.
	if drift := g.offset - offset; !g.synced || drift < 0 || drift > time.Second.Microseconds() {
		g.offset, g.synced = offset, true
	} else {
		g.offset -= min(drift, 10)
	}
}

// deadline returns the counters' time at which a call that is made now is given
// up.
func (g *global) deadline(now time.Time) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.offset + (now.Sub(g.since) + callTimeout + deadlineSlack).Microseconds()
}

// outagesSince returns when the outage of that number began.
func (g *global) outagesSince(number uint64) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.status.Load().outage
	if last >= rememberedOutages {
		number = max(number, last-rememberedOutages+1)
	}
	return g.starts[number%rememberedOutages]
}

// lost notes that a call made at start was in vain, and begins an outage unless
// there is one. Without an error it is the end of Run.
func (g *global) lost(start time.Time, err error) {
	g.change(func(st *status) {
		if !st.away && start.Before(st.to) {
			return // the end of a call that was made in the last outage
		}
		if start.After(st.failed) {
			st.failed = start
		}
		if st.away {
			return
		}
		st.away, st.from, st.noticed = true, g.contact, g.clock.Now()
		st.outage++
		g.starts[st.outage%rememberedOutages] = g.contact
		if err != nil {
			g.log.Warn("The shared counters of Global limits cannot be reached; their failure policies apply", zap.Error(err), zap.Int("replicas", st.replicas))
		}
	})
}

// found ends an outage, if there is one.
func (g *global) found(replicas int, now time.Time) {
	g.change(func(st *status) {
		if st.away {
			// A Redis that has lost its memory learns of the replicas one by one.
			st.confirmed = now
		}
		if replicas >= st.replicas || now.Sub(st.confirmed) > replicaTTL {
			st.replicas, st.confirmed = max(1, replicas), now
		}
		if st.away {
			st.away, st.to = false, now
			g.log.Info("The shared counters of Global limits are in use", zap.Int("replicas", st.replicas))
		}
	})
}

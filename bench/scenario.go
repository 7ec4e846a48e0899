package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// scenario is something that is done with several servers in turn, round by round.
type scenario struct {
	name string
	// per is what figures are for, like "request".
	per string
	// prepare is done once, before all rounds.
	prepare func(ctx context.Context) error
	entries []entry
	checks  []check
	// once has it done in one round only, without another before to warm up.
	once bool
	// cleanup is done behind them.
	cleanup func(ctx context.Context) error
}

// entry is one who takes part in a scenario.
type entry struct {
	name   string
	server server
	// before prepares a turn and returns what ends it; neither is measured.
	before func(ctx context.Context) (after func(), err error)
	// do is what is measured.
	do func(ctx context.Context) (batch, error)
	// fresh tells that do starts the server's process.
	fresh bool
}

// batch is what was done in a turn.
type batch struct {
	units int
	// wall is the median time that one took, as its client sees it; 0 where nothing
	// was done that takes time.
	wall time.Duration
	// bytes of all bodies together.
	bytes int64
	// memory is resident, in bytes, where that is what is measured.
	memory int64
	// reads and reviews are what the kube-apiserver was asked for meanwhile, where
	// that is what is measured: lists and watches of pods, and access reviews.
	reads, reviews int
	// refused is how often clients were told to come again later, or had a watch end
	// before it had begun.
	refused int
}

// figure is what a unit has cost in a turn.
type figure struct {
	// Wall is the median time of one, as its client sees it; CPU is the serving
	// process's, UpstreamCPU the kube-apiserver's. Microseconds.
	Wall, CPU, UpstreamCPU float64
	// Bytes of a body.
	Bytes float64
	// Memory is resident, in bytes, where that is what is measured.
	Memory float64 `json:",omitempty"`
	// Cached is the share of a gateway's reads that came from its cache.
	Cached float64 `json:",omitempty"`
	// UpstreamReads and UpstreamReviews are how many lists and watches of pods, and
	// access reviews, the kube-apiserver got in the whole turn, where that is what is
	// measured.
	UpstreamReads   float64 `json:",omitempty"`
	UpstreamReviews float64 `json:",omitempty"`
	// Refused is how often clients were told to come again later, or had a watch end
	// before it had begun, in the whole turn.
	Refused float64 `json:",omitempty"`
}

// run measures a scenario.
func (b *cacheBench) run(ctx context.Context, s scenario) (result scenarioReport, err error) {
	result = scenarioReport{Name: s.name, Per: s.per, Rounds: map[string][]figure{}}
	for _, e := range s.entries {
		result.Entries = append(result.Entries, e.name)
	}
	if s.cleanup != nil {
		defer func() { err = errors.Join(err, s.cleanup(ctx)) }()
	}
	if s.prepare != nil {
		if err := s.prepare(ctx); err != nil {
			return result, err
		}
	}
	rounds := b.o.rounds + 1
	if s.once {
		rounds = 1
	}
	for round := range rounds {
		for _, e := range s.entries {
			f, err := b.turn(ctx, e)
			if err != nil {
				return result, fmt.Errorf("%s: %w", e.name, err)
			}
			if round == 0 && !s.once {
				continue // warm-up: connections, caches, heap
			}
			result.Rounds[e.name] = append(result.Rounds[e.name], f)
			fmt.Fprintf(os.Stderr, "round %d/%d %s: %s: %.3f ms, %.1f us CPU, %.0f bytes, %.1f MB, cached %.2f\n",
				round, b.o.rounds, s.name, e.name, f.Wall/1000, f.CPU, f.Bytes, f.Memory/1e6, f.Cached)
		}
	}
	for _, c := range s.checks {
		result.Checks = append(result.Checks, c.judge(result.Rounds))
	}
	if b.o.profiles == "" {
		return result, nil
	}
	for _, e := range s.entries {
		if e.server.ops == "" || e.fresh {
			continue
		}
		if err := b.profile(ctx, s, e); err != nil {
			return result, fmt.Errorf("profile of %s: %w", e.name, err)
		}
	}
	return result, nil
}

// turn has one do its part, and reads what it cost.
func (b *cacheBench) turn(ctx context.Context, e entry) (figure, error) {
	if e.before != nil {
		after, err := e.before(ctx)
		if err != nil {
			return figure{}, err
		}
		defer after()
	}
	// Being asked for metrics costs a gateway more than a small read, so that is
	// done outside of what is measured.
	var before, after gauges
	var err error
	if !e.fresh {
		if err := before.countReads(ctx, e.server); err != nil {
			return figure{}, err
		}
	}
	if err := b.settle(ctx); err != nil {
		return figure{}, err
	}
	if before.upstream, err = cpuTime(b.direct.pid()); err != nil {
		return figure{}, err
	}
	if !e.fresh {
		if before.cpu, err = cpuTime(e.server.pid()); err != nil {
			return figure{}, err
		}
	}
	done, err := e.do(ctx)
	if err != nil {
		return figure{}, err
	}
	if after.cpu, err = cpuTime(e.server.pid()); err != nil {
		return figure{}, err
	}
	if after.upstream, err = cpuTime(b.direct.pid()); err != nil {
		return figure{}, err
	}
	if err := after.countReads(ctx, e.server); err != nil {
		return figure{}, err
	}
	return figureOf(done, before, after), nil
}

// gauges are counters of processes.
type gauges struct {
	cpu, upstream time.Duration
	// reads of cached resources that a gateway has got, and those of them that it
	// has answered itself.
	reads, hits float64
}

// countReads reads the counters of a gateway, and nothing of others.
func (g *gauges) countReads(ctx context.Context, s server) error {
	if s.ops == "" {
		return nil
	}
	text, err := fetch(ctx, s.ops+"/metrics")
	g.reads = sumOf(text, "asi_gateway_cache_reads_total")
	g.hits = sumOf(text, "asi_gateway_cache_reads_total", label("reason", "Hit"))
	return err
}

func figureOf(done batch, before, after gauges) figure {
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(done.units) }
	f := figure{
		Bytes: float64(done.bytes) / float64(done.units), Memory: float64(done.memory),
		UpstreamReads: float64(done.reads), UpstreamReviews: float64(done.reviews), Refused: float64(done.refused),
	}
	if done.wall > 0 {
		f.Wall, f.CPU, f.UpstreamCPU = float64(done.wall.Nanoseconds())/1000, each(after.cpu-before.cpu), each(after.upstream-before.upstream)
	}
	if reads := after.reads - before.reads; reads > 0 {
		f.Cached = (after.hits - before.hits) / reads
	}
	return f
}

const (
	// settlePoll is how long processes are looked at; they are quiet when they
	// use less than a twentieth of a processor meanwhile.
	settlePoll = 100 * time.Millisecond
	// settleWait bounds the wait, for one that collects garbage for long.
	settleWait = 5 * time.Second
)

// settle waits until no server is busy with what came before.
func (b *cacheBench) settle(ctx context.Context) error {
	used := func() (total time.Duration, err error) {
		for _, s := range []server{b.direct, b.gateway, b.floor} {
			cpu, err := cpuTime(s.pid())
			if err != nil {
				return 0, err
			}
			total += cpu
		}
		return total, nil
	}
	before, err := used()
	if err != nil {
		return err
	}
	for range settleWait / settlePoll {
		if err := wait(ctx, settlePoll); err != nil {
			return err
		}
		now, err := used()
		if err != nil {
			return err
		}
		if now-before < settlePoll/20 {
			return nil
		}
		before = now
	}
	return nil
}

package routing

import (
	"sync/atomic"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// The figures were chosen by simulation: bench/results/overload.md.
const (
	// adaptiveTick is how often is looked whether a group's servers queue.
	adaptiveTick = 100 * time.Millisecond
	// quickPart of the short requests are the quick ones, by which that is known: at
	// least quickLeast answers of the last staleTicks.
	quickPart  = 0.25
	quickLeast = 20
	staleTicks = 10
	// The quick ones must take queueFactor times what they used to and queueLeast, in
	// queueTicks looks one after another: a server that has stood still for half a
	// second needs no less to catch up.
	queueFactor = 3
	queueLeast  = 50 * time.Millisecond
	queueTicks  = 5
	// stuckLeast under way and hardly an answer is a queue as well.
	stuckLeast = 100
	// limitCut is the least part of the limit that is left by one cut, limitGrowth
	// what is added per tick while servers do not queue, and limitLeast the lowest.
	limitCut    = 0.5
	limitGrowth = 0.03
	limitLeast  = 20
	// vainCuts are how many cuts are made in vain until the limit is lifted, and
	// drainTicks how long is waited for what is under way to come down to it: long lists
	// may have to end.
	vainCuts   = 2
	drainTicks = 100
	// limitUnused times what is under way, a limit is one no more.
	limitUnused = 10
)

// adaptive limits what a group may have under way while its servers queue. Who has
// all processors busy answers no more requests for being sent more of them at once,
// but each of them later. So the limit is cut until the quick requests are quick
// again, and grows until they no longer are: P2 and below, from which parts of it are
// held back, wait outside, and P0 and P1, which it does not bind, find a server without
// a queue.
//
// Only the quickest quarter of the short requests counts. Everything takes longer
// when servers queue; lists of 20 s, and clients whose requests wait for something
// else, leave that quarter as it is.
type adaptive struct {
	took window
	// limit is how many requests may be under way; 0: any number.
	limit atomic.Int64

	// Of the ticking goroutine alone:

	// usual is what the quick requests take without a limit.
	usual time.Duration
	// waited is for how many ticks there were too few answers, slow for how many the
	// quick ones took too long, held for how many no cut will be made.
	waited, slow, held int
	// sinceCut is how many ticks the last cut is ago. Answers are since settled ticks
	// before held is 0, or since the servers began to queue; counted is for how many
	// ticks.
	sinceCut, settled int
	answers, counted  int
	// before is what was answered per tick before the last cut, worst what the quick
	// requests took then, and vain how many cuts in a row have not helped.
	before float64
	worst  time.Duration
	vain   int
}

// answered takes note of a short request.
func (a *adaptive) answered(code int, took time.Duration) {
	// To be refused is quick, however busy the server.
	if code != 429 && code != 503 {
		a.took.add(took)
	}
}

// tick looks at the answers since the last one. InFlight is what the group has under
// way.
func (a *adaptive) tick(inFlight int64) {
	latency, n := a.took.take(quickPart, quickLeast)
	a.count(n)
	switch {
	case n == 0:
		if a.waited++; a.waited >= staleTicks {
			_, n = a.took.take(quickPart, 0)
			if inFlight < stuckLeast {
				// What there is of answers is old, and says nothing.
				a.calm(inFlight)
				return
			}
			// Nothing comes out of servers with so much in them: by Little's law it takes that
			// long.
			a.waited = 0
			a.queueing(time.Second*time.Duration(inFlight)/time.Duration(max(1, n)), inFlight)
		}
		return
	case a.usual == 0 || latency <= a.bound():
		a.calm(inFlight)
		if a.limit.Load() == 0 {
			a.follow(latency)
		}
		return
	}
	a.waited = 0
	if a.slow++; a.slow >= queueTicks {
		a.queueing(latency, inFlight)
	}
}

// count counts answers, but for those to what was under way at the last cut.
func (a *adaptive) count(n int) {
	a.sinceCut++
	a.held = max(0, a.held-1)
	if a.held >= a.settled && a.held > 0 {
		a.answers, a.counted = 0, 0
		return
	}
	a.answers += n
	a.counted++
}

// bound is what the quick requests may take.
func (a *adaptive) bound() time.Duration { return max(queueLeast, queueFactor*a.usual) }

// follow notes what is usual: soon if it is less than before, and slowly if it is
// more, so that servers that get slower and slower are noticed.
func (a *adaptive) follow(latency time.Duration) {
	switch {
	case a.usual == 0:
		a.usual = latency
	case latency < a.usual:
		a.usual += (latency - a.usual) / 20
	default:
		a.usual += (latency - a.usual) / 600
	}
	// 0 stands for what is not known.
	a.usual = max(1, a.usual)
}

// calm lets more in.
func (a *adaptive) calm(inFlight int64) {
	a.waited, a.slow, a.vain, a.answers, a.counted = 0, 0, 0, 0, 0
	limit := a.limit.Load()
	if limit == 0 {
		return
	}
	if limit += 1 + int64(limitGrowth*float64(limit)); limit > limitUnused*max(inFlight, limitLeast) {
		limit = 0
	}
	a.limit.Store(limit)
}

// queueing lets less in, if what the last cut has done can be seen.
func (a *adaptive) queueing(latency time.Duration, inFlight int64) {
	limit := a.limit.Load()
	if limit > 0 {
		draining := inFlight > limit+limit/10
		if a.held > 0 || (draining && a.sinceCut < drainTicks) {
			return
		}
	}
	answered := float64(a.answers) / float64(max(1, a.counted))
	switch {
	case limit == 0:
		a.vain = 0
	case latency < a.worst*9/10 || answered > a.before*7/10:
		a.vain = 0
	default:
		// Less is answered, as slowly: there is no queue that has become shorter.
		if a.vain++; a.vain == vainCuts {
			// The load is not the reason. That is how it is now.
			a.calm(inFlight)
			a.limit.Store(0)
			a.usual = latency
			return
		}
	}
	if a.vain == 0 {
		a.before, a.worst = answered, latency
	}
	// Latency is in proportion to what is under way. The lowest priority, which fills
	// the limit no further than to its part, is to feel the first cut.
	_, heldBack := reserved(v1alpha1.PriorityP4)
	most := float64(inFlight) / (1 - heldBack)
	if limit > 0 {
		most = min(most, float64(limit))
	}
	most *= max(limitCut, float64(a.bound())/float64(latency))
	a.limit.Store(max(limitLeast, int64(most)))
	// Others take four times what the quick ones take.
	a.held = int(min(3*time.Second, 4*latency)/adaptiveTick) + 1
	a.settled, a.sinceCut, a.answers, a.counted = a.held/2, 0, 0, 0
}

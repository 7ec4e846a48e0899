package consistency

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// restartTimeout is for an apiserver on a machine that has a lot to do.
const restartTimeout = 2 * time.Minute

// fault is something that goes wrong while clients work. Most is after how many reads
// and writes it is mended at the latest.
type fault struct {
	name   string
	most   int64
	strike func(*testing.T, *env, *rand.Rand) (mend func(*testing.T))
}

// faults are all of them. Only one apiserver at a time is struck.
var faults = []fault{
	{"killed", 200, kill},
	// It takes 3 s for a gateway to notice, about 400 reads and writes.
	{"frozen", 600, freeze},
	{"severed", 200, sever},
	{"stalled", 400, stallSome},
}

// kill ends an apiserver at once (SIGKILL).
func kill(t *testing.T, e *env, random *rand.Rand) func(*testing.T) {
	p := e.victim(random)
	must(t, p.Kill())
	return func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), restartTimeout)
		defer cancel()
		must(t, p.Start(ctx))
	}
}

// freeze stops an apiserver (SIGSTOP): what it has been sent it does later.
func freeze(t *testing.T, e *env, random *rand.Rand) func(*testing.T) {
	p := e.victim(random)
	must(t, p.Pause())
	thawed := false
	thaw := func(t *testing.T) {
		if thawed {
			return
		}
		thawed = true
		must(t, p.Resume())
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), restartTimeout)
		defer cancel()
		must(t, p.WaitReady(ctx))
	}
	// A test that fails meanwhile has a cluster to close.
	t.Cleanup(func() { thaw(t) })
	return thaw
}

// sever breaks the connections of a gateway, its watches among them.
func sever(_ *testing.T, e *env, random *rand.Rand) func(*testing.T) {
	for _, r := range e.gateways[random.IntN(len(e.gateways))].relays {
		r.Cut()
	}
	return func(*testing.T) {}
}

// stallSome keeps back what comes on about the half of a gateway's connections:
// watches are on others than short requests. Later it goes on, or is lost.
func stallSome(_ *testing.T, e *env, random *rand.Rand) func(*testing.T) {
	return stall(e.gateways[random.IntN(len(e.gateways))], random, 0.5)
}

func stall(g *gateway, random *rand.Rand, part float64) func(*testing.T) {
	for _, r := range g.relays {
		r.Stall(func() bool { return random.Float64() < part })
	}
	return func(*testing.T) {
		lose := random.IntN(2) == 0
		for _, r := range g.relays {
			if lose {
				r.Cut()
			} else {
				r.Release()
			}
		}
	}
}

func (e *env) victim(random *rand.Rand) *cluster.Process {
	servers := []string{"main-0", "main-1"}
	return e.Process(servers[random.IntN(len(servers))])
}

// round has one fault strike, while the registers of a new round are read and
// written, and returns when it is mended.
func (e *env) round(t *testing.T, f fault, random *rand.Rand) {
	t.Helper()
	e.newRegisters(t)
	// Everything has been asked by then, and who may ask is remembered: the cache is
	// used although nobody can be asked.
	const before, behind = 250, 50
	e.record.await(t, before)
	mend := f.strike(t, e, random)
	e.record.await(t, f.most/4+random.Int64N(f.most*3/4))
	mend(t)
	e.record.await(t, behind)
}

// rounds has faults strike, each kind before one comes again, for at least so long
// and each at least once.
func (e *env) rounds(t *testing.T, kinds []fault, random *rand.Rand, atLeast time.Duration) (struck map[string]int) {
	t.Helper()
	struck = map[string]int{}
	for begin := time.Now(); len(struck) < len(kinds) || time.Since(begin) < atLeast; {
		for _, i := range random.Perm(len(kinds)) {
			e.round(t, kinds[i], random)
			struck[kinds[i].name]++
			if len(struck) == len(kinds) && time.Since(begin) >= atLeast {
				break
			}
		}
	}
	return struck
}

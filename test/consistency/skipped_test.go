package consistency

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// skipProof is the build tag of pkg/cache with which strict reads are answered without
// a proof that the state is the newest.
const skipProof = "asi_fault_skip_proof"

// TestReadsWithoutProofAreCaught has a gateway that answers strict reads from
// whatever state it has: what is relied on here to find that out must do so.
func TestReadsWithoutProofAreCaught(t *testing.T) {
	random := fixture.Random(t)
	c, err := theCluster()
	must(t, err)
	binary := build(t, func(ctx context.Context, dir string) (string, error) {
		return fixture.BuildFaultyGateway(ctx, dir, skipProof)
	})
	gateways := startGateways(t, c, binary, "unproved", 1)
	// All connections, so that its own watch is among them for sure.
	stalled := fault{"stalled", 400, func(_ *testing.T, e *env, random *rand.Rand) func(*testing.T) {
		return stall(e.gateways[0], random, 1)
	}}
	// What there is to be found by a read at the right moment comes with luck.
	const rounds = 6
	missing := map[string]error{"registers": errLinear, "lists": errStale, "single objects": errStale}
	for range rounds {
		v := run(t, c, gateways, []fault{stalled}, random, 5*time.Second)
		for what, found := range map[string][]error{"registers": v.registers, "lists": v.lists, "single objects": v.gets} {
			if slices.ContainsFunc(found, func(err error) bool { return errors.Is(err, missing[what]) }) {
				delete(missing, what)
			}
		}
		if len(missing) == 0 {
			return
		}
	}
	for what, kind := range missing {
		t.Errorf("no read of %s was found to be %v in %d rounds", what, kind, rounds)
	}
}

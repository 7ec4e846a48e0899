package consistency

import (
	"context"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	// replicas are the gateways of a run.
	replicas = 3
	// leastAnswered is how many strict reads the cache must have answered for a run to
	// say something of it, leastOutlined how many of them by an outline, leastWatched
	// how many watches.
	leastAnswered, leastOutlined, leastWatched = 100, 10, 20
)

// build compiles a gateway.
func build(t *testing.T, how func(ctx context.Context, dir string) (string, error)) string {
	t.Helper()
	dir, err := suite.Dir()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	binary, err := how(ctx, dir)
	must(t, err)
	return binary
}

// TestReadsAndWatchesAreRightUnderFaults is the whole: registers, lists and watches
// through three gateways.
func TestReadsAndWatchesAreRightUnderFaults(t *testing.T) {
	lasting := 15 * time.Second
	if fixture.Soak() {
		lasting = 10 * time.Minute
	}
	random := fixture.Random(t)
	c, err := theCluster()
	must(t, err)
	gateways := startGateways(t, c, build(t, fixture.BuildGateway), "gateway", replicas)
	v := run(t, c, gateways, faults, random, lasting)
	for _, line := range sample(v.violations()) {
		t.Error(line)
	}
	if v.answered < leastAnswered || v.outlined < leastOutlined || v.watched < leastWatched {
		t.Errorf("the cache has answered %d strict reads, %d by outlines, and %d watches only: nothing is proved of it", v.answered, v.outlined, v.watched)
	}
}

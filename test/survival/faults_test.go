package survival

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// restartTimeout is for an apiserver on a machine that has a lot to do.
const restartTimeout = 2 * time.Minute

// fault is a way in which an apiserver ceases to answer, and comes back.
type fault struct {
	name         string
	strike, mend func(context.Context, *cluster.Process) error
}

var (
	killed = fault{"killed", kill, start}
	frozen = fault{"frozen", freeze, thaw}
	// ended is what an upgrade does: the server closes its port, says GOAWAY on its
	// connections and finishes what it has.
	ended = fault{"ended", end, start}
)

func kill(_ context.Context, p *cluster.Process) error { return p.Kill() }

func freeze(_ context.Context, p *cluster.Process) error { return p.Pause() }

func end(ctx context.Context, p *cluster.Process) error { return p.Stop(ctx) }

func start(ctx context.Context, p *cluster.Process) error { return p.Start(ctx) }

func thaw(ctx context.Context, p *cluster.Process) error {
	if err := p.Resume(); err != nil {
		return err
	}
	return p.WaitReady(ctx)
}

// stricken is a server with what has been done to it.
type stricken struct {
	*cluster.Process
	fault fault
}

func (s stricken) String() string { return s.Name() + " " + s.fault.name }

// strike breaks servers, all at once.
func strike(t *testing.T, victims []stricken) {
	t.Helper()
	atOnce(t, victims, func(ctx context.Context, v stricken) error { return v.fault.strike(ctx, v.Process) })
}

// mend has servers back, and returns when they are ready.
func mend(t *testing.T, victims []stricken) {
	t.Helper()
	atOnce(t, victims, func(ctx context.Context, v stricken) error { return v.fault.mend(ctx, v.Process) })
}

func atOnce(t *testing.T, victims []stricken, do func(context.Context, stricken) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(within(t, restartTimeout))
	for _, v := range victims {
		group.Go(func() error { return do(ctx, v) })
	}
	must(t, group.Wait())
}

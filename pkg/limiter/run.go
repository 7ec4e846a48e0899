package limiter

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Run keeps what decisions need but cannot wait for: leases, heartbeats and
// rates. It returns, without an error, when ctx has ended and all its goroutines
// have. It is to be called once.
func (l *Limiter) Run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	if l.global != nil {
		work.Go(func() error { l.global.run(ctx); return nil })
	}
	work.Go(func() error {
		ticker := l.clock.NewTicker(sampleInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C():
				l.sampleAll(l.clock.Now())
			}
		}
	})
	return work.Wait()
}

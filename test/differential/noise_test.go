package differential

import (
	"context"
	"testing"
	"time"
)

const (
	// noiseInterval is between two writes: many revisions pass while a case runs.
	noiseInterval = 5 * time.Millisecond
	// noiseLease is among the seed's objects.
	noiseLease = "/apis/coordination.k8s.io/v1/namespaces/diff-noise/leases/noise"
)

// startNoise writes all the time to an object that no case reads, until it is
// told to stop. The cluster's own writes (leases, events) come between two
// sides of a case once in many runs; with noise they do in every run, so that a
// revision that nobody masked fails always instead of now and then.
func startNoise(t *testing.T, b *bench) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	writes, done := 0, make(chan error, 1)
	go func() {
		ticker := time.NewTicker(noiseInterval)
		defer ticker.Stop()
		for admin := (seeder{ctx, b}); ; writes++ {
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-ticker.C:
			}
			now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
			_, err := admin.do(patch("application/merge-patch+json", noiseLease, `{"spec":{"renewTime":"`+now+`"}}`))
			if ctx.Err() == nil && err != nil {
				done <- err
				return
			}
		}
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("noise: %v", err)
		}
		t.Logf("%d writes of noise", writes)
	}
}

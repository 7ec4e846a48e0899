package attack

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func escape(s string) string { return url.QueryEscape(s) }

// gauges reads the gateway's metrics, as sums over all labels.
func (s *side) gauges(ctx context.Context) (map[string]float64, error) {
	metrics, err := s.gateway.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for series, value := range metrics {
		name, _, _ := strings.Cut(series, "{")
		values[name] += value
	}
	for _, needed := range []string{inFlight, goroutines, resident} {
		if _, ok := values[needed]; !ok {
			return nil, fmt.Errorf("the gateway has no metric %s", needed)
		}
	}
	return values, nil
}

const (
	inFlight   = "asi_gateway_requests_in_flight"
	goroutines = "go_goroutines"
	resident   = "process_resident_memory_bytes"
)

// watchMemory samples the gateway's resident memory until stop is called, which
// returns by how many MiB it has grown at most.
func (s *side) watchMemory(t *testing.T) (stop func() int) {
	t.Helper()
	before, err := s.gauges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	most := before[resident]
	sample := func(ctx context.Context) {
		if values, err := s.gauges(ctx); err == nil {
			most = max(most, values[resident])
		}
	}
	var sampling sync.WaitGroup
	sampling.Go(func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				sample(ctx)
			}
		}
	})
	return func() int {
		cancel()
		sampling.Wait()
		sample(t.Context())
		return int(most-before[resident]) >> 20
	}
}

// memoryStays fails the test if the gateway's memory has grown by more MiB. A
// gateway with the race detector keeps several bytes for each.
func memoryStays(t *testing.T, side *side, grown, most int) {
	t.Helper()
	t.Logf("%s: resident memory grew by %d MiB at most; the bound is %d MiB", side.name, grown, most*raceFactor)
	if grown > most*raceFactor {
		t.Errorf("%s: resident memory grew by %d MiB; want %d at most", side.name, grown, most*raceFactor)
	}
}

// settles waits until the gateway is as idle as it was, give or take the
// goroutines of a few kept connections.
func (s *side) settles(t *testing.T, baseline map[string]float64) {
	t.Helper()
	const slack = 20
	eventually(t, 100*time.Second, func() error {
		now, err := s.gauges(t.Context())
		if err != nil {
			return err
		}
		if now[inFlight] > baseline[inFlight] {
			return errNotYet(fmt.Sprintf("%s: %v requests in flight; %v before", s.name, now[inFlight], baseline[inFlight]))
		}
		if now[goroutines] > baseline[goroutines]+slack {
			return errNotYet(fmt.Sprintf("%s: %v goroutines; %v before", s.name, now[goroutines], baseline[goroutines]))
		}
		return nil
	})
}

// baseline is the gauges of a gateway that has served a client and idles.
func (s *side) baseline(t *testing.T) map[string]float64 {
	t.Helper()
	if _, err := s.one(t.Context(), "mallory", selfRequest()); err != nil {
		t.Fatal(err)
	}
	values, err := s.gauges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// serves fails unless an ordinary client is answered within the time.
func (s *side) serves(t *testing.T, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	start := time.Now()
	a, err := s.one(ctx, "mallory", selfRequest())
	if took := time.Since(start); err != nil || a.status != accepted || took > within {
		t.Errorf("%s: an ordinary client was answered %s, %v, after %s; want %d within %s", s.name, a, err, took, accepted, within)
	}
}

// checkGoroutines is called when all tests have run: what each of them may have
// left, within its own slack, does not add up. Connections to the apiserver have
// been opened since, at most two goroutines for each lane and credential.
func checkGoroutines(s *stage) error {
	const more = 60
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	for _, side := range s.through {
		err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
			now, err := side.gauges(ctx)
			return err == nil && now[inFlight] == 0 && now[goroutines] <= side.first[goroutines]+more, err
		})
		if err != nil {
			now, _ := side.gauges(context.Background())
			return fmt.Errorf("%s: %v goroutines and %v requests in flight at the end; %v goroutines at the beginning", side.name, now[goroutines], now[inFlight], side.first[goroutines])
		}
	}
	return nil
}

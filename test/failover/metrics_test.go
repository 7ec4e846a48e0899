package failover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// group is that of a server.
func group(server string) string {
	name, _, _ := strings.Cut(server, "-")
	return name
}

// healthy is the metric that tells whether a server gets requests.
func (e *env) healthy(server string) string {
	return fmt.Sprintf("asi_gateway_upstream_healthy{group=%q,server=%q}", group(server), e.host(server))
}

// returnedTo is the metric of what part of its clients a group has back.
func returnedTo(group string) string {
	return fmt.Sprintf("asi_gateway_upstream_group_returned_ratio{group=%q}", group)
}

// reading is some metrics at a moment.
type reading struct {
	at time.Time
	// answered counts the answers of each server.
	answered map[string]float64
	// healthy are the servers that get requests.
	healthy map[string]bool
}

func (e *env) read(ctx context.Context) (reading, error) {
	metrics, err := e.g.Metrics(ctx)
	r := reading{at: time.Now(), answered: map[string]float64{}, healthy: map[string]bool{}}
	for _, server := range servers {
		r.healthy[server] = metrics[e.healthy(server)] == 1
		for _, class := range []string{"2xx", "4xx", "5xx"} {
			r.answered[server] += metrics[fmt.Sprintf("asi_gateway_upstream_responses_total{code=%q,endpoint=%q,group=%q}", class, e.host(server), group(server))]
		}
	}
	return r, err
}

// part is what part of the answers of a group a server gave between two readings.
func part(server string, from, to reading) float64 {
	var sum float64
	for name := range to.answered {
		if group(name) == group(server) {
			sum += to.answered[name] - from.answered[name]
		}
	}
	if sum == 0 {
		return 0
	}
	return (to.answered[server] - from.answered[server]) / sum
}

// awaitHealth waits until a server gets requests, or gets none any more.
func (e *env) awaitHealth(t *testing.T, server string, want bool) reading {
	t.Helper()
	var last reading
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		var err error
		if last, err = e.read(ctx); err == nil && last.healthy[server] != want {
			state, err := e.operator.live(ctx, group(server))
			return errors.Join(fmt.Errorf("that %s is healthy is %v, want %v: %+v", server, !want, want, state.Endpoints), err)
		}
		return err
	})
	return last
}

// readAfter reads once d has passed since an earlier reading.
func (e *env) readAfter(t *testing.T, earlier reading, d time.Duration) reading {
	t.Helper()
	pause(t, d-time.Since(earlier.at))
	r, err := e.read(within(t, 10*time.Second))
	must(t, err)
	return r
}

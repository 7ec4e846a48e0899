package failover

import (
	"sync"
	"testing"
	"time"
)

// fullRate is how many requests per second the mixed traffic has.
const fullRate = 300

// scale is how much of the mixed traffic beside the stream of P0 the machine can do
// while nothing is broken.
var scale struct {
	once  sync.Once
	value float64
}

// requestRate is that of the mixed traffic.
func requestRate(scale float64) float64 { return vitalGetsRate + (fullRate-vitalGetsRate)*scale }

// sustainable measures scale, once, with the gateway that is measured.
func (e *env) sustainable(t *testing.T) float64 {
	t.Helper()
	scale.once.Do(func() {
		for _, scale.value = range []float64{1, 0.5, 0.25} {
			if e.sustains(t, scale.value) {
				break
			}
		}
	})
	if scale.value < 1 {
		t.Logf("RATE SCALED DOWN: this machine cannot do %d requests a second, %.0f are sent", fullRate, requestRate(scale.value))
	}
	return scale.value
}

// sustains tries a scale for two seconds.
func (e *env) sustains(t *testing.T, scale float64) bool {
	t.Helper()
	r := e.send(t, e.mixed(t, scale))
	r.await(t, vitalGets, vitalGetsRate)
	disturbed := e.disturbed(t, r)
	begun := time.Now()
	pause(t, 2*time.Second)
	due := time.Since(begun).Seconds() * requestRate(scale)
	during := disturbed()
	results, _ := e.stop(t, r)
	// The next one wants a namespace without an end.
	e.newNamespace(t)
	done, slow := 0, 0
	for _, result := range results {
		if ended := result.Ended(); ended.After(begun) && ended.Before(begun.Add(2*time.Second)) {
			done++
			if result.Took > 500*time.Millisecond {
				slow++
			}
		}
	}
	t.Logf("at %.0f requests a second: %d of %.0f done, %d of them slow; %s", requestRate(scale), done, due, slow, during)
	return float64(done) > 0.95*due && float64(slow) < 0.05*due
}

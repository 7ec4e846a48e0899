package routing

import (
	"math"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// Endpoint is one kube-apiserver in one group. What is known of it outlives
// changes of the policies.
type Endpoint struct {
	Group string // name of the UpstreamGroup
	URL   *url.URL

	conns      conns
	reads      reads
	transports atomic.Pointer[transports]
	health     health
	latency    mean
	slowest    quantile
	version    atomic.Pointer[string]

	// inFlight and longRunning are requests under way.
	inFlight, longRunning atomic.Int64
	sent, failed          atomic.Int64
	// asked is how many requests of the gateway itself wait for an answer.
	asked atomic.Int32
	// kick has a message when the server should be probed at once.
	kick chan struct{}
}

func newEndpoint(group string, server *url.URL, c *Config) *Endpoint {
	e := &Endpoint{Group: group, URL: server, kick: make(chan struct{}, 1)}
	e.conns.clock = c.Clock
	now := c.Clock.Now()
	e.conns.heard.Store(now.UnixNano())
	e.health.since = now
	return e
}

// renew makes new connections for requests from now on.
func (e *Endpoint) renew(clients [credentialCount]Client) {
	var fresh transports
	for credential := range credentialCount {
		for lane := range laneCount {
			if lane == probing && credential != Own {
				continue
			}
			fresh[credential][lane] = newTransport(&e.conns, clients[credential], credential, lane)
		}
	}
	if old := e.transports.Swap(&fresh); old != nil {
		old.closeIdle()
	}
}

func (e *Endpoint) transport(as Credential, lane Lane) http.RoundTripper {
	return e.transports.Load()[as][lane]
}

// counter is where a request of a lane is counted while it is under way.
func (e *Endpoint) counter(lane Lane) *atomic.Int64 {
	if lane.longRunning() {
		return &e.longRunning
	}
	return &e.inFlight
}

// waiting tells whether anybody waits for the server.
func (e *Endpoint) waiting() bool {
	return e.asked.Load() > 0 || e.inFlight.Load()+e.longRunning.Load() > 0
}

// probeSoon has the server probed without waiting for its turn.
func (e *Endpoint) probeSoon() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

func (e *Endpoint) state(now time.Time) v1alpha1.EndpointState {
	health, reason, since := e.health.describe(now)
	s := v1alpha1.EndpointState{
		URL: e.URL.String(), Health: health, Reason: reason, Since: metav1.NewTime(since),
		Latency:  metav1.Duration{Duration: e.latency.load().Round(10 * time.Microsecond)},
		InFlight: e.inFlight.Load(), LongRunning: e.longRunning.Load(), Requests: e.sent.Load(), Failures: e.failed.Load(),
	}
	if v := e.version.Load(); v != nil {
		s.Version = *v
	}
	return s
}

// meanWeight is how much a new value counts: the last ten or so decide.
const meanWeight = 0.1

// mean is an exponentially weighted mean of durations. The zero mean knows none.
type mean struct{ bits atomic.Uint64 }

func (m *mean) load() time.Duration { return time.Duration(math.Float64frombits(m.bits.Load())) }

func (m *mean) add(d time.Duration) {
	for {
		old := m.bits.Load()
		value := math.Float64frombits(old)
		if value == 0 {
			value = float64(d)
		} else {
			value += meanWeight * (float64(d) - value)
		}
		if m.bits.CompareAndSwap(old, math.Float64bits(value)) {
			return
		}
	}
}

const (
	// hedgeQuantile of the requests are faster than what quantile estimates.
	hedgeQuantile = 0.99
	// quantileStep is by which part the estimate moves for a request that is
	// slower. One that is faster moves it by 1/99 of that.
	quantileStep = 0.1
)

// quantile estimates what 99% of durations stay below, with one number: it goes
// up a step for every one above, and down a 99th of it for every one below (the
// frugal streaming algorithm, Ma, Muthukrishnan and Sandler 2013).
type quantile struct{ bits atomic.Uint64 }

func (q *quantile) load() time.Duration {
	return time.Duration(math.Float64frombits(q.bits.Load()))
}

func (q *quantile) add(d time.Duration) {
	for {
		old := q.bits.Load()
		value := math.Float64frombits(old)
		switch {
		case value == 0:
			value = float64(d)
		case float64(d) > value:
			value *= 1 + quantileStep*hedgeQuantile
		default:
			value *= 1 - quantileStep*(1-hedgeQuantile)
		}
		if q.bits.CompareAndSwap(old, math.Float64bits(value)) {
			return
		}
	}
}

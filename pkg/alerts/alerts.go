// Package alerts tells people when a limit keeps refusing: with a Warning Event
// on the RateLimit, a metric and a line in the log. A client that is refused once
// in a while is what limits are for; one that is refused in every interval for a
// minute is either broken or has a limit that is too low, and in dry run it is
// the news that one has been waiting for.
package alerts

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	// interval is how often counters are looked at.
	interval = 10 * time.Second
	// sustained is for how many intervals in a row a limit must refuse.
	sustained = 6
	// repeat is after how many intervals more it is said again.
	repeat = 60

	// Reason is that of the Events.
	Reason = "SustainedRefusals"
)

// limits knows what RateLimits refuse.
type limits interface {
	LiveAll() map[string]v1alpha1.LimitCounters
	// UID returns that of a RateLimit.
	UID(name string) types.UID
}

// Watcher looks for limits that keep refusing. Use New.
type Watcher struct {
	limits limits
	events record.EventRecorder
	clock  clock.WithTicker
	log    *zap.Logger
	gauge  *prometheus.GaugeVec
	// streaks are by name of the limit; of Run's goroutine alone.
	streaks map[string]*streak
}

// streak is how long a limit has been refusing.
type streak struct {
	seen      int64 // what had been refused at the last look
	before    int64 // what had been refused when the streak began
	intervals int
}

// New returns a Watcher that sends Events to the recorder.
func New(limits limits, events record.EventRecorder, clock clock.WithTicker, log *zap.Logger, registry prometheus.Registerer) *Watcher {
	w := &Watcher{
		limits: limits, events: events, clock: clock, log: log, streaks: map[string]*streak{},
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "asi_gateway_limiter_sustained_refusals",
			Help: "1 for every RateLimit that has been refusing, or in dry run would have been, for a minute without a pause.",
		}, []string{"rule"}),
	}
	registry.MustRegister(w.gauge)
	return w
}

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	ticker := w.clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			w.look()
		}
	}
}

func (w *Watcher) look() {
	live := w.limits.LiveAll()
	for name := range w.streaks {
		if _, ok := live[name]; !ok {
			delete(w.streaks, name)
			w.gauge.DeleteLabelValues(name)
		}
	}
	for name, counters := range live {
		s := w.streaks[name]
		if s == nil {
			w.streaks[name] = &streak{seen: counters.Refused, before: counters.Refused}
			continue
		}
		if counters.Refused <= s.seen {
			if s.intervals >= sustained {
				w.log.Info("a limit has stopped refusing", zap.String("limit", name), zap.Int64("refused", s.seen-s.before))
				w.gauge.WithLabelValues(name).Set(0)
			}
			*s = streak{seen: counters.Refused, before: counters.Refused}
			continue
		}
		s.seen = counters.Refused
		s.intervals++
		if s.intervals == sustained || (s.intervals > sustained && (s.intervals-sustained)%repeat == 0) {
			w.tell(name, s)
		}
	}
}

func (w *Watcher) tell(name string, s *streak) {
	took := time.Duration(s.intervals) * interval
	w.gauge.WithLabelValues(name).Set(1)
	w.log.Warn("a limit keeps refusing", zap.String("limit", name), zap.Int64("refused", s.seen-s.before), zap.Duration("for", took))
	// kubectl describe looks for the Events of a UID.
	limit := &corev1.ObjectReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "RateLimit", Name: name, UID: w.limits.UID(name)}
	w.events.Eventf(limit, corev1.EventTypeWarning, Reason,
		"%d requests were over the limit in the last %s, without a pause; asictl top --sort refused shows whose", s.seen-s.before, took)
}

package limiter

import (
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// sampleInterval is how often Run looks at the counters.
const sampleInterval = time.Second

func (s *state) sample(now time.Time) sample {
	return sample{
		at:       now,
		admitted: s.admitted.Load() - s.refunded.Load(),
		refused:  s.refused.Load() + s.wouldRefuse.Load(),
	}
}

func (l *Limiter) counters(s *state) v1alpha1.LimitCounters {
	now := s.sample(l.clock.Now())
	admitted, refused := s.history.rates(now)
	table := s.table.Load()
	return v1alpha1.LimitCounters{
		ObservedAt:        metav1.NewMicroTime(now.at),
		Rate:              perSecond(s.limits.Load().rate),
		Admitted:          now.admitted,
		Refused:           now.refused,
		AdmittedPerSecond: perSecond(admitted),
		RefusedPerSecond:  perSecond(refused),
		InFlight:          s.inFlight.Load(),
		Buckets:           int64(table.buckets()),
		Overflowing:       s.overflowing.Load(),
		Fallback:          table.global != nil && table.global.status.Load().away,
	}
}

// perSecond has three digits after the point. Refunds can make a rate negative
// for a moment.
func perSecond(rate float64) resource.Quantity {
	milli := min(math.Round(max(0, rate)*1000), math.MaxInt64/2)
	return *resource.NewMilliQuantity(int64(milli), resource.DecimalSI)
}

// sampleAll adds to the history of every rule.
func (l *Limiter) sampleAll(now time.Time) {
	for _, s := range l.snapshot.Load().states {
		s.history.add(s.sample(now))
	}
}

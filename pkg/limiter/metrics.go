package limiter

import (
	"github.com/prometheus/client_golang/prometheus"
)

// collector reads the counters of the rules when it is scraped, so that
// decisions look up no labels. Labels are names of objects, whose number the
// operator decides; what clients send is never one.
type collector struct{ *Limiter }

// The descriptors are made anew each time because a package has no state.
type descriptors struct {
	decisions, inFlight, buckets, overflow, fallback *prometheus.Desc
}

func describe() descriptors {
	rule := []string{"rule"}
	return descriptors{
		decisions: prometheus.NewDesc("asi_gateway_limiter_decisions_total",
			"Decisions by rule: admitted, refused, or would_refuse (in dry run). A request that one rule admits may be refused by another.", []string{"rule", "decision"}, nil),
		inFlight: prometheus.NewDesc("asi_gateway_limiter_in_flight", "Requests under way that the rule has admitted.", rule, nil),
		buckets:  prometheus.NewDesc("asi_gateway_limiter_buckets", "Buckets of the rule.", rule, nil),
		overflow: prometheus.NewDesc("asi_gateway_limiter_overflow_total", "Requests that shared a bucket because the rule has too many.", rule, nil),
		fallback: prometheus.NewDesc("asi_gateway_limiter_shared_fallback", "1 while the shared counters of Global rules cannot be reached.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	d := describe()
	for _, desc := range []*prometheus.Desc{d.decisions, d.inFlight, d.buckets, d.overflow, d.fallback} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	d := describe()
	counter := func(desc *prometheus.Desc, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	gauge := func(desc *prometheus.Desc, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for name, s := range c.snapshot.Load().states {
		counter(d.decisions, s.admitted.Load(), name, "admitted")
		counter(d.decisions, s.refused.Load(), name, "refused")
		counter(d.decisions, s.wouldRefuse.Load(), name, "would_refuse")
		counter(d.overflow, s.overflowing.Load(), name)
		gauge(d.inFlight, s.inFlight.Load(), name)
		gauge(d.buckets, int64(s.table.Load().buckets()), name)
	}
	var away int64
	if c.global != nil && c.global.status.Load().away {
		away = 1
	}
	gauge(d.fallback, away)
}

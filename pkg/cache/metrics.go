package cache

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// metrics counts answers by resource, verb and reason. Resources are those of the
// configuration, or "other".
type metrics struct {
	answers  *prometheus.CounterVec
	outages  *prometheus.CounterVec
	outlines *prometheus.CounterVec
	checks   *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_cache_reads_total",
			Help: "Reads of cached resources that were answered from the cache (reason Hit), or forwarded and why.",
		}, []string{"resource", "verb", "reason"}),
		outages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_cache_outage_reads_total",
			Help: "Reads that were answered from the cache, with a warning, while changes were not followed.",
		}, []string{"resource", "verb"}),
		outlines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_cache_outlined_lists_total",
			Help: "Lists of the newest state of a quiet resource that were answered from the cache, by names and versions that upstream has told.",
		}, []string{"resource"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_cache_checks_total",
			Help: "Comparisons of what is cached with upstream at the same resource version, by what they found.",
		}, []string{"resource", "encoding", "result"}),
	}
}

// count counts a read. Others than those of cached resources are not worth a
// series.
func (m *metrics) count(a *request.Attributes, reason Reason) {
	switch reason {
	case NoRead, NotCached:
		return
	case Hit:
		reason = "Hit"
	}
	m.answers.WithLabelValues(request.ResourceName(a), a.Verb, string(reason)).Inc()
}

// countAnswer counts what is unusual of an answer.
func (m *metrics) countAnswer(a *request.Attributes, answer *Answer) {
	if answer.outage {
		m.outages.WithLabelValues(request.ResourceName(a), a.Verb).Inc()
	}
	if answer.outlined {
		m.outlines.WithLabelValues(request.ResourceName(a)).Inc()
	}
}

var (
	streamLabels = []string{"resource", "encoding"}
	descReady    = prometheus.NewDesc("asi_gateway_cache_ready", "1 for resources whose state may be served.", streamLabels, nil)
	descObjects  = prometheus.NewDesc("asi_gateway_cache_objects", "Objects in the cache.", streamLabels, nil)
	descVersion  = prometheus.NewDesc("asi_gateway_cache_resource_version", "The resource version that has been reached.", streamLabels, nil)
	descWatches  = prometheus.NewDesc("asi_gateway_cache_watches", "Watches that are answered from the cache.", streamLabels, nil)
)

func (m *metrics) register(registry prometheus.Registerer, c *Cache) {
	registry.MustRegister(m.answers, m.outages, m.outlines, m.checks, collector{c})
}

// collector reads the state of all streams.
type collector struct{ cache *Cache }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReady, descObjects, descVersion, descWatches} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.cache.Resources() {
		ready := 0.0
		if s.Ready {
			ready = 1
		}
		for d, value := range map[*prometheus.Desc]float64{
			descReady: ready, descObjects: float64(s.Objects), descVersion: float64(s.ResourceVersion), descWatches: float64(s.Watchers),
		} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, s.Resource.name(), s.Encoding.String())
		}
	}
}

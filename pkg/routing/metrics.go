package routing

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what happens to requests on their way; states are read when they
// are collected.
type metrics struct {
	retries, hedges     prometheus.Counter
	ejections, silences *prometheus.CounterVec
}

func newMetrics() *metrics {
	server := []string{"group", "server"}
	return &metrics{
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "asi_gateway_upstream_retries_total", Help: "Reads that were lost, or waited for a server without a sign of life, and were sent to another one.",
		}),
		hedges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "asi_gateway_upstream_hedges_total", Help: "Reads that took long and were sent to a second server as well.",
		}),
		ejections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_upstream_ejections_total", Help: "Times that a server was ejected because it lost requests.",
		}, server),
		silences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_upstream_silences_total", Help: "Times that a server showed no sign of life and its connections were reset.",
		}, server),
	}
}

func (m *metrics) register(registry prometheus.Registerer, u *Upstream) {
	registry.MustRegister(m.retries, m.hedges, m.ejections, m.silences, collector{u})
}

var (
	descUp = prometheus.NewDesc("asi_gateway_upstream_healthy",
		"1 for servers that get requests.", []string{"group", "server"}, nil)
	descLatency = prometheus.NewDesc("asi_gateway_upstream_latency_seconds",
		"Mean time to the first byte of small answers, the last ones counting most.", []string{"group", "server"}, nil)
	descWarmth = prometheus.NewDesc("asi_gateway_upstream_warmth_ratio",
		"The part of its requests that a server gets after it has come back.", []string{"group", "server"}, nil)
	descInFlight = prometheus.NewDesc("asi_gateway_upstream_in_flight",
		"Requests under way, by kind.", []string{"group", "server", "kind"}, nil)
	descRefused = prometheus.NewDesc("asi_gateway_upstream_group_refused_total",
		"Requests that a group's limits have refused.", []string{"group"}, nil)
	descShedding = prometheus.NewDesc("asi_gateway_upstream_group_shedding",
		"How many priorities a group refuses because it is overloaded: 1 for P4, 2 for P3 too, 3 for P2 too.", []string{"group"}, nil)
	descLimit = prometheus.NewDesc("asi_gateway_upstream_group_limit",
		"How many requests a group may have under way while its servers queue; 0: any number.", []string{"group"}, nil)
	descReturned = prometheus.NewDesc("asi_gateway_upstream_group_returned_ratio",
		"The part of its clients that a group has back after it was gone.", []string{"group"}, nil)
)

// collector reads the state of all groups.
type collector struct{ upstream *Upstream }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descLatency, descWarmth, descInFlight, descRefused, descShedding, descLimit, descReturned} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	now := c.upstream.config.Clock.Now()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, g := range c.upstream.table.Load().groups {
		spec := g.spec.Load()
		for _, m := range spec.members {
			up := 0.0
			if m.has(healthy, now.UnixNano()) {
				up = 1
			}
			gauge(descUp, up, g.name, m.URL.Host)
			gauge(descLatency, m.latency.load().Seconds(), g.name, m.URL.Host)
			gauge(descWarmth, m.health.warmth(now.UnixNano(), spec.slowStart), g.name, m.URL.Host)
			gauge(descInFlight, float64(m.inFlight.Load()), g.name, m.URL.Host, "short")
			gauge(descInFlight, float64(m.longRunning.Load()), g.name, m.URL.Host, "long-running")
		}
		out <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(g.refused.Load()), g.name)
		gauge(descShedding, float64(g.pressure.level.Load()), g.name)
		gauge(descLimit, float64(g.adaptive.limit.Load()), g.name)
		gauge(descReturned, g.absence.returned(now, spec.failback), g.name)
	}
}

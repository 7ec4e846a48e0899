package policy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

type metrics struct {
	objects      *prometheus.GaugeVec
	active       *prometheus.GaugeVec
	nodes        prometheus.Gauge
	compilations prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		objects:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "asi_gateway_policies", Help: "Policies in force, by kind."}, []string{"kind"}),
		active:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "asi_gateway_switch_on", Help: "1 for every switch that is on."}, []string{"name", "type"}),
		nodes:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "asi_gateway_policy_nodes", Help: "Nodes that limits per node are computed with."}),
		compilations: prometheus.NewCounter(prometheus.CounterOpts{Name: "asi_gateway_policy_compilations_total", Help: "How often policies were compiled and put in force."}),
	}
	r.MustRegister(m.objects, m.active, m.nodes, m.compilations)
	return m
}

func (m *metrics) observe(all *state, active map[string]*v1alpha1.Switch, nodes int) {
	for kind, n := range map[string]int{
		"ClientClass": len(all.Classes), "RateLimit": len(all.Limits), "Switch": len(active),
		"UpstreamGroup": len(all.Groups), "Route": len(all.Routes), "CachedResource": len(all.Cached),
	} {
		m.objects.WithLabelValues(kind).Set(float64(n))
	}
	m.active.Reset()
	for name, s := range active {
		m.active.WithLabelValues(name, string(s.Spec.Type)).Set(1)
	}
	m.nodes.Set(float64(nodes))
	m.compilations.Inc()
}

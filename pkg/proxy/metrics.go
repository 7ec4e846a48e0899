package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

// metrics of the request path. Labels come from closed sets only: verbs are
// clamped, codes are numbers that this process wrote, endpoints are configured.
type metrics struct {
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	upstreams   *prometheus.CounterVec
	refused     *prometheus.CounterVec
	forged      *prometheus.CounterVec
	unreachable prometheus.Counter
	lost        prometheus.Counter
	coalesced   prometheus.Counter
	panics      prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_requests_total",
			Help: "Requests answered, by Kubernetes verb and status code; code 0 is a client that went away.",
		}, []string{"verb", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "asi_gateway_request_duration_seconds",
			Help:    "Time from the headers of a request to the end of its answer, long-running requests excluded.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"verb"}),
		upstreams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_upstream_responses_total",
			Help: "Answers of kube-apiservers, by endpoint and class of status code.",
		}, []string{"group", "endpoint", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_authentication_refused_total",
			Help: "Requests whose credentials were refused, by reason: Invalid or Unavailable.",
		}, []string{"reason"}),
		forged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_class_mismatches_total",
			Help: "Requests with the user agent of a class but none of the identities it expects, by that class.",
		}, []string{"class"}),
		unreachable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "asi_gateway_upstream_unreachable_total",
			Help: "Requests answered 503 because no kube-apiserver could be dialled.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "asi_gateway_upstream_lost_total",
			Help: "Requests whose kube-apiserver connection was lost before an answer.",
		}),
		coalesced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "asi_gateway_coalesced_reads_total",
			Help: "Reads that were answered by a request to a kube-apiserver on behalf of several.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "asi_gateway_panics_total",
			Help: "Requests ended by a programming error in the gateway.",
		}),
	}
	registry.MustRegister(m.requests, m.duration, m.upstreams, m.refused, m.forged, m.unreachable, m.lost, m.coalesced, m.panics)
	return m
}

// watchFlights exports how many requests are under way.
func (m *metrics) watchFlights(registry prometheus.Registerer, f *flights) {
	for kind, count := range map[string]interface{ Load() int64 }{"short": &f.short, "long-running": &f.long} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "asi_gateway_requests_in_flight",
			Help:        "Requests being forwarded, by kind.",
			ConstLabels: prometheus.Labels{"kind": kind},
		}, func() float64 { return float64(count.Load()) }))
	}
}

func (m *metrics) finished(a *request.Attributes, code int, took time.Duration) {
	verb := verbLabel(a)
	m.requests.WithLabelValues(verb, codeLabel(code)).Inc()
	if a != nil && !a.LongRunning {
		m.duration.WithLabelValues(verb).Observe(took.Seconds())
	}
}

func (m *metrics) answered(e *routing.Endpoint, code int) {
	class := "other"
	if code >= 100 && code <= 599 {
		class = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[code/100-1]
	}
	m.upstreams.WithLabelValues(e.Group, e.URL.Host, class).Inc()
}

// codeLabel avoids an allocation for the codes that make up nearly all answers.
func codeLabel(code int) string {
	switch code {
	case http.StatusOK:
		return "200"
	case http.StatusCreated:
		return "201"
	}
	return strconv.Itoa(code)
}

// verbLabel returns the Kubernetes verb if it is one, "other" if not: the verb
// of a non-resource request is whatever method the client made up.
func verbLabel(a *request.Attributes) string {
	if a == nil {
		return "other"
	}
	switch a.Verb {
	case "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy", "post", "put", "options":
		return a.Verb
	}
	return "other"
}

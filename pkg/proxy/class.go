package proxy

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// classifier tells which class a request belongs to, and which it only claims to
// (see request.Classifier).
type classifier interface {
	Classify(a *request.Attributes) (class, claimed *request.Class)
}

// flowRecorder counts requests by flow.
type flowRecorder interface {
	Arrived(a *request.Attributes) *flows.Flow
}

// WithClass puts class and priority into the request's attributes. A client whose
// identity is not one that its class expects is counted, and belongs to the class
// of those that nobody knows.
func WithClass(next http.Handler, classifier classifier, flows flowRecorder, forged *prometheus.CounterVec) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		class, claimed := classifier.Classify(a)
		a.Class, a.Priority, a.Reads = class.Name, class.Priority, class.Reads
		if claimed != nil {
			forged.WithLabelValues(claimed.Name).Inc()
		}
		countFlow(w, flows, a)
		next.ServeHTTP(w, r)
	})
}

// countFlow counts a request that has arrived; the access log notes what became
// of it.
func countFlow(w http.ResponseWriter, flows flowRecorder, a *request.Attributes) {
	flow := flows.Arrived(a)
	if record, ok := w.(*responseRecord); ok {
		record.flow = flow
	}
}

package proxy

import (
	"net/http"

	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/switches"
)

// emergency tells which switch refuses a classified request; nil if none does.
type emergency interface {
	Refuse(a *request.Attributes) *switches.Refusal
}

// WithSwitches refuses what a switch stops. The limits get back what they had
// granted.
func WithSwitches(next http.Handler, emergency emergency, clock clock.PassiveClock, status statusWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		refusal := emergency.Refuse(a)
		if refusal == nil {
			next.ServeHTTP(w, r)
			return
		}
		if a.Admission != nil {
			a.Admission.Refund()
		}
		refusedBy(w, "switch/"+refusal.Name)
		status.write(w, r, errSwitched(a, refusal, refusal.ExpiresAt.Sub(clock.Now())))
	})
}

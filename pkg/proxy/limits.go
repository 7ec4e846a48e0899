package proxy

import (
	"net/http"
	"sync"

	"github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// limits decides which requests pass.
type limits interface {
	Admit(phase limiter.Phase, a *request.Attributes, t *limiter.Ticket) limiter.Decision
}

var tickets = sync.Pool{New: func() any { return new(limiter.Ticket) }}

// Spared tells the requests that no limit bounds before they are authenticated, but
// for a rule that names what they ask for.
func Spared(a *request.Attributes) bool { return a.Vital || ownAPI(a.Path) }

// WithEarlyLimits applies the limits that need no identity, and holds what the
// request is granted, here and later, until it is over. The gateway's own API
// passes: whoever set a limit must be able to take it back.
func WithEarlyLimits(next http.Handler, limits limits, flows flowRecorder, status statusWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		if ownAPI(a.Path) {
			next.ServeHTTP(w, r)
			return
		}
		ticket := tickets.Get().(*limiter.Ticket)
		defer func() {
			ticket.Done()
			tickets.Put(ticket)
		}()
		if d := limits.Admit(limiter.BeforeAuthentication, a, ticket); !d.Allowed {
			countFlow(w, flows, a)
			refusedBy(w, "ratelimit/"+d.Rule)
			status.write(w, r, errLimited(a, d))
			return
		}
		a.Admission = ticket
		next.ServeHTTP(w, r)
		a.Admission = nil
	})
}

// opened tells the limits that an answer has begun: a watch counts no longer then. A
// log, an exec or a proxied service can keep a server as busy as it likes until it
// ends.
func opened(a *request.Attributes) {
	if a.Verb == "watch" && a.Admission != nil {
		a.Admission.Opened()
	}
}

// WithLimits applies the limits that look at who the client is.
func WithLimits(next http.Handler, limits limits, status statusWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		if d := limits.Admit(limiter.AfterAuthentication, a, a.Admission.(*limiter.Ticket)); !d.Allowed {
			refusedBy(w, "ratelimit/"+d.Rule)
			status.write(w, r, errLimited(a, d))
			return
		}
		next.ServeHTTP(w, r)
	})
}

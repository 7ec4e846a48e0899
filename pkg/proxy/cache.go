package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/asi-gateway/asi-gateway/pkg/cache"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// cached says how a read is answered from memory, or why it is not.
type cached interface {
	Answer(ctx context.Context, r *http.Request, a *request.Attributes) (*cache.Answer, cache.Reason)
	// Allowed tells whether a client may read what it asks for.
	Allowed(ctx context.Context, a *request.Attributes) bool
	// Writing is told of writes, and calls back for their end.
	Writing(a *request.Attributes) (done func())
}

// WithCache answers reads from memory where that is what the apiserver would say.
// A client that acts as somebody else is left to the apiserver where it is that
// judges it.
//
// Of lists that are declined, those that are the same and come together are sent to
// the apiserver once.
func WithCache(next http.Handler, cached cached, coalescer *coalescer, flights *flights) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		if a.Identity != nil && a.Writes() {
			defer cached.Writing(a)()
		}
		if a.Identity == nil || a.Upgrade || (a.Impersonated == nil && wantsImpersonation(r.Header)) || r.ContentLength != 0 {
			next.ServeHTTP(w, r)
			return
		}
		answer, reason := cached.Answer(r.Context(), r, a)
		if answer == nil {
			if a.Verb == "list" && reason.Shareable() {
				coalescer.serve(w, r, next)
			} else {
				next.ServeHTTP(w, r)
			}
			return
		}
		ctx, flight := flights.depart(r, w, a.LongRunning)
		defer flights.arrive(flight)
		ownHeaders(w.Header(), r)
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusOK)
		opened(a)
		err := answer.WriteTo(ctx, &clientWriter{w, flight}, flight.flush)
		if err != nil && !errors.Is(context.Cause(ctx), errDraining) {
			// Nobody must take the part for the whole.
			panic(http.ErrAbortHandler)
		}
	})
}

// clientWriter writes an answer to a client.
type clientWriter struct {
	w      io.Writer
	flight *flight
}

func (c *clientWriter) Write(b []byte) (int, error) { return c.flight.writeTo(c.w, b) }

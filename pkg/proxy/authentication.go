package proxy

import (
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// authenticator tells who sent a request; nil without an error if it came
// without credentials. Errors match auth.ErrInvalid or auth.ErrUnavailable.
type authenticator interface {
	Authenticate(r *http.Request) (*request.Identity, error)
}

// WithAuthentication puts the identity into the request's attributes.
func WithAuthentication(next http.Handler, authenticator authenticator, status statusWriter, m *metrics, log *zap.Logger) http.Handler {
	invalid, unavailable := m.refused.WithLabelValues("Invalid"), m.refused.WithLabelValues("Unavailable")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, err := authenticator.Authenticate(r)
		if identity == nil {
			warnOfIgnoredToken(w.Header(), r.Header.Get("Authorization"))
		}
		switch {
		case err == nil:
			request.From(r.Context()).Identity = identity
			next.ServeHTTP(w, r)
		case r.Context().Err() != nil:
			panic(http.ErrAbortHandler)
		case errors.Is(err, auth.ErrUnavailable):
			unavailable.Inc()
			log.Warn("a token cannot be verified", zap.Error(err))
			// The client comes again with the same request. One whose credentials are
			// bad gets nothing back: their review has been asked for, and it is how many
			// of those may be that the limits before bound.
			if a := request.From(r.Context()); a.Admission != nil {
				a.Admission.Refund()
			}
			// Not 401: a client would throw good credentials away.
			why := "no kube-apiserver answers"
			if errors.Is(err, auth.ErrBusy) {
				why = "more tokens wait for their review than the gateway has reviewed at a time"
			}
			status.write(w, r, errUnavailable("the credentials cannot be verified at the moment: "+why))
		default:
			invalid.Inc()
			if r.ProtoMajor == 2 {
				// As kube-apiserver does since CVE-2023-44487.
				w.Header()["Connection"] = []string{"close"}
			}
			status.write(w, r, errUnauthorized())
		}
	})
}

// warnOfIgnoredToken says what kube-apiserver's bearer token authenticator says
// of a token behind two spaces (k8s.io/apiserver bearertoken): upstream does not
// see the header, and here no warning recorder is at hand.
func warnOfIgnoredToken(h http.Header, authorization string) {
	parts := strings.SplitN(strings.TrimSpace(authorization), " ", 3)
	if len(parts) == 3 && parts[1] == "" && strings.EqualFold(parts[0], "bearer") {
		h.Add("Warning", `299 - "the provided Authorization header contains extra space before the bearer token, and is ignored"`)
	}
}

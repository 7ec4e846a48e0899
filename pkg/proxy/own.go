package proxy

import (
	"net/http"
	"net/http/pprof"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// WithOwnEndpoints answers the gateway's own paths on the client port. They
// hide the apiserver's /metrics, which means little behind a proxy that spreads
// requests over several servers.
func WithOwnEndpoints(next, own http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			ownHeaders(w.Header(), r)
			own.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// WithAuthorization lets those through whom the apiserver, asked by
// SubjectAccessReview, allows the path.
func WithAuthorization(next http.Handler, judge authorizer.UnconditionalAuthorizer, status statusWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		attributes := authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}},
			Verb: a.Verb,
			Path: a.Path,
		}
		if identity := a.Effective(); identity != nil {
			attributes.User = identity.Info
		}
		decision, reason, err := judge.Authorize(r.Context(), attributes)
		switch {
		case decision == authorizer.DecisionAllow:
			next.ServeHTTP(w, r)
		case err != nil:
			status.write(w, r, errUnavailable("access to this path cannot be checked at the moment: no kube-apiserver answers"))
		default:
			boundAnswer(w, r, status.patience)
			responsewriters.Forbidden(attributes, w, r, reason, status.codecs)
		}
	})
}

// authorized puts what a path needs before it that is not open to everybody:
// the client may act as whom it may impersonate, and must be allowed the path.
func (s *Server) authorized(next http.Handler) http.Handler {
	next = WithAuthorization(next, s.options.Authorizer, s.status)
	return WithImpersonation(next, s.options.Authorizer, s.options.Assert, s.status)
}

// Ops returns the handler of the ops listener: metrics, health and profiles.
// Open to everybody who can connect, it is for loopback; otherwise only health
// is open and the rest needs credentials that the apiserver allows the path.
func (s *Server) Ops(open bool) http.Handler {
	guarded := http.NewServeMux()
	guarded.Handle("GET /metrics", promhttp.HandlerFor(s.options.Registry, promhttp.HandlerOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { s.health.respond(w, r, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		err := s.health.notReady()
		s.health.respond(w, r, err)
		if err != nil {
			// Whoever reaches this port may know why.
			_, _ = w.Write([]byte(err.Error() + "\n"))
		}
	})
	guarded.HandleFunc("/debug/pprof/", pprof.Index)
	guarded.HandleFunc("/debug/pprof/profile", pprof.Profile)
	guarded.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	guarded.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if open {
		mux.Handle("/", guarded)
		return mux
	}
	handler := WithAuthentication(s.authorized(guarded), s.options.Authenticator, s.status, s.metrics, s.sampled)
	mux.Handle("/", WithAttributes(handler, s.parser, s.status))
	return mux
}

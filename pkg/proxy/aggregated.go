package proxy

import (
	"net/http"

	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// frontProxies knows how front proxies say for whom they forward a request.
type frontProxies interface {
	// Authenticate tells for whom a kube-apiserver forwards r; false if it does not
	// come from one.
	Authenticate(r *http.Request) (user.Info, bool)
	// Strip deletes what kube-apiservers would take for a front proxy's word.
	Strip(h http.Header)
}

// WithAggregatedAPI answers kube-apiservers that have the gateway's API group
// registered as an APIService. They connect as a front proxy and get the own API
// alone: its documents, and its objects for the users they name. It is the only
// place where X-Remote-* headers of an inbound request mean anything.
func WithAggregatedAPI(next, api http.Handler, proxies frontProxies, flights *flights) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; !ownAPI(path) && path != "/apis" && path != "/openapi/v2" && path != "/openapi/v3" {
			next.ServeHTTP(w, r)
			return
		}
		remote, ok := proxies.Authenticate(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		serveOwn(w, r, api, remote, flights)
	})
}

// serveOwn has the own API answer a request of a user; nil if it came without
// credentials.
func serveOwn(w http.ResponseWriter, r *http.Request, api http.Handler, as user.Info, flights *flights) {
	a := request.From(r.Context())
	ctx, flight := flights.depart(r, w, a.LongRunning)
	defer flights.arrive(flight)
	if as != nil {
		ctx = apirequest.WithUser(ctx, as)
	}
	api.ServeHTTP(ownWriter{w, flight}, r.WithContext(ctx))
	if !a.LongRunning {
		// What the sweeper has not seen is the end of it.
		boundAnswer(w, r, flights.stall)
	}
}

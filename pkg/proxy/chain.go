package proxy

import (
	"math/rand/v2"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// chain builds the path that every request walks, first stage last. To know
// what the gateway does to a request, read it from the bottom up.
func (s *Server) chain() http.Handler {
	// The end of the line: an apiserver answers.
	var handler http.Handler = &forwarder{
		upstream:   s.options.Upstream,
		discovery:  s.options.Discovery,
		flights:    s.flights,
		status:     s.status,
		metrics:    s.metrics,
		log:        s.sampled,
		proxies:    s.options.FrontProxies,
		frontProxy: s.options.FrontProxy,
	}

	// Reads that the gateway can answer as the apiserver would end here: behind all
	// that can refuse, and behind whatever says on whose behalf they are made.
	if s.options.Cache != nil {
		shared := newCoalescer(s.options.Upstream, s.options.Cache.Allowed, s.flights, s.metrics.coalesced)
		handler = WithCache(handler, s.options.Cache, shared, s.flights)
	}

	// With front-proxy headers the apiserver judges Impersonate-* itself. Where
	// the gateway impersonates, it has to judge them first: its own right to
	// impersonate anybody must not become the client's.
	if !s.options.FrontProxy {
		handler = WithImpersonation(handler, s.options.Authorizer, s.options.Assert, s.status)
	}

	// The emergency brake comes behind the limits, which it gives back what they
	// have granted.
	handler = WithSwitches(handler, s.options.Policy, s.options.Clock, s.status)

	// Limits that look at the authenticated user or the class.
	handler = WithLimits(handler, s.options.Limits, s.status)

	// Who the client is to the operator, from its name and its identity.
	handler = WithClass(handler, s.options.Policy, s.options.Flows, s.metrics.forged)

	// The gateway's own API and endpoints leave the chain here: behind
	// authentication, before anything that an operator can switch, so that nobody
	// locks himself out.
	handler = WithOwnAPI(handler, s.options.API, s.flights)
	handler = WithOwnEndpoints(handler, s.authorized(promhttp.HandlerFor(s.options.Registry, promhttp.HandlerOpts{})))

	// No credentials is not an error: the apiserver's anonymous configuration
	// decides. Bad credentials end here.
	handler = WithAuthentication(handler, s.options.Authenticator, s.status, s.metrics, s.sampled)

	// kube-apiservers that serve the own API to their clients.
	handler = WithAggregatedAPI(handler, s.options.API, s.options.FrontProxies, s.flights)

	// To verify a token that nobody has seen yet costs an apiserver as much as many
	// a request, so what can be refused without is refused before.
	handler = WithEarlyLimits(handler, s.options.Limits, s.options.Flows, s.status)

	// Computed once, read by every stage above.
	handler = WithAttributes(handler, s.parser, s.status)

	// Load balancers ask for health without credentials, and drained gateways
	// must still say that they are alive.
	handler = WithHealth(handler, s.health)

	// A gateway on its way out sends clients to another one.
	handler = WithDrainGate(handler, s.drain, s.status)

	// Outside of all that answers: a client that is only refused moves on, too.
	handler = WithGoaway(handler, s.options.GoawayChance, rand.Float64)

	// The log sees every answer, refusals included.
	handler = WithAccessLog(handler, s.accessLog, s.metrics, s.options.Clock)
	handler = WithTrace(handler)

	// Whoever answers, the rest of a body is not waited for without end.
	handler = WithUnreadBody(handler, s.options.StallTimeout)

	// Outside of all that can fail, so that no programming error takes the process
	// down.
	handler = WithRecover(handler, s.options.Log, s.metrics)

	// What is above is deep.
	return WithStack(handler)
}

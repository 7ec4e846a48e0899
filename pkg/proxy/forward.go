package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.uber.org/zap"

	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

// upstream sends requests to kube-apiservers. Errors match
// routing.ErrUnreachable, or are a *routing.Refused, when nothing of the request
// was sent.
type upstream interface {
	RoundTrip(r *http.Request, call routing.Call) (*http.Response, *routing.Endpoint, error)
	// Way finds out how a client's request is served.
	Way(a *request.Attributes, header http.Header) routing.Way
}

// discovered adds the gateway's own API group to the documents in which clients
// look for APIs.
type discovered interface {
	Wants(r *http.Request) bool
	Serve(r *http.Request, upstream func(*http.Request) (*http.Response, error)) (*http.Response, error)
}

// forwarder is the end of the chain: it has an apiserver answer the request.
type forwarder struct {
	upstream  upstream
	discovery discovered
	flights   *flights
	replays   replays
	status    statusWriter
	metrics   *metrics
	// log tells the operator why requests fail; sampled, for when all do.
	log     *zap.Logger
	proxies frontProxies
	// frontProxy tells that identities are asserted by front-proxy headers: then
	// Impersonate-* go through, and the apiserver judges who may act as whom.
	frontProxy bool
}

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := request.From(r.Context())
	ctx, flight := f.flights.depart(r, w, a.LongRunning)
	defer f.flights.arrive(flight)

	as := routing.Asserting
	if a.Identity == nil {
		as = routing.Anonymous
		if r.ProtoMajor == 2 {
			// As kube-apiserver does since CVE-2023-44487: clients without
			// credentials do not get to keep an HTTP/2 connection.
			w.Header()["Connection"] = []string{"close"}
		}
	}
	out := f.outgoing(r.WithContext(ctx), a)
	flight.receiving.Store(true)
	body, release, err := newClientBody(out, &f.replays)
	defer release()
	// An upgrade has no use for a body, and kube-apiserver reads it before it
	// refuses: there is no answer without a deadline for both.
	flight.receiving.Store(body != nil && a.Upgrade)
	if err == nil {
		// A drain may have ended the request by now, and nothing of it is sent.
		err = ctx.Err()
	}
	if err != nil {
		f.fail(w, r, true, context.Cause(ctx), err)
		return
	}
	call := routing.Call{As: as, Lane: laneOf(a), Attributes: a}
	response, endpoint, err := f.send(out, call)
	flight.receiving.Store(false)
	if err != nil {
		f.fail(w, r, call.Repeatable(out), context.Cause(ctx), body.blame(err))
		return
	}
	defer func() {
		// To close waits for a body that is still being sent, unless the request is given
		// up; and a client that has been refused may not send the rest of its own.
		flight.cancel(nil)
		response.Body.Close()
	}()
	switch {
	case response.StatusCode == http.StatusSwitchingProtocols:
		opened(a)
		tunnel(ctx, w, response, flight)
	case redirectsAway(response):
		f.status.write(w, r, errBadGateway("the kube-apiserver redirected this request to another host; the gateway does not forward that"))
	default:
		f.copyResponse(ctx, w, a, response, endpoint, flight)
	}
}

// send has an apiserver answer. Lists of APIs get the gateway's own added.
func (f *forwarder) send(out *http.Request, call routing.Call) (*http.Response, *routing.Endpoint, error) {
	if f.discovery.Wants(out) {
		return f.merged(out, call)
	}
	return f.roundTrip(out, call)
}

func (f *forwarder) merged(out *http.Request, call routing.Call) (response *http.Response, by *routing.Endpoint, err error) {
	response, err = f.discovery.Serve(out, func(r *http.Request) (response *http.Response, err error) {
		response, by, err = f.roundTrip(r, call)
		return response, err
	})
	return response, by, err
}

func (f *forwarder) roundTrip(out *http.Request, call routing.Call) (*http.Response, *routing.Endpoint, error) {
	response, by, err := f.upstream.RoundTrip(out, call)
	if err == nil {
		f.metrics.answered(by, response.StatusCode)
	}
	return response, by, err
}

// outgoing turns r, a copy of the client's request, into the one to the
// apiserver. Path and query go as they came, escapes included: the apiserver
// must read what the gateway has read.
func (f *forwarder) outgoing(r *http.Request, a *request.Attributes) *http.Request {
	forwardedFor(r.Header, r.RemoteAddr)
	if f.frontProxy {
		f.proxies.Strip(r.Header)
	}
	// Without an identity the apiserver sees an anonymous request, and refuses to
	// let it impersonate.
	outbound(r.Header, a.Effective(), f.frontProxy || a.Identity == nil, a.Upgrade)
	r.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	r.Host, r.RequestURI, r.Close = "", "", false
	// kube-apiserver has no use for trailers, and a bad one would cost the answer.
	r.Trailer = nil
	return r
}

// laneOf sorts requests by what their answers do to a connection.
func laneOf(a *request.Attributes) routing.Lane {
	switch {
	case a.Upgrade:
		return routing.Upgrade
	case a.LongRunning:
		return routing.Watch
	case a.IsResourceRequest && a.Verb == "list":
		return routing.Bulk
	default:
		return routing.Short
	}
}

// forwardedFor appends the peer's address to X-Forwarded-For: kube-apiserver
// records it as a source IP in its audit log.
func forwardedFor(h http.Header, remoteAddr string) {
	ip, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return
	}
	if prior := h["X-Forwarded-For"]; len(prior) > 0 {
		ip = strings.Join(prior, ", ") + ", " + ip
	}
	h["X-Forwarded-For"] = []string{ip}
}

// redirectsAway tells a redirect that leads a client, and the credentials it
// may send along, to another host (CVE-2020-8559, CVE-2022-3172). A path of the
// same host is harmless.
func redirectsAway(response *http.Response) bool {
	if response.StatusCode < 300 || response.StatusCode > 399 {
		return false
	}
	location := response.Header.Get("Location")
	if location == "" {
		return false
	}
	// Browsers read a backslash as a slash and pass over leading spaces, so that
	// "/\host" and " //host" are other hosts.
	slashed := strings.ReplaceAll(location, `\`, "/")
	if strings.TrimSpace(slashed) != slashed || strings.HasPrefix(slashed, "//") {
		return true
	}
	target, err := url.Parse(slashed)
	return err != nil || target.Scheme != "" || target.Host != ""
}

// fail answers a request to which no apiserver has given an answer. Repeatable
// tells that it may be sent again although an apiserver may have it: client-go does
// so when it is told when to come back. Cause is why the request's context ended, if
// it did.
func (f *forwarder) fail(w http.ResponseWriter, r *http.Request, repeatable bool, cause, err error) {
	var refused *routing.Refused
	switch {
	case errors.Is(cause, errDeadline):
		// Asked first: the end of waiting for a body ends the request's context, too.
		if r.ProtoMajor == 1 {
			// It ends that of the connection, whose next request would be cancelled as
			// it comes.
			w.Header()["Connection"] = []string{"close"}
		}
		f.status.write(w, r, errTimeout("the kube-apiserver did not answer in time; a write may have been applied, so read before you send it again"))
	case r.Context().Err() != nil:
		// The client is gone; there is nobody to answer.
		panic(http.ErrAbortHandler)
	case errors.As(err, &clientError{}):
		// As kube-apiserver says it.
		f.status.write(w, r, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error(),
		}})
	case errors.As(err, &refused):
		if a := request.From(r.Context()); a.Admission != nil {
			a.Admission.Refund()
		}
		refusedBy(w, "upstreamgroup/"+refused.Group)
		f.status.write(w, r, errGroupFull(refused))
	case errors.Is(err, routing.ErrUnreachable):
		f.metrics.unreachable.Inc()
		f.log.Warn("no kube-apiserver can be reached", zap.Error(err))
		f.status.write(w, r, errUnreachable(err))
	case errors.Is(cause, errDraining) && repeatable:
		f.status.write(w, r, errUnavailable("this gateway is shutting down; connect again to reach another one"))
	case errors.Is(cause, errDraining):
		f.status.write(w, r, errLost("this gateway shut down before the kube-apiserver answered"))
	case repeatable:
		f.metrics.lost.Inc()
		f.log.Warn("a kube-apiserver connection was lost", zap.Error(err))
		f.status.write(w, r, errUnavailable("the connection to the kube-apiserver was lost before it answered; try again"))
	default:
		f.metrics.lost.Inc()
		f.log.Warn("a kube-apiserver connection was lost, with a request that must not be sent twice", zap.Error(err))
		f.status.write(w, r, errLost("the connection to the kube-apiserver was lost before it answered"))
	}
}

package routing

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Config is how to connect to servers, and which there are in the beginning.
type Config struct {
	// Groups are used until Update has others, and main of them whenever there is no
	// other group of this name. They have their defaults set.
	Groups []*v1alpha1.UpstreamGroup

	Asserting, Own, Anonymous Client

	Clock    clock.WithTicker
	Registry prometheus.Registerer // nil: no metrics
}

// Upstream is all apiservers of the cluster. It is safe for concurrent use.
type Upstream struct {
	config  Config
	table   atomic.Pointer[table]
	budget  *budget
	metrics *metrics
	random  func() uint64

	// mu guards changes of what there is.
	mu     sync.Mutex
	groups map[string]*group
	// endpoints are by group, URL and how they are verified.
	endpoints map[endpointKey]*Endpoint
	// changed has a message for Run when endpoints have changed.
	changed chan struct{}
}

type endpointKey struct{ group, url, verified string }

// New returns an Upstream. It connects to nothing yet. At least the group main
// is needed.
func New(c Config) (*Upstream, error) {
	u := &Upstream{
		config: c, budget: newBudget(), random: rand.Uint64, metrics: newMetrics(),
		groups: map[string]*group{}, endpoints: map[endpointKey]*Endpoint{}, changed: make(chan struct{}, 1),
	}
	if u.flagged(v1alpha1.GroupMain) == nil {
		return nil, errors.New("no main server given")
	}
	for _, g := range c.Groups {
		for _, s := range g.Spec.Servers {
			if server, err := url.Parse(s.URL); err != nil || server.Scheme != "https" || server.Host == "" || (server.Path != "" && server.Path != "/") {
				return nil, fmt.Errorf("%s server %q: want https://host:port", g.Name, s.URL)
			}
		}
	}
	u.Update(c.Groups, nil, nil)
	if c.Registry != nil {
		u.metrics.register(c.Registry, u)
	}
	return u, nil
}

// flagged returns the group of that name in the configuration.
func (u *Upstream) flagged(name string) *v1alpha1.UpstreamGroup {
	for _, g := range u.config.Groups {
		if g.Name == name && len(g.Spec.Servers) > 0 {
			return g
		}
	}
	return nil
}

// Update makes groups, Routes and Switches of type ForceGroup take effect. The
// objects are valid and have their defaults set. What is known of a server that
// stays is kept; requests under way finish where they are.
func (u *Upstream) Update(groups []*v1alpha1.UpstreamGroup, routes []*v1alpha1.Route, switches []*v1alpha1.Switch) {
	u.mu.Lock()
	defer u.mu.Unlock()
	present := map[string]*group{}
	used := map[endpointKey]*Endpoint{}
	now := u.config.Clock.Now()
	for _, o := range u.complete(groups) {
		g := u.groups[o.Name]
		if g == nil {
			g = &group{name: o.Name}
		}
		g.setSpec(u.compile(o, used), now)
		present[o.Name] = g
	}
	for key, e := range u.endpoints {
		if used[key] == nil {
			e.transports.Load().closeIdle()
		}
	}
	u.groups, u.endpoints = present, used
	u.table.Store(newTable(present, routes, switches))
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// complete adds main if it is missing. Without any group it is as in the
// beginning: nobody has made them yet.
func (u *Upstream) complete(groups []*v1alpha1.UpstreamGroup) []*v1alpha1.UpstreamGroup {
	if len(groups) == 0 {
		return u.config.Groups
	}
	for _, g := range groups {
		if g.Name == v1alpha1.GroupMain {
			return groups
		}
	}
	return append(groups[:len(groups):len(groups)], u.flagged(v1alpha1.GroupMain))
}

// compile makes a spec, with endpoints that are there already where it can.
func (u *Upstream) compile(o *v1alpha1.UpstreamGroup, used map[endpointKey]*Endpoint) *groupSpec {
	s := &groupSpec{
		qps: -1, shed: o.Spec.Shedding != v1alpha1.SheddingNever, hedge: o.Spec.Hedging == v1alpha1.HedgingAfterP99,
		slowStart: v1alpha1.DefaultSlowStart, failback: v1alpha1.DefaultFailback,
	}
	if o.Spec.QPS != nil {
		s.qps = o.Spec.QPS.AsApproximateFloat64()
		s.burst = max(1, int(s.qps))
	}
	if o.Spec.Burst != nil {
		s.burst = int(*o.Spec.Burst)
	}
	if o.Spec.MaxInFlight != nil {
		s.maxInFlight = int64(*o.Spec.MaxInFlight)
	}
	if o.Spec.SlowStart != nil {
		s.slowStart = o.Spec.SlowStart.Duration
	}
	if o.Spec.Failback != nil {
		s.failback = o.Spec.Failback.Duration
	}
	for _, server := range o.Spec.Servers {
		m := member{weight: 1}
		if server.Weight != nil {
			m.weight = float64(*server.Weight)
		}
		m.Endpoint = u.endpoint(o, server.URL, used)
		s.members = append(s.members, m)
	}
	return s
}

func (u *Upstream) endpoint(o *v1alpha1.UpstreamGroup, server string, used map[endpointKey]*Endpoint) *Endpoint {
	key := endpointKey{group: o.Name, url: server}
	if o.Spec.TLS != nil {
		key.verified = o.Spec.TLS.ServerName + "\x00" + string(o.Spec.TLS.CABundle)
	}
	e := u.endpoints[key]
	if e == nil {
		// It was checked when it was admitted.
		address, err := url.Parse(server)
		if err != nil {
			address = &url.URL{Scheme: "https", Host: "invalid"}
		}
		e = newEndpoint(o.Name, address, &u.config)
		e.renew(u.clients(o.Spec.TLS))
	}
	used[key] = e
	return e
}

func (u *Upstream) clients(how *v1alpha1.UpstreamTLS) [credentialCount]Client {
	return [credentialCount]Client{
		Asserting: u.config.Asserting.verifying(how), Own: u.config.Own.verifying(how), Anonymous: u.config.Anonymous.verifying(how),
	}
}

// Renew makes new connections for requests from now on. It is called when a
// client certificate has changed.
func (u *Upstream) Renew() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, e := range u.endpoints {
		var how *v1alpha1.UpstreamTLS
		if key.verified != "" {
			name, bundle, _ := strings.Cut(key.verified, "\x00")
			how = &v1alpha1.UpstreamTLS{ServerName: name, CABundle: []byte(bundle)}
		}
		e.renew(u.clients(how))
	}
}

// Close closes connections that carry no request.
func (u *Upstream) Close() {
	for _, e := range u.Endpoints() {
		e.transports.Load().closeIdle()
	}
}

// Endpoints returns all servers, those of main first.
func (u *Upstream) Endpoints() (all []*Endpoint) {
	for _, g := range u.table.Load().groups {
		for _, m := range g.spec.Load().members {
			all = append(all, m.Endpoint)
		}
	}
	return all
}

// Call is what RoundTrip has to know about a request beside what is sent.
type Call struct {
	As   Credential
	Lane Lane
	// Attributes are the client's; nil for the gateway's own requests, which take
	// any server and are refused by none.
	Attributes *request.Attributes
	// Way is where to send it, if that has been found out before; the zero Way has it
	// found out by Attributes and the headers that are sent.
	Way Way
}

// Repeatable tells whether a request that may have reached a server can be sent
// to another one: a read. What travels through a tunnel, and what a pod or
// service behind the apiserver makes of a GET, nobody knows.
func (c Call) Repeatable(r *http.Request) bool {
	if (r.Method != http.MethodGet && r.Method != http.MethodHead) || c.Lane == Upgrade || (r.Body != nil && r.Body != http.NoBody) {
		return false
	}
	a := c.Attributes
	return a == nil || !a.IsResourceRequest || a.Subresource == "" || a.Subresource == "status" || a.Subresource == "scale" || a.Subresource == "log"
}

func (c Call) priority() v1alpha1.Priority {
	if c.Attributes == nil {
		return v1alpha1.PriorityP0
	}
	return c.Attributes.Priority
}

// maxAttempts bounds how often one request is sent, or tried to be.
const maxAttempts = 8

// RoundTrip sends r to a server of the groups that its Route names, setting
// scheme and host of its URL, and to another one if that is safe: anything that
// has not been sent, and once a read that was lost. It returns the server that
// answered or failed. Errors match ErrUnreachable, or are a *Refused, when
// nothing of the request has been sent. The body of r is not closed.
func (u *Upstream) RoundTrip(r *http.Request, call Call) (*http.Response, *Endpoint, error) {
	u.budget.earn()
	body := r.Body
	if body != nil && body != http.NoBody {
		// A transport closes the body when its dial fails; the next server still
		// needs it.
		r.Body = io.NopCloser(body)
	}
	if call.Way.path == nil {
		call.Way = u.Way(call.Attributes, r.Header)
	}
	t := trip{upstream: u, call: call, path: call.Way.path}
	// An answer has taken the place over.
	defer t.leave()
	sendOnce(r, call)
	repeated := false
	var lost error
	for range maxAttempts {
		g, e, err := t.next()
		if err != nil {
			if lost != nil {
				return nil, nil, fmt.Errorf("%w (before: %w)", err, lost)
			}
			return nil, nil, err
		}
		response, err := t.send(r, g, e)
		if err == nil {
			return response, e, nil
		}
		switch {
		case r.Context().Err() != nil:
			return nil, e, err
		case errors.As(err, &notSent{}):
		case errors.Is(err, errMoved):
			u.metrics.retries.Inc()
		case !repeated && call.Repeatable(r) && u.budget.spend():
			repeated = true
			u.metrics.retries.Inc()
		default:
			return nil, e, err
		}
		lost = errors.Join(lost, err)
		if r, err = again(r); err != nil {
			return nil, e, err
		}
	}
	return nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, lost)
}

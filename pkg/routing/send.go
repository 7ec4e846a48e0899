package routing

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// send has one server answer, and notes what that says about it. The places that
// the request takes are given back when its answer is closed.
func (t *trip) send(r *http.Request, g *group, e *Endpoint) (*http.Response, error) {
	u, lane := t.upstream, t.call.Lane
	t.tried = append(t.tried, e)
	under := e.counter(lane)
	under.Add(1)
	e.sent.Add(1)
	start := u.config.Clock.Now()
	response, err := t.exchange(r, g, e)
	now := u.config.Clock.Now()
	if err != nil {
		under.Add(-1)
		t.failed(r, g, e, err, now)
		return nil, err
	}
	e.health.answered()
	g.pressure.answered(tooBusy(response, t.call.Attributes))
	if lane == Short && inMemory(r) {
		took := now.Sub(start)
		e.latency.add(took)
		e.slowest.add(took)
		g.adaptive.answered(response.StatusCode, took)
	}
	holding := t.holding
	if t.call.Attributes == nil || lane.longRunning() {
		holding = nil
	}
	response.Body = closing(response.Body, under, holding)
	t.holding = nil
	return response, nil
}

// inMemory tells a request that is sent at once. One whose body is still coming
// takes as long as its client likes, which says nothing about the server: clients
// that send a byte now and then would have it taken for overloaded.
func inMemory(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

// bodyFollows tells that the headers of the answer come when there is something to
// follow them: what a pod, a log or a watch says later may come much later.
func (c Call) bodyFollows() bool {
	if c.Lane != Short && c.Lane != Bulk {
		return false
	}
	return c.Attributes == nil || ofObjects(c.Attributes)
}

// ofObjects tells requests that the apiserver answers itself from those that have
// something to do with what objects stand for: a pod's log, a service's own answer.
func ofObjects(a *request.Attributes) bool {
	return !a.IsResourceRequest || a.Subresource == "" || a.Subresource == "status" || a.Subresource == "scale"
}

// awaitBody waits until the body has begun, and of objects and lists until so much of
// it is there as is sent to the client in one piece: most come whole then. A server
// that is lost before has not answered. The client has been sent nothing, and the
// request can go elsewhere as if the headers had been lost, too.
func (c Call) awaitBody(response *http.Response) error {
	if c.Attributes != nil && c.Attributes.IsResourceRequest {
		return fetchAhead(response)
	}
	// Others can be streams of a kind that nobody knows. To read no bytes is what waits
	// for some over HTTP/2, and takes none out of the body; over HTTP/1.1, where it does
	// not wait, nothing changes.
	_, err := response.Body.Read(nil)
	if err == nil || err == io.EOF {
		return nil
	}
	response.Body.Close()
	return err
}

// exchange sends the request to one server. A read can be taken from there, or goes to
// another one as well if the group hedges and it takes long. A watch stays: what it
// would take to move it would lie there as long as it is open.
func (t *trip) exchange(r *http.Request, g *group, e *Endpoint) (*http.Response, error) {
	s := g.spec.Load()
	switch {
	case !t.call.Repeatable(r) || t.call.Lane == Watch:
		return t.ask(r, e)
	case s.hedge && t.call.Lane == Short && len(s.members) > 1:
		return t.begun(t.hedged(r, g, e))
	default:
		return t.movable(r, e)
	}
}

// ask sends the request to one server, and waits for the beginning of its answer.
func (t *trip) ask(r *http.Request, e *Endpoint) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host = e.URL.Scheme, e.URL.Host
	return t.begun(e.transport(t.call.As, t.call.Lane).RoundTrip(r))
}

// begun waits for the body of an answer where it follows the headers.
func (t *trip) begun(response *http.Response, err error) (*http.Response, error) {
	if err == nil && t.call.bodyFollows() {
		err = t.call.awaitBody(response)
	}
	return response, err
}

// failed notes a request without answer. One that was given up by its client, or moved,
// says nothing.
func (t *trip) failed(r *http.Request, g *group, e *Endpoint, err error, now time.Time) {
	if r.Context().Err() != nil || errors.Is(err, errMoved) {
		return
	}
	e.failed.Add(1)
	if ownFault(err) {
		return
	}
	if errors.As(err, &notSent{}) {
		e.health.unreached(err, true, now)
		e.probeSoon()
		return
	}
	if e.health.lost(g.mayEject(e, now), now) {
		t.upstream.metrics.ejections.WithLabelValues(e.Group, e.URL.Host).Inc()
	}
	e.probeSoon()
}

// ownFault tells errors of a connection that the gateway's machine could not make, for
// want of files or ports: they say nothing of the server.
func ownFault(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// mayEject tells whether the group can do without the server: half of them stay.
func (g *group) mayEject(e *Endpoint, now time.Time) bool {
	members := g.spec.Load().members
	others := 0
	for _, m := range members {
		if m.Endpoint != e && m.weight > 0 && m.has(healthy, now.UnixNano()) {
			others++
		}
	}
	return 2*others >= len(members) && others > 0
}

// answer gives back the places of a request when its body is closed.
type answer struct {
	io.ReadCloser
	under   *atomic.Int64
	holding *group
	closed  atomic.Bool
}

func (a *answer) Close() error {
	if !a.closed.Swap(true) {
		a.under.Add(-1)
		if a.holding != nil {
			a.holding.release(false)
		}
	}
	return a.ReadCloser.Close()
}

// tunnel is the answer to an upgrade.
type tunnel struct {
	*answer
	io.Writer
}

func closing(body io.ReadCloser, under *atomic.Int64, holding *group) io.ReadCloser {
	a := &answer{ReadCloser: body, under: under, holding: holding}
	if w, ok := body.(io.Writer); ok {
		return tunnel{a, w}
	}
	return a
}

// spreadPerWatch and maxSpread are over which time the clients of long-running
// requests that a dead server has broken off are told: 500 of them come back in a
// second.
const (
	spreadPerWatch = 2 * time.Millisecond
	maxSpread      = 5 * time.Second
)

// Spread is the time over which clients should learn that their long-running
// requests have been broken off, so that they do not all come back at once.
func (e *Endpoint) Spread() time.Duration {
	return min(maxSpread, time.Duration(e.longRunning.Load())*spreadPerWatch)
}

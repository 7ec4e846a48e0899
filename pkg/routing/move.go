package routing

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxWait is for how long a server may be silent until reads that wait for it go to
// another one, if there is any: long enough after maxQuiet that a server which froze at
// the same time is known to be quiet, and none goes there.
const maxWait = 1400 * time.Millisecond

// errMoved is that of a read that has been taken from a server to be sent to another.
var errMoved = errors.New("no sign of life for " + maxWait.String())

// reads are those that wait for a server's answer. Once its first bytes are there a
// read stays: a server that has only paused goes on with it.
type reads struct {
	mu      sync.Mutex
	waiting map[*read]struct{}
}

// read is one of them, and the body of its answer.
type read struct {
	io.ReadCloser
	trip   *trip
	cancel context.CancelFunc
	// moved tells that it is to go elsewhere; the lock of reads guards it.
	moved bool
}

// movable asks one server, from which the request can be taken while it waits.
func (t *trip) movable(r *http.Request, e *Endpoint) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	this := &read{trip: t, cancel: cancel}
	e.reads.add(this)
	response, err := t.ask(r.WithContext(ctx), e)
	if e.reads.remove(this) {
		if err == nil {
			response.Body.Close()
		}
		err = errMoved
	}
	if err != nil {
		cancel()
		return nil, err
	}
	this.ReadCloser, response.Body = response.Body, this
	return response, nil
}

// Close implements io.Closer.
func (r *read) Close() error {
	err := r.ReadCloser.Close()
	r.cancel()
	return err
}

// add has a read that is about to be sent wait. Nobody may change its trip until it is
// removed.
func (s *reads) add(r *read) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[*read]struct{}{}
	}
	s.waiting[r] = struct{}{}
}

// remove tells whether the read is to go elsewhere, whatever has become of it here.
func (s *reads) remove(r *read) (moved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, r)
	return r.moved
}

// move takes those that may go from the server.
func (s *reads) move(may func(*trip) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.waiting {
		if !r.moved && may(r.trip) {
			r.moved = true
			r.cancel()
		}
	}
}

// moveReads has reads that wait for a silent server go to others, as far as there are
// any that would take them.
func (u *Upstream) moveReads(e *Endpoint, now time.Time) {
	e.reads.move(func(t *trip) bool { return t.elsewhere(now) && u.budget.spend() })
}

// elsewhere tells whether there is a healthy server that has not been tried, in a group
// that would let the request in.
func (t *trip) elsewhere(now time.Time) bool {
	g, e := t.choose(t.path.groups, now)
	if e == nil {
		g, e = t.choose(t.path.spill, now)
	}
	if e == nil {
		return false
	}
	return g == t.holding || t.call.Attributes == nil || g.check(t.call.priority(), t.call.Lane.longRunning(), now, false) == nil
}

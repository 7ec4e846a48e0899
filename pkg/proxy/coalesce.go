package proxy

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

const (
	// gatherFor is how long a read waits for the answer to one like it to begin,
	// before it is sent although that has not come.
	gatherFor = 200 * time.Millisecond
	// sharedTimeout bounds a request on behalf of many.
	sharedTimeout = time.Minute
	// maxShared bounds the body of an answer that is shared, and maxSharing those of
	// all that are, in bytes.
	maxShared  = 16 << 20
	maxSharing = 256 << 20
)

// coalescer sends lists that are the same once for all who come while one of them
// is under way.
//
// A read never gets an answer that was asked for before it came: it joins the next
// request, not the one under way. That is sent as soon as the answer to the one
// before begins. It is the gateway's own, so who joins must be allowed to see the
// answer. Whatever is not a plain success is not shared: each asks for itself then.
type coalescer struct {
	upstream upstream
	// allowed tells whether the apiserver lets a client read this.
	allowed func(ctx context.Context, a *request.Attributes) bool
	flights *flights
	clock   clock.Clock
	shared  prometheus.Counter

	mu      sync.Mutex
	lines   map[string]*line
	sharing atomic.Int64
}

// line is the reads of one kind.
type line struct {
	// flying are requests that were sent and whose answer has not begun; begun is
	// closed when that of the last one has.
	flying int
	begun  chan struct{}
	next   *batch
}

// batch is who waits for a request to be sent.
type batch struct {
	members int
	done    chan struct{}
	// answer is nil if each is to ask for itself.
	answer *sharedAnswer
	// users are members that may still write the answer, and who asks for it; held is
	// what it takes of maxSharing until there is none.
	users atomic.Int64
	held  int64
}

type sharedAnswer struct {
	header http.Header
	body   []byte
}

func newCoalescer(upstream upstream, allowed func(context.Context, *request.Attributes) bool, flights *flights, shared prometheus.Counter) *coalescer {
	return &coalescer{upstream: upstream, allowed: allowed, flights: flights, clock: flights.clock, shared: shared, lines: map[string]*line{}}
}

// forPeople tells requests that are answered in another way, since people read that.
func forPeople(r *http.Request) bool {
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// lineOf is all that an answer depends on but who asks, and all by which servers are
// chosen and refuse: who is in a line is served where he is to be, and turned away
// with his like alone.
func lineOf(r *http.Request, way routing.Way) (key string) {
	var b strings.Builder
	for _, part := range []string{
		r.URL.RequestURI(), strings.Join(r.Header["Accept"], ","), strings.Join(r.Header["Accept-Encoding"], ","),
		way.By, string(request.From(r.Context()).Priority),
	} {
		b.WriteString(part)
		b.WriteByte('\n')
	}
	return b.String()
}

// serve answers a read, with alone if it is the only one of its kind.
func (c *coalescer) serve(w http.ResponseWriter, r *http.Request, alone http.Handler) {
	if forPeople(r) {
		alone.ServeHTTP(w, r)
		return
	}
	way := c.upstream.Way(request.From(r.Context()), r.Header)
	key := lineOf(r, way)
	if answer, leave := c.join(key, r, way); answer != nil {
		defer leave()
		c.shared.Inc()
		_, flight := c.flights.depart(r, w, false)
		defer c.flights.arrive(flight)
		ownHeaders(w.Header(), r)
		for name, values := range answer.header {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusOK)
		// It fails if the client is gone, and there is nobody to tell.
		_, _ = flight.writeTo(w, answer.body)
		return
	}
	begun := c.depart(key)
	defer begun()
	alone.ServeHTTP(&beginning{ResponseWriter: w, begun: begun}, r)
}

// join waits for the answer to a request that is sent for all who wait, which is left
// when it is written; nil if there is none.
func (c *coalescer) join(key string, r *http.Request, way routing.Way) (answer *sharedAnswer, leave func()) {
	c.mu.Lock()
	l := c.lines[key]
	crowded := l != nil && (l.flying > 0 || l.next != nil)
	c.mu.Unlock()
	a := request.From(r.Context())
	if !crowded || !c.allowed(r.Context(), a) {
		return nil, nil
	}
	c.mu.Lock()
	l = c.lines[key]
	if l == nil || (l.flying == 0 && l.next == nil) {
		// The line has moved on meanwhile.
		c.mu.Unlock()
		return nil, nil
	}
	b := l.next
	if b == nil {
		b = &batch{done: make(chan struct{})}
		b.users.Add(1)
		l.next = b
		go c.send(key, l, b, sharedRequest(r), routing.Call{As: routing.Own, Lane: laneOf(a), Attributes: a, Way: way})
	}
	b.members++
	b.users.Add(1)
	c.mu.Unlock()
	select {
	case <-b.done:
		if b.answer != nil {
			return b.answer, func() { c.leave(b) }
		}
	case <-r.Context().Done():
	}
	c.leave(b)
	return nil, nil
}

// leave is for who has no use for the answer any more.
func (c *coalescer) leave(b *batch) {
	if b.users.Add(-1) == 0 {
		c.sharing.Add(-b.held)
	}
}

// sharedRequest is the request that is sent for all who have made r.
func sharedRequest(r *http.Request) *http.Request {
	out := r.Clone(context.WithoutCancel(r.Context()))
	out.Header = http.Header{}
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent"} {
		if values := r.Header[name]; len(values) > 0 {
			out.Header[name] = values
		}
	}
	out.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}
	out.Host, out.RequestURI, out.Close = "", "", false
	out.Body, out.Trailer = nil, nil
	return out
}

// send waits until the batch may go, and asks for all its members.
func (c *coalescer) send(key string, l *line, b *batch, r *http.Request, call routing.Call) {
	c.mu.Lock()
	begun := l.begun
	c.mu.Unlock()
	select {
	case <-begun:
	case <-c.clock.After(gatherFor):
	}
	c.mu.Lock()
	l.next = nil
	alone := b.members == 1
	c.forget(key, l)
	c.mu.Unlock()
	defer c.leave(b)
	defer close(b.done)
	if alone {
		// It asks with its own name.
		return
	}
	landed := c.depart(key)
	defer landed()
	ctx, cancel := context.WithTimeout(r.Context(), sharedTimeout)
	defer cancel()
	b.answer = c.ask(r.WithContext(ctx), call, b, landed)
}

// ask returns the answer of upstream; nil if it cannot be shared.
func (c *coalescer) ask(r *http.Request, call routing.Call, b *batch, landed func()) *sharedAnswer {
	// Nobody knows yet how much it will be.
	b.held = maxShared
	if c.sharing.Add(b.held) > maxSharing {
		return nil
	}
	response, _, err := c.upstream.RoundTrip(r, call)
	landed()
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || len(response.Trailer) > 0 {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxShared+1))
	if err != nil || len(body) > maxShared {
		return nil
	}
	c.sharing.Add(int64(len(body)) - b.held)
	b.held = int64(len(body))
	answer := &sharedAnswer{header: http.Header{}, body: body}
	inbound(answer.header, response.Header)
	forgetOwnHeaders(answer.header)
	answer.header["Content-Length"] = []string{strconv.Itoa(len(body))}
	return answer
}

// depart notes a request under way; what is returned notes that its answer has
// begun, and can be called more than once.
func (c *coalescer) depart(key string) (begun func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[key]
	if l == nil {
		l = &line{}
		c.lines[key] = l
	}
	l.flying++
	mine := make(chan struct{})
	l.begun = mine
	return sync.OnceFunc(func() {
		close(mine)
		c.mu.Lock()
		defer c.mu.Unlock()
		l.flying--
		c.forget(key, l)
	})
}

// forget drops a line in which nobody is. The lock is held.
func (c *coalescer) forget(key string, l *line) {
	if l.flying == 0 && l.next == nil && c.lines[key] == l {
		delete(c.lines, key)
	}
}

// beginning tells when an answer begins.
type beginning struct {
	http.ResponseWriter
	begun func()
}

func (b *beginning) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *beginning) WriteHeader(code int) {
	b.begun()
	b.ResponseWriter.WriteHeader(code)
}

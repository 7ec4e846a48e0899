package proxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

var (
	// errDeadline ends a request that took longer than its kind may.
	errDeadline = errors.New("the request exceeded its deadline")
	// errStalled ends a request whose client has stopped reading.
	errStalled = errors.New("the client stopped reading")
	// errDraining ends a long-running request because the gateway shuts down.
	errDraining = errors.New("the gateway is shutting down")
)

// flight is one request under way.
type flight struct {
	start       time.Time
	longRunning bool
	cancel      context.CancelCauseFunc
	client      *http.ResponseController
	// conn is the client's connection if it can be corked, written how much of the
	// answer has been written, in bytes.
	conn    *corkedConn
	written int64

	// writing is when the write now under way to the client began, in Unix ns;
	// 0 between writes.
	writing atomic.Int64
	// receiving tells that the request waits for the client's body, for which
	// there is a deadline whatever the kind of request.
	receiving atomic.Bool
	// midEvent tells that the client has received part of a watch event.
	midEvent atomic.Bool
	shard    *flightShard
}

// flights holds the requests under way. The zero value is not ready.
type flights struct {
	shards [16]flightShard
	next   atomic.Uint32
	short  atomic.Int64
	long   atomic.Int64

	state *drainState
	clock clock.WithTicker
	// deadline bounds requests that are not long-running; stall bounds one write.
	deadline, stall time.Duration
}

type flightShard struct {
	mu      sync.Mutex
	members map[*flight]struct{}
}

func newFlights(state *drainState, clock clock.WithTicker, deadline, stall time.Duration) *flights {
	f := &flights{state: state, clock: clock, deadline: deadline, stall: stall}
	for i := range f.shards {
		f.shards[i].members = map[*flight]struct{}{}
	}
	return f
}

// depart enters a request and returns the context it must work under.
func (f *flights) depart(r *http.Request, w http.ResponseWriter, longRunning bool) (context.Context, *flight) {
	ctx, cancel := context.WithCancelCause(r.Context())
	shard := &f.shards[f.next.Add(1)%uint32(len(f.shards))]
	fl := &flight{start: f.clock.Now(), longRunning: longRunning, cancel: cancel, client: http.NewResponseController(w), conn: corkOf(r), shard: shard}
	f.counter(longRunning).Add(1)
	shard.mu.Lock()
	shard.members[fl] = struct{}{}
	shard.mu.Unlock()
	if longRunning && f.state.reached(refusing) {
		// It passed the gate before that closed, and drain may have looked for
		// those to end before it was entered.
		fl.end()
	}
	return ctx, fl
}

// arrive removes a request. After it returns nobody touches the client's
// response writer any more.
func (f *flights) arrive(fl *flight) {
	fl.shard.mu.Lock()
	delete(fl.shard.members, fl)
	fl.shard.mu.Unlock()
	fl.cancel(nil)
	f.counter(fl.longRunning).Add(-1)
}

func (f *flights) counter(longRunning bool) *atomic.Int64 {
	if longRunning {
		return &f.long
	}
	return &f.short
}

// each calls fn for every request under way. The shard is locked meanwhile, so
// that a flight cannot arrive, and its response writer die, under fn.
func (f *flights) each(fn func(*flight)) {
	for i := range f.shards {
		shard := &f.shards[i]
		shard.mu.Lock()
		for fl := range shard.members {
			fn(fl)
		}
		shard.mu.Unlock()
	}
}

// run sweeps once a second until ctx ends.
func (f *flights) run(ctx context.Context) {
	ticker := f.clock.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			f.sweep(f.clock.Now())
		}
	}
}

func (f *flights) sweep(now time.Time) {
	f.each(func(fl *flight) {
		if began := fl.writing.Load(); began != 0 && now.Sub(time.Unix(0, began)) > f.stall {
			fl.cancel(errStalled)
			fl.abortWrite(now)
		}
		if (!fl.longRunning || fl.receiving.Load()) && now.Sub(fl.start) > f.deadline {
			fl.cancel(errDeadline)
			// A body that trickles in is waited for by the handler itself.
			_ = fl.client.SetReadDeadline(now.Add(-time.Second))
			if fl.writing.Load() != 0 {
				fl.abortWrite(now)
			}
		}
	})
}

// abortWrite makes a blocked write return: its deadline is a moment ago. So is
// that for reading, since HTTP/1.1 waits for the rest of a body before it writes.
// An error would mean that the connection is gone already.
func (fl *flight) abortWrite(now time.Time) {
	_ = fl.client.SetReadDeadline(now.Add(-time.Second))
	_ = fl.client.SetWriteDeadline(now.Add(-time.Second))
}

// drain ends long-running requests one after another over the period, each
// between two events where it can. Those that still sit in the middle of an
// event at the end of it are ended too. It returns when all are told.
func (f *flights) drain(ctx context.Context, period time.Duration) {
	f.state.enter(refusing)
	var told []*flight
	f.each(func(fl *flight) {
		if fl.longRunning {
			told = append(told, fl)
		}
	})
	if len(told) == 0 {
		return
	}
	rand.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
	steps := min(len(told), drainSteps)
	start := f.clock.Now()
	var late []*flight
	for step := range steps {
		for _, fl := range told[step*len(told)/steps : (step+1)*len(told)/steps] {
			if fl.midEvent.Load() {
				late = append(late, fl)
			} else {
				fl.end()
			}
		}
		// By the clock and not step by step: on a busy machine each wait takes
		// longer than asked for, and together they would outlast the grace period.
		due := start.Add(period * time.Duration(step+1) / time.Duration(steps))
		wait := due.Sub(f.clock.Now())
		if wait <= 0 {
			continue
		}
		select {
		case <-ctx.Done():
			// No time left: the rest is told at once.
			period = 0
		case <-f.clock.After(wait):
		}
	}
	for _, fl := range late {
		fl.end()
	}
}

// drainSteps is into how many steps the ends of long-running requests are
// spread over the drain period.
const drainSteps = 100

// begin and done stand around a write to the client.
func (fl *flight) begin() { fl.writing.Store(time.Now().UnixNano()) }
func (fl *flight) done()  { fl.writing.Store(0) }

// writeTo writes a part of the answer, and lets the sweeper see for how long.
func (fl *flight) writeTo(w io.Writer, b []byte) (n int, err error) {
	fl.begin()
	defer fl.done()
	switch {
	case !fl.longRunning:
		fl.conn.begin()
		n, err = w.Write(b)
		if fl.written += int64(n); fl.written <= withEnd {
			// The header, and the body with the end.
			fl.conn.end(2)
		} else {
			fl.conn.end(1)
		}
	case len(b) >= corkEnough:
		fl.conn.begin()
		n, err = w.Write(b)
		fl.conn.end(0)
	default:
		n, err = w.Write(b)
	}
	return n, err
}

// flush sends what was written on its way.
func (fl *flight) flush() error {
	fl.begin()
	defer fl.done()
	return fl.client.Flush()
}

func (fl *flight) end() { fl.cancel(errDraining) }

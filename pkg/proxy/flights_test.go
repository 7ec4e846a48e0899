package proxy

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// deadlineRecorder is a response writer that notes write deadlines.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	deadline atomic.Pointer[time.Time]
}

func (d *deadlineRecorder) SetWriteDeadline(t time.Time) error {
	d.deadline.Store(&t)
	return nil
}

func newTestFlights() (*flights, *clocktesting.FakeClock) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	return newFlights(&drainState{}, clock, time.Minute, 30*time.Second), clock
}

func board(t *testing.T, f *flights, longRunning bool) (context.Context, *flight, *deadlineRecorder) {
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	ctx, fl := f.depart(httptest.NewRequest("GET", "/", nil).WithContext(t.Context()), w, longRunning)
	t.Cleanup(func() { f.arrive(fl) })
	return ctx, fl, w
}

func TestRequestPastItsDeadlineIsCancelled(t *testing.T) {
	f, clock := newTestFlights()
	short, _, w := board(t, f, false)
	long, _, _ := board(t, f, true)
	f.sweep(clock.Now().Add(time.Minute))
	if short.Err() != nil {
		t.Fatal("cancelled at its deadline, want after it")
	}
	f.sweep(clock.Now().Add(time.Minute + 1))
	if !errors.Is(context.Cause(short), errDeadline) {
		t.Errorf("cause %v", context.Cause(short))
	}
	if long.Err() != nil {
		t.Error("a long-running request has no deadline")
	}
	if w.deadline.Load() != nil {
		t.Error("nothing was being written: the answer 504 must still be possible")
	}
}

func TestClientThatStopsReadingIsCutOff(t *testing.T) {
	f, clock := newTestFlights()
	ctx, fl, w := board(t, f, true)
	f.sweep(clock.Now().Add(time.Hour))
	if ctx.Err() != nil {
		t.Fatal("an idle watch was cut off")
	}
	fl.writing.Store(clock.Now().UnixNano())
	f.sweep(clock.Now().Add(31 * time.Second))
	if !errors.Is(context.Cause(ctx), errStalled) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	if d := w.deadline.Load(); d == nil || d.After(clock.Now().Add(31*time.Second)) {
		t.Errorf("the blocked write was not released: deadline %v", d)
	}
}

func TestArrivedRequestIsLeftAlone(t *testing.T) {
	f, clock := newTestFlights()
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	_, fl := f.depart(httptest.NewRequest("GET", "/", nil), w, true)
	fl.writing.Store(clock.Now().UnixNano())
	f.arrive(fl)
	f.sweep(clock.Now().Add(time.Hour))
	if w.deadline.Load() != nil {
		t.Error("the response writer was touched after its handler returned")
	}
	if f.long.Load() != 0 {
		t.Errorf("%d requests counted", f.long.Load())
	}
}

func TestDrainSpreadsWatchesAndWaitsForTheEndOfEvents(t *testing.T) {
	f, clock := newTestFlights()
	const watches = 10
	var ended []context.Context
	for range watches {
		ctx, _, _ := board(t, f, true)
		ended = append(ended, ctx)
	}
	busy, midEvent, _ := board(t, f, true)
	midEvent.midEvent.Store(true)
	short, _, _ := board(t, f, false)
	count := func() (n int) {
		for _, ctx := range ended {
			if ctx.Err() != nil {
				n++
			}
		}
		return n
	}

	done := make(chan struct{})
	go func() {
		defer close(done)
		f.drain(t.Context(), 11*time.Second)
	}()
	for step := range watches + 1 {
		waitFor(t, clock.HasWaiters)
		if got := count(); got > step+1 {
			t.Fatalf("%d watches ended after %d s of 11", got, step)
		}
		if busy.Err() != nil {
			t.Fatal("a watch was ended in the middle of an event before the time was up")
		}
		clock.Step(time.Second)
	}
	<-done
	if count() != watches || !errors.Is(context.Cause(ended[0]), errDraining) {
		t.Errorf("%d of %d watches ended, cause %v", count(), watches, context.Cause(ended[0]))
	}
	if busy.Err() == nil {
		t.Error("the drain did not end the watch that stayed in an event")
	}
	if short.Err() != nil {
		t.Error("a short request was ended; it has until the end of the grace period")
	}
	if !f.state.reached(refusing) {
		t.Error("new requests are still let in")
	}
}

// TestDrainKeepsToItsTime steps over the whole period at once, as a machine does
// that was busy elsewhere.
func TestDrainKeepsToItsTime(t *testing.T) {
	f, clock := newTestFlights()
	var watches []context.Context
	for range 10 {
		ctx, _, _ := board(t, f, true)
		watches = append(watches, ctx)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.drain(t.Context(), 10*time.Second)
	}()
	waitFor(t, clock.HasWaiters)
	clock.Step(11 * time.Second)
	<-done
	for _, ctx := range watches {
		if ctx.Err() == nil {
			t.Fatal("a watch goes on after the period")
		}
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("condition not met in 10 s")
		}
	}
}

func BenchmarkFlight(b *testing.B) {
	f, _ := newTestFlights()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, fl := f.depart(r, w, false)
			f.arrive(fl)
		}
	})
}

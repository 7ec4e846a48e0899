package routing

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func TestHealth(t *testing.T) {
	now := time.Unix(1000, 0)
	slow := errors.New("deadline exceeded")
	for _, test := range []struct {
		name   string
		events func(h *health)
		want   v1alpha1.EndpointHealth
	}{
		{"nobody has asked", func(*health) {}, v1alpha1.EndpointUnknown},
		{"it says so", func(h *health) { h.probed(true, "", now) }, v1alpha1.EndpointReady},
		{"it says that it is not", func(h *health) { h.probed(true, "", now); h.probed(false, "etcd", now) }, v1alpha1.EndpointNotReady},
		{"one slow probe", func(h *health) { h.probed(true, "", now); h.noAnswer(slow, now) }, v1alpha1.EndpointReady},
		{"two slow probes", func(h *health) { h.noAnswer(slow, now); h.noAnswer(slow, now) }, v1alpha1.EndpointNotReady},
		{"slow ones with an answer between", func(h *health) { h.noAnswer(slow, now); h.probed(true, "", now); h.noAnswer(slow, now) }, v1alpha1.EndpointReady},
		{"refused once", func(h *health) {
			h.probed(true, "", now)
			h.unreached(fmt.Errorf("dial: %w", syscall.ECONNREFUSED), false, now)
		}, v1alpha1.EndpointDown},
		{"a probe that could not connect", func(h *health) { h.probed(true, "", now); h.unreached(slow, false, now) }, v1alpha1.EndpointReady},
		{"a request that could not connect", func(h *health) { h.probed(true, "", now); h.unreached(slow, true, now) }, v1alpha1.EndpointDown},
		{"no sign of life", func(h *health) { h.silent(now) }, v1alpha1.EndpointDown},
		{"down, and slow probes", func(h *health) { h.silent(now); h.noAnswer(slow, now); h.noAnswer(slow, now) }, v1alpha1.EndpointDown},
		{"it is back", func(h *health) { h.silent(now); h.probed(true, "", now) }, v1alpha1.EndpointReady},
	} {
		h := &health{}
		test.events(h)
		if got, reason, _ := h.describe(now); got != test.want {
			t.Errorf("%s: %s (%s), want %s", test.name, got, reason, test.want)
		}
	}
}

func TestServerThatLosesRequestsIsEjectedForAWhile(t *testing.T) {
	groups := mainAndBypass([]string{"https://a", "https://b"}, nil)
	u, clock := upstream(t, groups)
	g := u.table.Load().groups[0]
	a, b := u.Endpoints()[0], u.Endpoints()[1]
	lose := func(e *Endpoint, n int) (ejected bool) {
		for range n {
			ejected = e.health.lost(g.mayEject(e, clock.Now()), clock.Now())
		}
		return ejected
	}
	if lose(a, lossesToEject-1) {
		t.Error("ejected too early")
	}
	a.health.answered()
	if lose(a, lossesToEject-1) {
		t.Error("an answer between did not count")
	}
	if !lose(a, 1) {
		t.Fatal("not ejected")
	}
	for range 50 {
		if e := pick(g.spec.Load().members, healthy, false, nil, clock.Now(), 0, u.random); e != b {
			t.Fatal("an ejected server was chosen")
		}
	}
	if state, reason, _ := a.health.describe(clock.Now()); state != v1alpha1.EndpointEjected {
		t.Errorf("%s (%s)", state, reason)
	}
	if lose(b, 10*lossesToEject) {
		t.Error("the last one was ejected")
	}
	clock.Step(ejectFor + time.Millisecond)
	if a.health.ejected(clock.Now().UnixNano()) {
		t.Error("still ejected")
	}
	if !lose(a, lossesToEject) {
		t.Fatal("not ejected again")
	}
	clock.Step(ejectFor + time.Millisecond)
	if !a.health.ejected(clock.Now().UnixNano()) {
		t.Error("the second time is not longer")
	}
}

// TestServerThatIsBackIsNotEjectedForWhatItLostAtOnce loses hundreds of requests in
// the moment in which a server dies, or is given up for its silence.
func TestServerThatIsBackIsNotEjectedForWhatItLostAtOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, end := range map[string]func(h *health){
		"killed": func(*health) {},
		"silent": func(h *health) { h.silent(now) },
	} {
		h := &health{}
		h.probed(true, "", now)
		end(h)
		ejections := 0
		for range 40 * lossesToEject {
			if h.lost(true, now) {
				ejections++
			}
		}
		if ejections > 1 {
			t.Errorf("%s: ejected %d times for one failure", name, ejections)
		}
		later := now.Add(ejectFor + time.Millisecond)
		h.probed(true, "", later)
		if state, reason, _ := h.describe(later); state != v1alpha1.EndpointReady {
			t.Errorf("%s: when it is back it is %s (%s)", name, state, reason)
		}
	}
}

func TestSilence(t *testing.T) {
	now := time.Unix(1000, 0)
	s := silence{looked: now}
	tick := func(d time.Duration, heard int64, waiting bool) bool {
		now = now.Add(d)
		return s.look(now, heard, waiting)
	}
	ticks := func(n int, heard int64, waiting bool) (frozen bool) {
		for range n {
			frozen = tick(silenceTick, heard, waiting) || frozen
		}
		return frozen
	}
	if ticks(100, 1, false) {
		t.Error("silent while nobody waits")
	}
	if s.still < maxQuiet {
		t.Error("not quiet")
	}
	const most = int(maxSilence / silenceTick)
	if ticks(most-1, 1, true) {
		t.Errorf("given up before %s", maxSilence)
	}
	if ticks(most-1, 2, true) {
		t.Error("given up though it was heard")
	}
	if !ticks(most+1, 2, true) {
		t.Errorf("not given up a tick after %s", maxSilence)
	}
	// A minute in which this process did not run says nothing about the server.
	if ticks(6, 3, true) || tick(time.Minute, 3, true) || s.still >= maxQuiet {
		t.Error("a pause of the gateway counted as silence of the server")
	}
	if ticks(7, 3, true) {
		t.Error("given up before the gateway has listened for long enough after a pause")
	}
	if !ticks(2, 3, true) {
		t.Error("not given up though the gateway has listened for long enough")
	}
	// A machine that stands still for a moment holds up nobody for longer than that.
	if ticks(6, 4, true) || tick(700*time.Millisecond, 4, true) || ticks(10, 4, true) || !ticks(1, 4, true) {
		t.Errorf("with a pause of the gateway within, not given up after %s", maxSilence)
	}
}

func TestAClockThatIsSetBackHoldsNobodyUp(t *testing.T) {
	const failback = 30 * time.Second
	now := time.Unix(100_000, 0)
	before := now.Add(-time.Hour)
	var a absence
	a.look(false, now.Add(-longAbsence))
	a.look(true, now)
	if part := a.returned(now, failback); part != 0 {
		t.Errorf("%v of the clients are back at once", part)
	}
	if part := a.returned(before, failback); part != 1 {
		t.Errorf("%v of the clients are back an hour before", part)
	}
	h := &health{}
	h.probed(true, "", now)
	h.warmSince.Store(now.UnixNano())
	for range lossesToEject {
		h.lost(true, now)
	}
	if !h.ejected(now.UnixNano()) || h.warmth(now.UnixNano(), failback) == 1 {
		t.Fatal("neither ejected nor cold")
	}
	if h.ejected(before.UnixNano()) {
		t.Error("ejected for an hour")
	}
	if part := h.warmth(before.UnixNano(), failback); part != 1 {
		t.Errorf("gets %v of its requests for an hour", part)
	}
}

// TestWhatTheGatewayLacksIsNoFaultOfAServer: a gateway without a port to call from
// cannot tell whether anybody listens.
func TestWhatTheGatewayLacksIsNoFaultOfAServer(t *testing.T) {
	dial := func(errno syscall.Errno) error {
		return notSent{&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}}
	}
	u, clock := upstream(t, mainAndBypass([]string{"https://a"}, nil))
	g := u.table.Load().groups[0]
	e := u.Endpoints()[0]
	e.health.probed(true, "", clock.Now())
	trip := trip{upstream: u}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.EADDRNOTAVAIL} {
		trip.failed(r, g, e, dial(errno), clock.Now())
		if e.health.condition() != ready {
			t.Fatalf("given up for %s", errno)
		}
	}
	trip.failed(r, g, e, dial(syscall.ECONNREFUSED), clock.Now())
	if e.health.condition() != down {
		t.Error("not given up although nobody listens")
	}
}

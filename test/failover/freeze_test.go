package failover

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestOneOfTwoMainServersFreezes stops it under traffic, and continues it. Live
// servers may take as long as they need meanwhile.
func TestOneOfTwoMainServersFreezes(t *testing.T) {
	e := through(t, measured)
	scale := e.sustainable(t)
	var slow errgroup.Group
	for what, ask := range e.slowAnswers(t) {
		slow.Go(func() error {
			if err := ask(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	r := e.send(t, e.mixed(t, scale))
	r.await(t, vitalGets, vitalGetsRate)
	disturbed := e.disturbed(t, r)
	f := e.freeze(t, "main-0")
	pause(t, patience+machine)
	during := disturbed()
	e.resume(t, "main-0")
	back := e.awaitHealth(t, "main-0", true)
	later := e.readAfter(t, back, slowStart)
	results, watched := e.stop(t, r)

	v := judge(t, results, f)
	checkPatience(t, results, f, during)
	e.checkFailures(t, "main-0")
	e.checkNothingUnderWay(t)
	ends, refusals := checkBrokenWatches(t, watched)
	if v.unserved+refusals > 0 {
		t.Errorf("%d reads and %d watches were told to come back, though another main server was there", v.unserved, refusals)
	}
	t.Logf("%.0f requests a second: %s; %d watches ended cleanly and went on, after %d refusals; %s", requestRate(scale), v, ends, refusals, during)
	if got := part("main-0", back, later); got < 0.1 {
		t.Errorf("main-0 goes on, but gets only %.0f%% of the requests", 100*got)
	} else {
		t.Logf("main-0 goes on and gets %.0f%% of the requests in the %s after", 100*got, slowStart)
	}
	if err := slow.Wait(); err != nil {
		t.Errorf("a live server's answer was not waited for: %v", err)
	}
}

// TestAllMainServersFreeze has bypass stand in for them.
func TestAllMainServersFreeze(t *testing.T) {
	e := through(t, measured)
	scale := e.sustainable(t)
	r := e.send(t, e.mixed(t, scale))
	r.await(t, vitalGets, vitalGetsRate)
	disturbed := e.disturbed(t, r)
	f := e.freeze(t, "main-0", "main-1")
	pause(t, 4*time.Second)
	during := disturbed()
	e.resume(t, "main-0", "main-1")
	e.awaitHealth(t, "main-0", true)
	back := e.awaitHealth(t, "main-1", true)
	e.awaitReturn(t)
	later := e.readAfter(t, back, 3*time.Second)
	results, watched := e.stop(t, r)

	v := judge(t, results, f)
	checkPatience(t, results, f, during)
	e.checkFailures(t, "main-0", "main-1")
	e.checkNothingUnderWay(t)
	ends, refusals := checkBrokenWatches(t, watched)
	t.Logf("%.0f requests a second: %s; %d watches ended cleanly and went on, after %d refusals; longest gap of the %s stream %s; %s",
		requestRate(scale), v, ends, refusals, vitalGets, ms(gap(results, vitalGets, f.begun, f.over)), during)
	for _, server := range []string{"main-0", "main-1"} {
		if got := later.answered[server] - back.answered[server]; got < 10 {
			t.Errorf("%s goes on, but has answered only %v requests since", server, got)
		}
	}
}

// TestRequestAloneDoesNotWaitLonger freezes main while nobody else asks it anything:
// what is known of servers is what probes tell.
func TestRequestAloneDoesNotWaitLonger(t *testing.T) {
	e := through(t, measured)
	c := e.client(t, "critical-alone")
	get := func() (time.Duration, *answer) {
		begun := time.Now()
		a, err := c.do(within(t, 20*time.Second), "GET", "/api/v1/namespaces/small/configmaps/object-0", "")
		must(t, err)
		return time.Since(begun), a
	}
	get()
	disturbed := e.disturbed(t)
	e.freeze(t, "main-0", "main-1")
	took, a := get()
	during := disturbed()
	e.resume(t, "main-0", "main-1")
	t.Logf("answered %d after %s: %s; %s", a.code, ms(took), a.status.Message, during)
	if a.code != 200 {
		t.Errorf("answered %d: %s", a.code, a.status.Message)
	}
	inTime(t, "the request", took, patience, during)
	e.awaitCalm(t)
}

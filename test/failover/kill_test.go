package failover

import (
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// servedAgain is the time within which P0 is served by bypass after main is gone.
const servedAgain = time.Second

// TestOneOfTwoMainServersIsKilled kills it under traffic, and starts it again.
func TestOneOfTwoMainServersIsKilled(t *testing.T) {
	t.Run(string(fixture.FrontProxy), func(t *testing.T) {
		e := through(t, measured)
		e.killOne(t, e.sustainable(t), e.checkSlowStart)
	})
	t.Run(string(fixture.Impersonation), func(t *testing.T) {
		// With the race detector the gateway takes much of the machine.
		through(t, impersonator).killOne(t, 0.25, func(*testing.T) {})
	})
}

// killOne has main-0 die under traffic, and be started again.
func (e *env) killOne(t *testing.T, scale float64, then func(*testing.T)) {
	r := e.send(t, e.mixed(t, scale))
	r.await(t, vitalGets, vitalGetsRate)
	finish := e.openLists(t)
	f := e.kill(t, "main-0")
	disturbed := e.disturbed(t, r)
	if whole, broken := finish(); whole == 0 || broken == 0 {
		t.Errorf("of %d lists under way %d were broken off and %d whole, want some of each", readers, broken, whole)
	} else {
		t.Logf("of %d lists under way %d were broken off with an error, %d came whole", readers, broken, whole)
	}
	r.await(t, vitalGets, 3*vitalGetsRate)
	during := disturbed()

	e.revive(t, "main-0")
	back := time.Now()
	then(t)
	results, watched := e.stop(t, r)

	v := judge(t, results, f)
	e.checkFailures(t, "main-0")
	e.checkNothingUnderWay(t)
	ends, refusals := checkBrokenWatches(t, watched)
	if v.unserved+refusals > 0 {
		t.Errorf("%d reads and %d watches were told to come back, though another main server was there", v.unserved, refusals)
	}
	t.Logf("%.0f requests a second: %s; %d watches ended cleanly and went on, after %d refusals; longest gap of the %s stream %s; %s",
		requestRate(scale), v, ends, refusals, vitalGets, ms(gap(results, vitalGets, f.begun.Add(-time.Second/2), back)), during)
}

// checkSlowStart fails unless main-0, which has just been started, gets few requests
// at first and its part of them later.
func (e *env) checkSlowStart(t *testing.T) {
	t.Helper()
	back := e.awaitHealth(t, "main-0", true)
	early := e.readAfter(t, back, slowStart/5)
	warm := e.readAfter(t, back, slowStart+slowStart/5)
	late := e.readAfter(t, warm, 2*time.Second)
	first, then := part("main-0", back, early), part("main-0", warm, late)
	t.Logf("main-0 is back and gets %.0f%% of main's requests in the first %s, %.0f%% after %s", 100*first, slowStart/5, 100*then, slowStart+slowStart/5)
	if first > 0.35 {
		t.Errorf("no slow start: it got %.0f%% of the requests at once", 100*first)
	}
	if then < 0.2 || then < first {
		t.Errorf("it gets only %.0f%% of the requests", 100*then)
	}
}

// TestAllMainServersAreKilled has bypass stand in for main, and main come back.
func TestAllMainServersAreKilled(t *testing.T) {
	e := through(t, measured)
	scale := e.sustainable(t)
	r := e.send(t, e.mixed(t, scale))
	r.await(t, vitalGets, vitalGetsRate)
	f := e.kill(t, "main-0", "main-1")
	disturbed := e.disturbed(t, r)
	// Longer than longAbsence of pkg/routing: few would have left.
	pause(t, 4*time.Second)
	during := disturbed()
	mark := e.markAudit(t)
	e.revive(t, "main-0", "main-1")
	disturbed = e.disturbed(t, r)
	e.awaitReturn(t)
	duringReturn := disturbed()
	results, watched := e.stop(t, r)

	v := judge(t, results, f)
	e.checkFailures(t, "main-0", "main-1")
	e.checkNothingUnderWay(t)
	ends, refusals := checkBrokenWatches(t, watched)
	longest := gap(results, vitalGets, f.begun.Add(-time.Second/2), f.begun.Add(4*time.Second))
	write := firstSuccess(results, "P0 create", f.begun)
	t.Logf("%.0f requests a second: %s; %d watches ended cleanly and went on, after %d refusals; %s", requestRate(scale), v, ends, refusals, during)
	t.Logf("longest gap of the %s stream: %s; first write %s after the kill", vitalGets, ms(longest), ms(write))
	inTime(t, "the longest gap of the stream of P0", longest, servedAgain, during)
	inTime(t, "the first write of P0", write, servedAgain, during)
	e.checkReturn(t, mark, duringReturn)
}

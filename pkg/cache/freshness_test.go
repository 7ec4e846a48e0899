package cache

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// relaxedRead are the attributes of a list by a client whose reads may be stale.
func relaxedRead(staleness time.Duration) *request.Attributes {
	a := read(alice, "list", "a", "", "")
	a.Reads = v1alpha1.ReadPolicy{Mode: v1alpha1.ReadRelaxed, MaxStaleness: &metav1.Duration{Duration: staleness}}
	return a
}

var nobody = &user.DefaultInfo{Name: "nobody"}

func numbered(i int) user.Info { return &user.DefaultInfo{Name: fmt.Sprint("user-", i)} }

func TestRelaxedReadsAreServedFromAStateThatWasProvedLately(t *testing.T) {
	d := &distant{at: 10}
	s, clock := followed(t, d, 10)
	c := &Cache{config: Config{Clock: clock, ServeStale: func(*request.Attributes) bool { return false }}, writes: newWrites()}
	list := func(a *request.Attributes) bool {
		t.Helper()
		p := c.freshness(s, a, point{kind: newest})
		_, ok := proved(t, s, clock, p.need)
		return ok
	}
	strict := read(alice, "list", "a", "", "")
	if !list(strict) {
		t.Fatal("a strict read is not served by a quiet cluster")
	}
	// From now on upstream is ahead, by changes of other resources.
	d.at = 11
	clock.Step(4 * time.Second)
	if !list(relaxedRead(5 * time.Second)) {
		t.Error("after 4s a read that may be 5s old is not served")
	}
	if list(strict) {
		t.Error("a strict read is served from what was proved for another")
	}
	if clock.Step(2 * time.Second); list(relaxedRead(5 * time.Second)) {
		t.Error("after 6s a read that may be 5s old is served")
	}
}

func TestNobodyReadsFromBeforeHisOwnWrite(t *testing.T) {
	d := &distant{at: 10}
	s, clock := followed(t, d, 10)
	c := &Cache{config: Config{Clock: clock, ServeStale: func(*request.Attributes) bool { return false }}, writes: newWrites()}
	a := relaxedRead(time.Minute)
	served := func() bool {
		t.Helper()
		_, ok := proved(t, s, clock, c.freshness(s, a, point{kind: newest}).need)
		return ok
	}
	if !served() {
		t.Fatal("not served before the write")
	}
	d.at = 11
	clock.Step(time.Second)
	done := c.Writing(a)
	if served() {
		t.Error("served while the write is under way")
	}
	done()
	if served() {
		t.Error("served after the write, from before it")
	}
	s.change(t, 11)
	clock.Step(time.Second)
	s.proofs.misses.Store(0)
	if !served() {
		t.Error("not served although the write is there")
	}
	other := relaxedRead(time.Minute)
	other.Identity = &request.Identity{Info: nobody}
	if p := c.freshness(s, other, point{kind: newest}); !p.need.since.Before(clock.Now().Add(-59 * time.Second)) {
		t.Error("the write of one client counts for another")
	}
}

func TestLastWritesAreForgottenOnTheSafeSide(t *testing.T) {
	_, clock := followed(t, &distant{}, 1)
	c := &Cache{config: Config{Clock: clock}, writes: newWrites()}
	a := relaxedRead(time.Minute)
	c.Writing(a)()
	wrote := clock.Now()
	for i := range maxWriters {
		clock.Step(time.Nanosecond)
		other := *a
		other.Identity = &request.Identity{Info: numbered(i)}
		c.Writing(&other)()
	}
	if last, _ := c.writes.last(a); last.Before(wrote) {
		t.Errorf("wrote at %s, remembered is %s", wrote, last)
	}
}

func TestAStateIsKeptProvedWhileSomebodyMayReadIt(t *testing.T) {
	s, clock := followed(t, &distant{at: 10}, 10)
	if s.relaxed.due(clock.Now(), nil) {
		t.Error("due although nobody reads")
	}
	s.relaxed.asked(clock.Now(), 6*time.Second)
	if !s.relaxed.due(clock.Now(), nil) {
		t.Fatal("not due")
	}
	if s.relaxed.due(clock.Now(), nil) {
		t.Error("due while it is being done")
	}
	s.relaxed.done()
	fresh := &proof{at: clock.Now(), rv: 10}
	if s.relaxed.due(clock.Now().Add(2*time.Second), fresh) {
		t.Error("due after a third of the time")
	}
	if !s.relaxed.due(clock.Now().Add(3*time.Second), fresh) {
		t.Error("not due after half of it")
	}
	s.relaxed.done()
	if s.relaxed.due(clock.Now().Add(relaxedFor+time.Second), fresh) {
		t.Error("due although nobody has read for long")
	}
}

func TestAnOutageIsSaid(t *testing.T) {
	s, clock := followed(t, &distant{}, 10)
	if w := s.outage(clock.Now()); w != "" {
		t.Errorf("warns while all is well: %s", w)
	}
	s.Disconnected(io.EOF)
	if w := s.outage(clock.Now().Add(outageAfter - 1)); w != "" {
		t.Errorf("warns of a watch that is opened again: %s", w)
	}
	if w := s.outage(clock.Now().Add(outageAfter)); !strings.HasPrefix(w, `299 - "`) || !strings.Contains(w, clock.Now().UTC().Format(time.RFC3339)) {
		t.Errorf("warns with %q", w)
	}
	s.Connected()
	if w := s.outage(clock.Now().Add(time.Hour)); w != "" {
		t.Errorf("warns when it is over: %s", w)
	}
}

func TestReadsOfTheNewestAreServedFromMemoryWhenAnOperatorSaysSo(t *testing.T) {
	s, clock := followed(t, &distant{}, 10)
	on := false
	c := &Cache{config: Config{Clock: clock, ServeStale: func(*request.Attributes) bool { return on }}, writes: newWrites()}
	a := read(alice, "list", "a", "", "")
	kind := func() freshness { return c.freshness(s, a, point{kind: newest}).kind }
	s.Disconnected(io.EOF)
	if kind() != newest {
		t.Error("before he has")
	}
	// A watch that is opened again is no outage: what was written is missed for nothing.
	if on = true; kind() != newest {
		t.Error("at once")
	}
	if clock.Step(outageAfter); kind() != anyState {
		t.Error("not served")
	}
	if s.Connected(); kind() != newest {
		t.Error("although upstream is there")
	}
}

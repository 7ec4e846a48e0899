package cache

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

var configMaps = Resource{Kind: core("ConfigMap"), Plural: "configmaps", Namespaced: true}

// distant is upstream as proofs see it: it is at a resource version, and says what a
// watch sees.
type distant struct {
	mu sync.Mutex
	// at is told to probes, none is told if it is 0.
	at uint64
	// sees is what the next watches see, meanwhile what happens while they do.
	sees      []string
	meanwhile func()
	// probes and watches count requests.
	probes, watches int
	// hold delays the answers to probes until it is closed, if it is not nil.
	hold chan struct{}
}

func (d *distant) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	answer := func(body string) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
	if r.URL.Query().Get("watch") != "" {
		d.watches++
		if d.meanwhile != nil {
			d.meanwhile()
		}
		return answer(strings.Join(d.sees, ""))
	}
	d.probes++
	if hold := d.hold; hold != nil {
		d.mu.Unlock()
		<-hold
		d.mu.Lock()
	}
	if d.at == 0 {
		return nil, errors.New("connection refused")
	}
	return answer(fmt.Sprintf(`{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[]}`+"\n", d.at))
}

func (d *distant) counts() (probes, watches int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.probes, d.watches
}

func (d *distant) asked() bool {
	probes, _ := d.counts()
	return probes > 0
}

// until waits for what another goroutine does.
func until(done func() bool) {
	for !done() {
		runtime.Gosched()
	}
}

func seen(kind, name string, rv uint64) string {
	return fmt.Sprintf(`{"type":%q,"object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":%q,"namespace":"a","resourceVersion":"%d"}}}`+"\n", kind, name, rv)
}

func bookmarkAt(rv uint64) string {
	return fmt.Sprintf(`{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"%d"}}}`+"\n", rv)
}

// followed returns a stream that has reached a resource version, on a clock that
// stands still.
func followed(t *testing.T, d *distant, rv uint64) (*stream, *clocktesting.FakeClock) {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Unix(1_000_000, 0))
	keep := settings{get: true, list: true, watch: true, history: 16, compressAbove: -1}
	s := newStream(&configMaps, &keep, wire.JSON, &asker{client: d, resource: &configMaps, encoding: wire.JSON}, clock)
	s.memory.of = &budget{}
	s.restart = func(error) {}
	s.Begin()
	if err := s.Complete(rv); err != nil {
		t.Fatal(err)
	}
	s.Connected()
	s.lift.last = clock.Now().Add(noLifts)
	return s, clock
}

// noLifts is how long followed has nothing asked for in the background.
const noLifts = time.Hour

func (s *stream) change(t *testing.T, rv uint64) {
	t.Helper()
	body := fmt.Appendf(nil, `"metadata":{"name":"x","namespace":"a","resourceVersion":"%d"}}`, rv)
	if err := s.Apply(wire.Modified, body, &wire.Meta{Namespace: "a", Name: "x", ResourceVersion: rv}); err != nil {
		t.Fatal(err)
	}
}

// giveUp lets the clock run until nobody waits for a state that does not come.
func giveUp(t *testing.T, clock *clocktesting.FakeClock, done <-chan struct{}) {
	t.Helper()
	for {
		select {
		case <-done:
			return
		default:
			if clock.HasWaiters() {
				clock.Step(patience)
			}
			runtime.Gosched()
		}
	}
}

// proved runs prove to its end, however long the state is waited for.
func proved(t *testing.T, s *stream, clock *clocktesting.FakeClock, n need) (rv uint64, ok bool) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		rv, ok = s.prove(t.Context(), n)
	}()
	giveUp(t, clock, done)
	return rv, ok
}

func TestAStateThatUpstreamIsNotAheadOfIsTheNewest(t *testing.T) {
	d := &distant{at: 10}
	s, clock := followed(t, d, 10)
	if rv, ok := proved(t, s, clock, need{since: clock.Now()}); !ok || rv != 10 {
		t.Fatalf("proved %d, %t", rv, ok)
	}
}

func TestAStateThatMissesAChangeIsNot(t *testing.T) {
	d := &distant{at: 11}
	s, clock := followed(t, d, 10)
	if rv, ok := proved(t, s, clock, need{since: clock.Now()}); ok {
		t.Fatalf("proved %d", rv)
	}
	if probes, watches := d.counts(); probes != 1 || watches != 0 {
		t.Errorf("%d probes, %d fences", probes, watches)
	}
}

func TestAChangeThatIsOnItsWayIsWaitedFor(t *testing.T) {
	d := &distant{at: 11}
	s, clock := followed(t, d, 10)
	result := make(chan bool)
	go func() {
		rv, ok := s.prove(t.Context(), need{since: clock.Now()})
		result <- ok && rv == 11
	}()
	until(clock.HasWaiters)
	s.change(t, 11)
	if !<-result {
		t.Error("not proved")
	}
}

func TestUpstreamBehindTheStateWasRestored(t *testing.T) {
	d := &distant{at: 9}
	s, clock := followed(t, d, 10)
	var why error
	s.restart = func(err error) { why = err }
	if _, ok := proved(t, s, clock, need{since: clock.Now()}); ok || why == nil {
		t.Errorf("proved %t, restarted because of %v", ok, why)
	}
}

func TestNothingIsProvedWhileChangesAreNotFollowed(t *testing.T) {
	d := &distant{at: 10}
	s, clock := followed(t, d, 10)
	s.Disconnected(io.EOF)
	if _, ok := proved(t, s, clock, need{since: clock.Now(), patient: true}); ok {
		t.Error("proved")
	}
	if probes, watches := d.counts(); probes+watches != 0 {
		t.Errorf("asked for it, %d probes and %d fences", probes, watches)
	}
}

// TestProbesThatDoNotHelpAreGivenUp: on a quiet resource of a busy cluster they
// would cost every read a request and the wait.
func TestProbesThatDoNotHelpAreGivenUp(t *testing.T) {
	d := &distant{at: 11}
	s, clock := followed(t, d, 10)
	for range despair + sample {
		if _, ok := proved(t, s, clock, need{since: clock.Now()}); ok {
			t.Fatal("proved")
		}
	}
	if probes, _ := d.counts(); probes != despair+1 {
		t.Errorf("%d probes of %d reads, want %d", probes, despair+sample, despair+1)
	}
}

func TestAFenceShowsThatNothingIsMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		sees    []string
		changes []uint64
		want    uint64
	}{
		"nothing has happened":          {[]string{bookmarkAt(50)}, nil, 50},
		"a change that is there":        {[]string{seen("MODIFIED", "x", 20), bookmarkAt(50)}, []uint64{20}, 50},
		"a change that is new enough":   {[]string{seen("MODIFIED", "x", 45)}, []uint64{45}, 45},
		"a bookmark that is too old":    {[]string{bookmarkAt(30), bookmarkAt(41)}, nil, 41},
		"too old and then the end":      {[]string{bookmarkAt(30)}, nil, 0},
		"only an end":                   {nil, nil, 0},
		"a change that has not come":    {[]string{seen("MODIFIED", "x", 20), bookmarkAt(50)}, nil, 0},
		"backwards":                     {[]string{bookmarkAt(30), bookmarkAt(29), bookmarkAt(50)}, nil, 0},
		"an error":                      {[]string{`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","code":410,"reason":"Expired"}}` + "\n"}, nil, 0},
		"the state is ahead of it then": {[]string{bookmarkAt(50)}, []uint64{60}, 50},
	} {
		t.Run(name, func(t *testing.T) {
			d := &distant{at: 40, sees: tc.sees}
			s, clock := followed(t, d, 10)
			s.proofs.misses.Store(despair)
			d.meanwhile = func() {
				for _, rv := range tc.changes {
					s.change(t, rv)
				}
			}
			rv, ok := proved(t, s, clock, need{since: clock.Now(), patient: true})
			if rv != tc.want || ok != (tc.want > 0) {
				t.Fatalf("proved %d, %t; want %d", rv, ok, tc.want)
			}
			if at := s.hub.Snapshot().ResourceVersion(); ok && at < tc.want {
				t.Errorf("the state is at %d", at)
			}
		})
	}
}

// TestAfterAFenceAProbeIsTriedAgain: on a quiet resource of a quiet cluster fences are
// over at once, and each would be two requests.
func TestAfterAFenceAProbeIsTriedAgain(t *testing.T) {
	d := &distant{at: 50, sees: []string{bookmarkAt(50)}}
	s, clock := followed(t, d, 10)
	s.proofs.misses.Store(despair)
	for range 3 {
		clock.Step(time.Minute)
		if rv, ok := proved(t, s, clock, need{since: clock.Now(), patient: true}); !ok || rv != 50 {
			t.Fatalf("proved %d, %t", rv, ok)
		}
	}
	if probes, watches := d.counts(); probes != 3 || watches != 1 {
		t.Errorf("%d probes, %d fences", probes, watches)
	}
	// What a fence has shown holds for all reads from before.
	s.proofs.misses.Store(despair)
	before := clock.Now()
	clock.Step(time.Second)
	if _, ok := s.proveByFence(t.Context()); !ok {
		t.Fatal("no fence")
	}
	if rv, ok := proved(t, s, clock, need{since: before}); !ok || rv != 50 {
		t.Errorf("proved %d, %t", rv, ok)
	}
	if probes, watches := d.counts(); probes != 4 || watches != 2 {
		t.Errorf("%d probes, %d fences", probes, watches)
	}
}

// TestAFenceSaysNothingOfAStateThatWasReplaced: what it has seen is of another
// history.
func TestAFenceSaysNothingOfAStateThatWasReplaced(t *testing.T) {
	d := &distant{at: 40, sees: []string{bookmarkAt(50)}, hold: make(chan struct{})}
	s, clock := followed(t, d, 10)
	s.proofs.misses.Store(despair)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, ok := s.prove(t.Context(), need{since: clock.Now(), patient: true}); ok {
			t.Error("proved")
		}
	}()
	until(d.asked)
	s.Abandon(errors.New("restored"))
	close(d.hold)
	giveUp(t, clock, done)
	if at := s.hub.Snapshot().ResourceVersion(); at != 0 {
		t.Errorf("an empty state is at %d", at)
	}
}

// TestWhatComesAfterAFenceIsStillTaken: the stream's own bookmarks can be behind one.
func TestWhatComesAfterAFenceIsStillTaken(t *testing.T) {
	d := &distant{at: 40, sees: []string{bookmarkAt(50)}}
	s, clock := followed(t, d, 10)
	s.proofs.misses.Store(despair)
	if _, ok := proved(t, s, clock, need{since: clock.Now(), patient: true}); !ok {
		t.Fatal("not proved")
	}
	if err := s.Bookmark(45, []byte(`"metadata":{"resourceVersion":"45"}}`)); err != nil {
		t.Fatalf("a bookmark behind it: %v", err)
	}
	s.change(t, 51)
	if err := s.Complete(50); err == nil {
		t.Error("a whole from before was taken")
	}
}

// TestManyReadsShareAProof: those that come while a probe is under way wait for the
// next, which is one for all of them.
func TestManyReadsShareAProof(t *testing.T) {
	d := &distant{at: 10, hold: make(chan struct{})}
	s, clock := followed(t, d, 10)
	var all sync.WaitGroup
	read := func() {
		all.Go(func() {
			if _, ok := s.prove(t.Context(), need{since: clock.Now()}); !ok {
				t.Error("not proved")
			}
		})
	}
	read()
	until(d.asked)
	for range 100 {
		read()
	}
	until(func() bool {
		s.probe.mu.Lock()
		defer s.probe.mu.Unlock()
		return s.probe.next != nil && s.probe.next.members == 100
	})
	close(d.hold)
	all.Wait()
	if probes, _ := d.counts(); probes != 2 {
		t.Errorf("%d probes", probes)
	}
}

// TestWatchesThatBeginWithTheStateArePaced: when every node of a cluster starts its
// own within seconds, upstream is asked a few times a second.
func TestWatchesThatBeginWithTheStateArePaced(t *testing.T) {
	d := &distant{at: 10}
	s, clock := followed(t, d, 10)
	patient := func() (told <-chan error) {
		c := make(chan error, 1)
		go func() {
			_, err := s.probe.now(t.Context(), true)
			c <- err
		}()
		return c
	}
	if err := <-patient(); err != nil {
		t.Fatal(err)
	}
	second := patient()
	until(clock.HasWaiters)
	if probes, _ := d.counts(); probes != 1 {
		t.Fatalf("%d probes at once", probes)
	}
	clock.Step(probePace)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	// Who is in a hurry does not wait, and takes the others along.
	third := patient()
	until(clock.HasWaiters)
	if _, err := s.probe.now(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := <-third; err != nil {
		t.Fatal(err)
	}
	if probes, _ := d.counts(); probes != 3 {
		t.Errorf("%d probes", probes)
	}
}

func TestAStormOfReadsIsWorthAFence(t *testing.T) {
	d := &distant{at: 60, sees: []string{bookmarkAt(60)}}
	s, clock := followed(t, d, 10)
	s.proofs.misses.Store(despair)
	served := 0
	for range stormAbove + 2 {
		if _, ok := proved(t, s, clock, need{since: clock.Now()}); ok {
			served++
		}
	}
	if served != 2 {
		t.Errorf("%d of %d reads were served, want those behind the first %d", served, stormAbove+2, stormAbove)
	}
	if _, watches := d.counts(); watches == 0 {
		t.Error("without a fence")
	}
}

// TestAStormOfGETsIsServedByFences: as long as it lasts, although they are given up
// before anybody knows whether they are allowed.
func TestAStormOfGETsIsServedByFences(t *testing.T) {
	d := &distant{at: 60, sees: []string{bookmarkAt(60)}}
	s, clock := followed(t, d, 10)
	for second, want := range []int{2 * stormAbove, 4 * stormAbove, 4 * stormAbove} {
		served := 0
		for range 4 * stormAbove {
			s.proofs.misses.Store(despair)
			if n := (need{since: clock.Now()}); !s.forlorn(n) {
				if _, ok := proved(t, s, clock, n); ok {
					served++
				}
			}
		}
		s.proofs.tick()
		// A few find out whether probes help again.
		if served < want || served > want+4*stormAbove/sample {
			t.Errorf("in second %d %d of %d were served, want %d", second, served, 4*stormAbove, want)
		}
	}
}

// TestPatientReadsAreNoStorm: what a client asks that asks too much does not have others
// wait for fences.
func TestPatientReadsAreNoStorm(t *testing.T) {
	d := &distant{at: 60, sees: []string{bookmarkAt(60)}}
	s, clock := followed(t, d, 10)
	for range 2 * stormAbove {
		s.proofs.misses.Store(despair)
		if _, ok := proved(t, s, clock, need{since: clock.Now(), patient: true}); !ok {
			t.Fatal("not proved")
		}
	}
	s.proofs.tick()
	s.proofs.misses.Store(despair)
	if _, ok := proved(t, s, clock, need{since: clock.Now()}); ok {
		t.Error("one that is not patient waits for a fence")
	}
}

// TestForbiddenReadsAreNoStorm: if they were, anybody could have all others wait for
// fences.
func TestForbiddenReadsAreNoStorm(t *testing.T) {
	d := &distant{at: 60, sees: []string{bookmarkAt(60)}}
	s, clock := followed(t, d, 10)
	s.proofs.misses.Store(despair)
	given := 0
	for range 4 * stormAbove {
		// Of the others is found out that they are forbidden, and nothing is proved.
		if s.forlorn(need{since: clock.Now()}) {
			given++
		}
	}
	if given == 0 || given > stormAbove {
		t.Errorf("%d were given up, want at most %d", given, stormAbove)
	}
	s.proofs.tick()
	if _, ok := proved(t, s, clock, need{since: clock.Now()}); ok {
		t.Error("one that is allowed waits for a fence")
	}
}

func TestAHugeListIsWorthAFence(t *testing.T) {
	d := &distant{at: 40, sees: []string{bookmarkAt(50)}}
	s, clock := followed(t, d, 10)
	s.proofs.misses.Store(despair)
	if _, ok := proved(t, s, clock, need{since: clock.Now(), bytes: hugeAbove}); ok {
		t.Error("one that is not is proved")
	}
	if _, ok := proved(t, s, clock, need{since: clock.Now(), bytes: hugeAbove + 1}); !ok {
		t.Error("not proved")
	}
}

// TestAReadThatFoundAQuietResourceBehindHasItLifted: every apiserver writes its lease
// each ten seconds, and reads of a resource that nobody writes are not to be
// forwarded for that.
func TestAReadThatFoundAQuietResourceBehindHasItLifted(t *testing.T) {
	d := &distant{at: 50, sees: []string{bookmarkAt(50)}}
	s, clock := followed(t, d, 10)
	clock.Step(noLifts)
	if _, ok := proved(t, s, clock, need{since: clock.Now()}); ok {
		t.Fatal("proved a state that is behind")
	}
	until(func() bool { return s.hub.Snapshot().ResourceVersion() == 50 })
	until(func() bool { return !s.lift.runs() })
	if rv, ok := proved(t, s, clock, need{since: clock.Now()}); !ok || rv != 50 {
		t.Errorf("proved %d, %t", rv, ok)
	}
	if _, watches := d.counts(); watches != 1 {
		t.Errorf("%d fences", watches)
	}
}

// TestLiftsInVainBecomeRare: where others are written all the time, a state is behind
// again before it is read.
func TestLiftsInVainBecomeRare(t *testing.T) {
	var l lift
	start := time.Unix(1_000_000, 0)
	lifts := func(from time.Time, within time.Duration) (n int) {
		for now := from; now.Before(from.Add(within)); now = now.Add(100 * time.Millisecond) {
			if l.due(now) {
				n++
				l.done(now)
			}
		}
		return n
	}
	// After 0, 1, 3, 7, 15, 31 s and then each minute.
	if n := lifts(start, time.Minute); n != 6 {
		t.Errorf("%d lifts in the first minute", n)
	}
	if n := lifts(start.Add(time.Minute), time.Hour); n != 60 {
		t.Errorf("%d lifts in an hour", n)
	}
	// One that helps one read now and then is in vain, too.
	n := 0
	for now := start.Add(2 * time.Hour); now.Before(start.Add(3 * time.Hour)); now = now.Add(100 * time.Millisecond) {
		if l.due(now) {
			l.done(now)
			if n++; n%3 == 0 {
				l.helped()
			}
		}
	}
	if n > 100 {
		t.Errorf("%d lifts in an hour, of which every third helped one read", n)
	}
	for range 10 {
		l.helped()
	}
	// After 0, 1 and 3 s.
	if n := lifts(start.Add(4*time.Hour), 3500*time.Millisecond); n != 3 {
		t.Errorf("%d lifts after one that has helped many", n)
	}
}

func (l *lift) runs() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

func TestWaitsForAVersionThatDoesNotComeAreGivenUp(t *testing.T) {
	s, clock := followed(t, &distant{at: 10}, 10)
	arrives := func(rv uint64) (ok bool) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			ok = s.arrives(t.Context(), rv)
		}()
		giveUp(t, clock, done)
		return ok
	}
	for range despair {
		before := clock.Now()
		if arrives(20) || clock.Since(before) < patience {
			t.Errorf("answered after %s", clock.Since(before))
		}
	}
	before := clock.Now()
	if arrives(20) || clock.Since(before) != 0 {
		t.Errorf("waited for %s once more", clock.Since(before))
	}
	// A state that is there needs no wait, and says nothing of others.
	if !arrives(10) {
		t.Error("the state is there")
	}
	waited := 0
	for range sample {
		before := clock.Now()
		arrives(20)
		if clock.Since(before) > 0 {
			waited++
		}
	}
	if waited != 1 {
		t.Errorf("%d of %d waited, want one to find out when it helps again", waited, sample)
	}
}

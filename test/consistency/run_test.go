package consistency

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// caughtUpWithin is for watches whose server has died: the end of a silent one takes
// 3 s to be noticed, and one whose events were lost lasts for 8 s at the most.
const caughtUpWithin = 30 * time.Second

// verdict is what a run has found.
type verdict struct {
	registers, lists, gets, watches []error
	// answered is how many strict reads were answered by the cache, outlined how many
	// of them by an outline, watched how many watches.
	answered, outlined, watched int
}

// violations are all of them.
func (v *verdict) violations() []error {
	return slices.Concat(v.registers, v.lists, v.gets, v.watches)
}

// run has clients work through gateways while faults strike, and judges what they have
// seen.
func run(t *testing.T, c *cluster.Cluster, gateways []*gateway, kinds []fault, random *rand.Rand, atLeast time.Duration) *verdict {
	t.Helper()
	e := newEnv(t, c, gateways)
	e.newRegisters(t)
	began := time.Now()
	watchers, stopWatching := e.startWatchers(t)
	stopWorking := e.startWorking(t)
	struck := e.rounds(t, kinds, random, atLeast)
	stopWorking()
	worked := time.Since(began)

	// What was written last is to reach all watchers by itself.
	e.settle(t)
	until := e.lastEvents(watchers)
	if err := fixture.Await(t.Context(), caughtUpWithin, func(context.Context) error { return behind(watchers, until) }); err != nil {
		t.Logf("not within %s: %v", caughtUpWithin, err)
	}
	stopWatching()
	// And all that watchers have got is to be in the histories.
	e.settle(t)
	e.unfollow()

	v := &verdict{registers: judgeRegisters(e.record.operations)}
	for _, resource := range []string{configMaps, nodes} {
		h := e.histories[resource]
		k := e.record.known(resource, h)
		v.lists = append(v.lists, judgeLists(h, k, e.record.lists[resource])...)
		if resource == configMaps {
			v.gets = judgeGets(h, k, e.record.gets)
		}
	}
	for i, w := range watchers {
		for _, broken := range judgeWatch(e.histories[w.resource], w.selection, w.sessions, until[i]) {
			v.watches = append(v.watches, fmt.Errorf("%s: %w", w.name, broken))
		}
	}
	e.report(t, v, watchers, struck, worked)
	return v
}

// startWorking starts readers and writers; stop returns when all have ended.
func (e *env) startWorking(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	stop = func() {
		cancel()
		working.Wait()
	}
	t.Cleanup(stop)
	start := func(server string, name string, i int, work func(context.Context, *client)) {
		c, err := newClient(e.RESTConfig(server), name, encodings[i%len(encodings)])
		must(t, err)
		working.Go(func() { work(ctx, c) })
	}
	churn := func(resource string) func(context.Context, *client) {
		return func(ctx context.Context, c *client) { e.churn(ctx, c, resource) }
	}
	for i, server := range e.Servers(cluster.GroupMain) {
		start(server, fmt.Sprintf("direct-writer-%d", i), i, e.overwrite)
	}
	start(e.Servers(cluster.GroupMain)[0], "direct-churner", 0, churn(configMaps))
	start(e.gateways[0].URL(), "churner", 1, churn(configMaps))
	start(e.gateways[len(e.gateways)-1].URL(), "node-churner", 0, churn(nodes))
	for i, g := range e.gateways {
		start(g.URL(), g.Name()+"-writer", i, e.overwrite)
		for j := range encodings {
			start(g.URL(), fmt.Sprintf("%s-getter-%d", g.Name(), j), j, e.get)
			start(g.URL(), fmt.Sprintf("%s-lister-%d", g.Name(), j), j, e.list)
			start(g.URL(), fmt.Sprintf("%s-beginner-%d", g.Name(), j), j, e.begin)
		}
	}
	return stop
}

// startWatchers starts watchers; stop returns when all have ended.
func (e *env) startWatchers(t *testing.T) (all []*watcher, stop func()) {
	t.Helper()
	clients := map[string][]*client{}
	for _, encoding := range encodings {
		for _, g := range e.gateways {
			c, err := newClient(g.RESTConfig(), g.Name()+"-watcher", encoding)
			must(t, err)
			clients[encoding] = append(clients[encoding], c)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	stop = func() {
		cancel()
		watching.Wait()
	}
	t.Cleanup(stop)
	all = e.watchers(clients)
	for _, w := range all {
		watching.Go(func() { w.run(ctx) })
	}
	return all, stop
}

// lastEvents returns the resource version of the last event for each watcher.
func (e *env) lastEvents(watchers []*watcher) (last []uint64) {
	for _, w := range watchers {
		h := e.histories[w.resource]
		h.mu.Lock()
		events := w.events(h)
		h.mu.Unlock()
		rv := uint64(0)
		if len(events) > 0 {
			rv = events[len(events)-1].rv
		}
		last = append(last, rv)
	}
	return last
}

// behind returns an error unless all watchers have got that far.
func behind(watchers []*watcher, until []uint64) (err error) {
	for i, w := range watchers {
		if at := w.reached(); at < until[i] {
			err = errors.Join(err, fmt.Errorf("%s is at %d, not yet at %d", w.name, at, until[i]))
		}
	}
	return err
}

// report logs what was done. It is called when nobody writes to the record any more.
func (e *env) report(t *testing.T, v *verdict, watchers []*watcher, struck map[string]int, worked time.Duration) {
	t.Helper()
	r := e.record
	lists := len(r.lists[configMaps]) + len(r.lists[nodes])
	t.Logf("%s: %d reads and writes: %d GETs, %d LISTs and initial states, %d reads unanswered; writes: %d acknowledged, %d denied, %d refused, %d unknown",
		worked.Round(time.Second), r.finished.Load(), len(r.gets), lists, r.unanswered,
		r.writes[acknowledged], r.writes[denied], r.writes[refused], r.writes[unknown])
	t.Logf("faults: %v", struck)
	c := count(t, e.gateways)
	// Pages behind the first show a state of before.
	v.outlined = c.outlined
	v.answered, v.watched = c.get["Hit"]+max(0, c.list["Hit"]-r.pages), c.watch["Hit"]
	t.Logf("by the gateways: get %v, list %v (%d of them pages behind the first, %d by outlines, %d forwarded with others), watch %v", c.get, c.list, r.pages, c.outlined, c.coalesced, c.watch)
	begun, restarted, events, bookmarks, ends := 0, 0, 0, 0, map[string]int{}
	for _, w := range watchers {
		begun, restarted = begun+w.begun, restarted+w.restarted
		for end, n := range w.ends {
			ends[end] += n
		}
		for _, s := range w.sessions {
			for _, a := range s.arrivals {
				if a.key == "" {
					bookmarks++
				} else {
					events++
				}
			}
		}
	}
	t.Logf("%d watchers: %d watches, %d of them begun with the state; %d events, %d bookmarks; ends: %v", len(watchers), begun, restarted, events, bookmarks, ends)
	t.Logf("%d strict reads answered by the cache; violations: %d of registers, %d of lists, %d of gets, %d of watches", v.answered, len(v.registers), len(v.lists), len(v.gets), len(v.watches))
}

// sample returns the first few of some errors of each kind, and how many there are.
func sample(violations []error) (lines []string) {
	const most = 5
	byKind := map[string][]error{}
	for _, err := range violations {
		for _, kind := range []error{errLinear, errUndecided, errStale, errContent, errOrdered, errUnique, errReliable, errResumable, errBookmarkable, errFiltered, errGenuine} {
			if errors.Is(err, kind) {
				byKind[kind.Error()] = append(byKind[kind.Error()], err)
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		all := byKind[kind]
		lines = append(lines, fmt.Sprintf("%s: %d", kind, len(all)))
		for _, err := range all[:min(most, len(all))] {
			lines = append(lines, "    "+err.Error())
		}
	}
	return lines
}

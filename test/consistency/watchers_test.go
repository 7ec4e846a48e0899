package consistency

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	// minWatchSeconds is how long watches are asked to last, up to twice of it. An
	// apiserver sends a bookmark two seconds before the end.
	minWatchSeconds = 4
	// watchesPerSecond bounds how often a watcher begins.
	watchesPerSecond = 4
	// beginningsPerSecond is of each reader of initial states.
	beginningsPerSecond = 1
)

// watcher watches one thing, from its beginning to the end of the run. It goes on
// wherever it is served.
type watcher struct {
	question
	name string
	// clients are those of all gateways.
	clients []*client
	record  *record

	mu       sync.Mutex
	sessions []session
	// last is the resource version that came last; 0 if it has to begin with the state.
	last uint64
	// begun counts watches, restarted those that began with the state.
	begun, restarted int
	// ends counts how watches have ended.
	ends map[string]int
}

// watchers returns one of each kind and encoding.
func (e *env) watchers(clients map[string][]*client) (all []*watcher) {
	first, second := e.namespaces[0], e.namespaces[1]
	for _, encoding := range encodings {
		for i, q := range []question{
			{configMaps, selecting("", "", ""), 0},
			{configMaps, selecting("", "color=red", ""), 0},
			{configMaps, selecting(first, "", ""), 0},
			{configMaps, selecting(second, "color!=red", ""), 0},
			{configMaps, selecting("", "", "metadata.name="+pinned), 0},
			{nodes, selecting("", "", ""), 0},
			{nodes, selecting("", "", "spec.unschedulable=true"), 0},
		} {
			all = append(all, &watcher{
				question: q, name: fmt.Sprintf("watcher %d of %v in %s", i, q.selection, encoding),
				clients: clients[encoding], record: e.record, ends: map[string]int{},
			})
		}
	}
	return all
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for pace := rate.NewLimiter(watchesPerSecond, 1); pace.Wait(ctx) == nil; {
		end := w.watch(ctx, w.clients[rand.IntN(len(w.clients))])
		w.mu.Lock()
		w.ends[end]++
		w.mu.Unlock()
	}
}

// reached is the resource version that came last.
func (w *watcher) reached() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// watch watches through a gateway until that ends, and returns why.
func (w *watcher) watch(ctx context.Context, c *client) (end string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	after, began := w.reached(), w.record.now()
	watch, err := w.open(ctx, c, after)
	if err != nil {
		return w.failed(err)
	}
	defer watch.Stop()
	w.mu.Lock()
	w.begun++
	w.mu.Unlock()
	if after == 0 {
		if end := w.begin(watch, c, began); end != "" {
			return end
		}
	} else {
		w.enter(session{gateway: c.name, after: after, resumed: true})
	}
	for e := range watch.ResultChan() {
		if e.Type == apiwatch.Error {
			return w.failed(apierrors.FromObject(e.Object))
		}
		arrived, err := arrival(e)
		if err != nil {
			return "not understood: " + err.Error()
		}
		w.mu.Lock()
		s := &w.sessions[len(w.sessions)-1]
		s.arrivals = append(s.arrivals, arrived)
		w.last = max(w.last, arrived.rv)
		w.mu.Unlock()
	}
	return "ended"
}

// open begins a watch, with the state if after is 0.
func (q *question) open(ctx context.Context, c *client, after uint64) (apiwatch.Interface, error) {
	options := q.options()
	options.Watch, options.AllowWatchBookmarks = true, true
	seconds := int64(minWatchSeconds + rand.IntN(minWatchSeconds))
	options.TimeoutSeconds = &seconds
	if after == 0 {
		initial := true
		options.SendInitialEvents, options.ResourceVersionMatch = &initial, metav1.ResourceVersionMatchNotOlderThan
	} else {
		options.ResourceVersion = strconv.FormatUint(after, 10)
	}
	return c.rest.Get().NamespaceIfScoped(q.namespace, q.namespace != "").Resource(q.resource).
		VersionedParams(&options, scheme.ParameterCodec).MaxRetries(0).Watch(ctx)
}

// begin reads initial states, by watches that are left behind them, until ctx ends. A
// gateway goes to greater lengths for them than for lists.
func (e *env) begin(ctx context.Context, c *client) {
	pace, questions := rate.NewLimiter(beginningsPerSecond, 1), e.questions()
	for i := rand.IntN(len(questions)); pace.Wait(ctx) == nil; i++ {
		e.beginOne(context.WithoutCancel(ctx), c, &questions[i%len(questions)])
	}
}

func (e *env) beginOne(ctx context.Context, c *client, q *question) {
	ctx, cancel := context.WithTimeout(ctx, minWatchSeconds*time.Second)
	defer cancel()
	w := &watcher{question: *q, record: e.record}
	began := e.record.now()
	watch, err := w.open(ctx, c, 0)
	e.record.finished.Add(1)
	if err != nil {
		e.record.failed()
		return
	}
	defer watch.Stop()
	if w.begin(watch, c, began) != "" {
		e.record.failed()
	}
}

// failed says what a watch was refused or ended for. One that is too old begins
// with the state the next time.
func (w *watcher) failed(err error) string {
	reason := apierrors.ReasonForError(err)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.last = 0
	}
	return cmp.Or(string(reason), "unreachable")
}

func (w *watcher) enter(s session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions = append(w.sessions, s)
	w.last = s.after
}

// begin takes in the initial state, which is a strict list: what comes up to the
// bookmark that ends it. It returns how the watch ended, "" if it goes on.
func (w *watcher) begin(watch apiwatch.Interface, c *client, began time.Duration) (end string) {
	l := listing{by: c.name + " (a watch)", selection: w.selection, call: began}
	state := map[string]identity{}
	for e := range watch.ResultChan() {
		if e.Type == apiwatch.Error {
			return w.failed(apierrors.FromObject(e.Object))
		}
		arrived, err := arrival(e)
		if err != nil {
			return "not understood: " + err.Error()
		}
		switch _, there := state[arrived.key]; {
		case e.Type == apiwatch.Bookmark:
			if o, err := meta.Accessor(e.Object); err != nil || o.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
				continue
			}
			l.rv = arrived.rv
			for _, key := range slices.Sorted(maps.Keys(state)) {
				l.items = append(l.items, state[key])
			}
			w.record.listed(w.resource, l)
			w.record.saw(w.resource, l.rv)
			w.enter(session{gateway: c.name, after: l.rv})
			w.mu.Lock()
			w.restarted++
			w.mu.Unlock()
			return ""
		case e.Type == apiwatch.Added && there:
			l.fault = fmt.Sprintf("has %s twice", arrived.key)
		case e.Type == apiwatch.Deleted:
			delete(state, arrived.key)
			continue
		}
		state[arrived.key] = arrived.identity
	}
	return "ended before the state was complete"
}

// arrival is what came; a bookmark has a resource version only.
func arrival(e apiwatch.Event) (event, error) {
	if e.Type == apiwatch.Bookmark {
		o, err := meta.Accessor(e.Object)
		if err != nil {
			return event{}, err
		}
		rv, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
		return event{apiwatch.Bookmark, identity{rv: rv}}, err
	}
	i, err := identify(e.Object)
	return event{e.Type, i}, err
}

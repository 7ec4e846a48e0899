package consistency

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	apiwatch "k8s.io/apimachinery/pkg/watch"
)

// What a watch promises, by the names that etcd's documentation has ("Watch APIs" in
// its API guarantees), for what a selection sees: errors say which promise is broken.
var (
	// errOrdered: events come in the order of their resource versions, and none from
	// before the beginning.
	errOrdered = errors.New("not ordered")
	// errUnique: no event comes twice.
	errUnique = errors.New("not unique")
	// errReliable: between two events, none that happened between them is missing, and
	// what has happened comes in the end.
	errReliable = errors.New("not reliable")
	// errResumable: a watch that goes on from a resource version begins with the first
	// event behind that.
	errResumable = errors.New("not resumable")
	// errBookmarkable: all events up to a bookmark have come before it, and it is of a
	// time that has been.
	errBookmarkable = errors.New("not bookmarkable")
	// errFiltered: events are those of the selection, as its additions, changes and
	// deletions.
	errFiltered = errors.New("not filtered")
	// errGenuine: an event is of a change that etcd knows, with its content.
	errGenuine = errors.New("not genuine")
)

// session is one watch, from where it begins to its end.
type session struct {
	gateway string
	// after is the resource version that it goes on from: of the initial state that it
	// has begun with, or of what came last in the session before, if it is resumed.
	after    uint64
	resumed  bool
	arrivals []event
}

// watchJudge compares what a watcher got with what there was.
type watchJudge struct {
	history   *history
	expected  []event
	delivered map[uint64]bool
	broken    []error

	// Of the session: the first of expected that is still to come, what came last,
	// and which of expected have been passed over, with what that is.
	next    int
	last    uint64
	skipped map[uint64]error
}

// judgeWatch returns what is broken of the promises to a watcher that has had those
// sessions and should have got everything up to a resource version.
func judgeWatch(h *history, s selection, sessions []session, until uint64) []error {
	j := &watchJudge{history: h, expected: s.events(h), delivered: map[uint64]bool{}}
	for i := range sessions {
		j.session(&sessions[i])
	}
	if j.next < len(j.expected) && j.expected[j.next].rv <= until {
		j.note(errReliable, "%v has never come, %d is the last resource version that has", j.expected[j.next], j.last)
	}
	return j.broken
}

func (j *watchJudge) note(promise error, format string, args ...any) {
	j.broken = append(j.broken, fmt.Errorf("%w: %s", promise, fmt.Sprintf(format, args...)))
}

// behind returns which of expected is the first behind a resource version.
func (j *watchJudge) behind(rv uint64) int {
	i, found := j.find(rv)
	if found {
		i++
	}
	return i
}

func (j *watchJudge) find(rv uint64) (int, bool) {
	return slices.BinarySearchFunc(j.expected, rv, func(e event, rv uint64) int { return cmp.Compare(e.rv, rv) })
}

func (j *watchJudge) session(s *session) {
	j.next, j.last, j.skipped = j.behind(s.after), s.after, map[uint64]error{}
	for i, a := range s.arrivals {
		if a.kind == apiwatch.Bookmark {
			j.bookmark(a.rv)
		} else {
			j.event(a, s.resumed && i == 0)
		}
		j.last = max(j.last, a.rv)
	}
	for _, rv := range slices.Sorted(maps.Keys(j.skipped)) {
		i, _ := j.find(rv)
		j.note(j.skipped[rv], "%v has not come in the watch through %s from %d, but later ones have", j.expected[i], s.gateway, s.after)
	}
}

func (j *watchJudge) bookmark(rv uint64) {
	switch {
	case rv < j.last:
		j.note(errBookmarkable, "one of %d comes after %d", rv, j.last)
		return
	case rv > j.history.end():
		j.note(errBookmarkable, "one of %d, which has not been", rv)
	}
	if upTo := j.behind(rv); upTo > j.next {
		j.note(errBookmarkable, "one of %d comes before %v", rv, j.expected[j.next])
		j.next = upTo
	}
}

// event judges one event. First tells that it is the first one of a resumed watch.
func (j *watchJudge) event(e event, first bool) {
	i, found := j.find(e.rv)
	switch {
	case !found && j.history.has(e.rv):
		j.note(errFiltered, "%v is not for this watch", e)
		return
	case !found:
		j.note(errGenuine, "%v: etcd knows of no change then", e)
		return
	case j.expected[i].kind != e.kind:
		j.note(errFiltered, "%v: to this watch it is %v", e, j.expected[i])
	case j.expected[i].identity != e.identity:
		j.note(errGenuine, "%v: etcd has %v", e, j.expected[i])
	}
	switch {
	case i >= j.next:
		for ; j.next < i; j.next++ {
			j.skipped[j.expected[j.next].rv] = errReliable
			if first {
				j.skipped[j.expected[j.next].rv] = errResumable
			}
		}
		j.next++
	case j.delivered[e.rv]:
		j.note(errUnique, "%v comes again", e)
	default:
		// It is late, not missing.
		delete(j.skipped, e.rv)
		j.note(errOrdered, "%v comes after %d", e, j.last)
	}
	j.delivered[e.rv] = true
}

// past is a history of two objects: a is red, blue, red and gone, b is red all the
// time and in another namespace.
func past() *history {
	h := newHistory()
	h.put(made("one/a", 10, "red"))
	h.put(made("two/b", 11, "red"))
	h.put(made("one/a", 12, "blue"))
	h.put(made("two/b", 13, "red"))
	h.put(made("one/a", 14, "red"))
	h.put(made("two/b", 15, "red"))
	h.remove("one/a", 16)
	h.put(made("two/b", 17, "red"))
	return h
}

// made is an object whose digest is of its resource version, like that of one that
// changes each time.
func made(key string, rv uint64, color string) *object {
	o := &object{identity: version(key, rv, rv), labels: map[string]string{"color": color}}
	o.namespace = key[:len("one")]
	o.fields = map[string]string{"metadata.name": key[len("one/"):]}
	return o
}

// version is an object as of content, at a resource version.
func version(key string, rv, content uint64) identity {
	return identity{key: key, rv: rv, digest: digest{byte(content)}}
}

func TestWatchGuaranteesAreTold(t *testing.T) {
	added := func(key string, rv uint64) event { return event{apiwatch.Added, version(key, rv, rv)} }
	modified := func(key string, rv uint64) event { return event{apiwatch.Modified, version(key, rv, rv)} }
	deleted := func(key string, rv, content uint64) event { return event{apiwatch.Deleted, version(key, rv, content)} }
	bookmark := func(rv uint64) event { return event{apiwatch.Bookmark, identity{rv: rv}} }
	from := func(after uint64, arrivals ...event) session { return session{after: after, arrivals: arrivals} }
	resumed := func(after uint64, arrivals ...event) session {
		return session{after: after, resumed: true, arrivals: arrivals}
	}
	everything, red, two, a := selecting("", "", ""), selecting("", "color=red", ""), selecting("two", "", ""), selecting("", "", "metadata.name=a")
	all := []event{modified("one/a", 12), modified("two/b", 13), modified("one/a", 14), modified("two/b", 15), deleted("one/a", 16, 14), modified("two/b", 17)}
	for name, tc := range map[string]struct {
		selection selection
		sessions  []session
		want      []error
	}{
		"all events":         {everything, []session{from(11, all...)}, nil},
		"from the beginning": {everything, []session{from(9, append([]event{added("one/a", 10), added("two/b", 11)}, all...)...)}, nil},
		"to a label, leaving is a deletion and coming back an addition": {
			red, []session{from(11, deleted("one/a", 12, 10), modified("two/b", 13), added("one/a", 14), modified("two/b", 15), deleted("one/a", 16, 14), modified("two/b", 17))}, nil,
		},
		"of a namespace": {two, []session{from(11, modified("two/b", 13), modified("two/b", 15), modified("two/b", 17))}, nil},
		"by a field":     {a, []session{from(11, modified("one/a", 12), modified("one/a", 14), deleted("one/a", 16, 14))}, nil},
		"resumed from an event": {
			everything, []session{from(11, all[:2]...), resumed(13, all[2:]...)}, nil,
		},
		"resumed from a bookmark": {
			two, []session{from(11, modified("two/b", 13), bookmark(14)), resumed(14, modified("two/b", 15), bookmark(16)), resumed(16), resumed(16, modified("two/b", 17), bookmark(17))}, nil,
		},
		"begun anew, after a gap": {everything, []session{from(11, all[:1]...), from(15, all[4:]...)}, nil},

		"an event from before the beginning": {everything, []session{from(12, all...)}, []error{errOrdered}},
		"two events in the wrong order":      {everything, []session{from(11, all[1], all[0], all[2], all[3], all[4], all[5])}, []error{errOrdered}},
		"an event that a bookmark has covered": {
			two, []session{from(11, modified("two/b", 13), bookmark(15), modified("two/b", 15), modified("two/b", 17))}, []error{errBookmarkable, errOrdered},
		},
		"an event twice":              {everything, []session{from(11, all[0], all[0], all[1], all[2], all[3], all[4], all[5])}, []error{errUnique}},
		"an event again when resumed": {everything, []session{from(11, all[:2]...), resumed(13, all[1:]...)}, []error{errUnique}},
		"an event left out":           {everything, []session{from(11, all[0], all[2], all[3], all[4], all[5])}, []error{errReliable}},
		"two events left out":         {everything, []session{from(11, all[0], all[3], all[4], all[5])}, []error{errReliable, errReliable}},
		"the first event left out":    {everything, []session{from(11, all[1:]...)}, []error{errReliable}},
		"the last event left out":     {everything, []session{from(11, all[:5]...)}, []error{errReliable}},
		"nothing at all":              {two, []session{from(11)}, []error{errReliable}},
		"a deletion left out":         {red, []session{from(11, modified("two/b", 13), added("one/a", 14), modified("two/b", 15), deleted("one/a", 16, 14), modified("two/b", 17))}, []error{errReliable}},
		"resumed too late":            {everything, []session{from(11, all[:2]...), resumed(13, all[3:]...)}, []error{errResumable}},
		"resumed behind a bookmark, too late": {
			two, []session{from(11, modified("two/b", 13), bookmark(13)), resumed(13, modified("two/b", 17))}, []error{errResumable},
		},
		"resumed and left out later": {everything, []session{from(11, all[:2]...), resumed(13, all[2], all[4], all[5])}, []error{errReliable}},
		"a bookmark too early": {
			everything, []session{from(11, all[0], bookmark(13)), resumed(13, all[2:]...)}, []error{errBookmarkable},
		},
		"a bookmark that goes back":        {everything, []session{from(11, append([]event{bookmark(10)}, all...)...)}, []error{errBookmarkable}},
		"a bookmark of what has not been":  {everything, []session{from(11, append(slices.Clone(all), bookmark(18))...)}, []error{errBookmarkable}},
		"a bookmark behind what was lost":  {everything, []session{from(11, all[0], bookmark(15)), resumed(15, all[4:]...)}, []error{errBookmarkable}},
		"what is not red":                  {red, []session{from(11, all...)}, []error{errFiltered, errFiltered}},
		"of another namespace":             {two, []session{from(12, modified("two/b", 13), modified("one/a", 14), modified("two/b", 15), modified("two/b", 17))}, []error{errFiltered}},
		"an addition called a change":      {red, []session{from(13, modified("one/a", 14), modified("two/b", 15), deleted("one/a", 16, 14), modified("two/b", 17))}, []error{errFiltered}},
		"a change called an addition":      {two, []session{from(11, added("two/b", 13), modified("two/b", 15), modified("two/b", 17))}, []error{errFiltered}},
		"a version that was never written": {two, []session{from(11, modified("two/b", 13), modified("two/b", 15), modified("two/b", 17), modified("two/b", 18))}, []error{errGenuine}},
		"content of another version":       {two, []session{from(11, event{apiwatch.Modified, version("two/b", 13, 11)}, modified("two/b", 15), modified("two/b", 17))}, []error{errGenuine}},
		"a deletion with other content":    {a, []session{from(14, deleted("one/a", 16, 12))}, []error{errGenuine}},
		"a change of another object":       {two, []session{from(15, modified("two/c", 17))}, []error{errGenuine}},
	} {
		t.Run(name, func(t *testing.T) {
			broken := judgeWatch(past(), tc.selection, tc.sessions, 17)
			same := len(broken) == len(tc.want)
			for i := 0; same && i < len(broken); i++ {
				same = errors.Is(broken[i], tc.want[i])
			}
			if !same {
				t.Errorf("found %v; want %v", broken, tc.want)
			}
		})
	}
}

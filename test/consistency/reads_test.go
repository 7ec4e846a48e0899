package consistency

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

var (
	// errStale is for a strict read that does not show what was known before it began.
	errStale = errors.New("stale")
	// errContent is for a read that shows something else than etcd had.
	errContent = errors.New("not what etcd had")
)

// listing is what a strict LIST, or the initial state of a watch, has shown. Times
// are since the beginning of the run.
type listing struct {
	by        string
	selection selection
	call      time.Duration
	rv        uint64
	// items are in the order in which they came.
	items []identity
	// fault is what was wrong with it already by itself.
	fault string
}

func (l *listing) String() string {
	return fmt.Sprintf("LIST of %v by %s, begun after %s, at %d", l.selection, l.by, l.call, l.rv)
}

// getting is what a strict GET has shown; of an object that was not there only the
// key.
type getting struct {
	by   string
	call time.Duration
	identity
}

func (g *getting) String() string {
	return fmt.Sprintf("GET by %s, begun after %s, of %v", g.by, g.call, g.identity)
}

// sighting is a moment at which somebody knew that a resource version had come to be.
type sighting struct {
	at time.Duration
	rv uint64
}

// known is the newest resource version that anybody knew of, over the time.
type known []sighting

func newKnown(sightings []sighting) known {
	k := slices.Clone(sightings)
	slices.SortFunc(k, func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(k); i++ {
		k[i].rv = max(k[i].rv, k[i-1].rv)
	}
	return k
}

// before returns what was known before a moment, 0 if nothing.
func (k known) before(at time.Duration) uint64 {
	i, _ := slices.BinarySearchFunc(k, at, func(s sighting, at time.Duration) int { return cmp.Compare(s.at, at) })
	if i == 0 {
		return 0
	}
	return k[i-1].rv
}

// judgeLists returns what is wrong with lists.
func judgeLists(h *history, k known, lists []listing) (wrong []error) {
	lists = slices.Clone(lists)
	slices.SortStableFunc(lists, func(a, b listing) int { return cmp.Compare(a.rv, b.rv) })
	etcd := replay{history: h}
	for _, l := range lists {
		if l.fault != "" {
			wrong = append(wrong, fmt.Errorf("%w: %v %s", errContent, &l, l.fault))
			continue
		}
		if least := k.before(l.call); l.rv < least {
			wrong = append(wrong, fmt.Errorf("%w: %v; %d was known", errStale, &l, least))
		}
		if end := h.end(); l.rv > end {
			wrong = append(wrong, fmt.Errorf("%w: %v, which has not been", errContent, &l))
			continue
		}
		if difference := compare(l.items, etcd.to(l.rv, l.selection)); difference != "" {
			wrong = append(wrong, fmt.Errorf("%w: %v %s", errContent, &l, difference))
		}
	}
	return wrong
}

// compare returns the first difference between what came and what was, "" if there
// is none.
func compare(items, want []identity) string {
	for i := range max(len(items), len(want)) {
		switch {
		case i == len(items):
			return fmt.Sprintf("lacks %v", want[i])
		case i == len(want):
			return fmt.Sprintf("has %v, behind the last", items[i])
		case items[i] != want[i]:
			return fmt.Sprintf("has %v where etcd has %v", items[i], want[i])
		}
	}
	return ""
}

// judgeGets returns what is wrong with reads of single objects.
func judgeGets(h *history, k known, gets []getting) (wrong []error) {
	for _, g := range gets {
		if err := judgeGet(h.byKey[g.key], k.before(g.call), &g); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// judgeGet compares a read with the changes of its object. What it shows must have
// been so at some revision that is not below least.
func judgeGet(changes []change, least uint64, g *getting) error {
	if g.rv == 0 {
		return judgeNotFound(changes, least, g)
	}
	for i, c := range changes {
		if c.rv != g.rv {
			continue
		}
		if c.after == nil || c.after.identity != g.identity {
			return fmt.Errorf("%w: %v, etcd has %v", errContent, g, c.after)
		}
		if i+1 < len(changes) && changes[i+1].rv <= least {
			return fmt.Errorf("%w: %v, which has changed at %d; %d was known", errStale, g, changes[i+1].rv, least)
		}
		return nil
	}
	return fmt.Errorf("%w: %v, etcd has no such version", errContent, g)
}

func judgeNotFound(changes []change, least uint64, g *getting) error {
	for _, c := range changes {
		if (c.before == nil && c.rv > least) || (c.after == nil && c.rv >= least) {
			// It was not there until then, or from then on.
			return nil
		}
	}
	if len(changes) == 0 || changes[len(changes)-1].after == nil {
		return nil
	}
	return fmt.Errorf("%w: %v, which was not found and is there; %d was known", errStale, g, least)
}

func TestWrongReadsAreTold(t *testing.T) {
	// Each resource version is known as many seconds after the beginning as it counts.
	var sightings []sighting
	for rv := uint64(17); rv >= 10; rv-- {
		sightings = append(sightings, sighting{time.Duration(rv) * time.Second, rv})
	}
	k := newKnown(sightings)
	if got := k.before(10 * time.Second); got != 0 {
		t.Errorf("%d was known before anything was", got)
	}
	if got := k.before(12*time.Second + 1); got != 12 {
		t.Errorf("12 was known, not %d", got)
	}
	at := func(rv uint64) time.Duration { return time.Duration(rv)*time.Second + 1 }
	everything, red, two := selecting("", "", ""), selecting("", "color=red", ""), selecting("two", "", "")
	list := func(s selection, call, rv uint64, items ...identity) listing {
		return listing{selection: s, call: at(call), rv: rv, items: items}
	}
	v := func(key string, rv uint64) identity { return version(key, rv, rv) }
	for name, tc := range map[string]struct {
		listing listing
		want    error
	}{
		"all":                        {list(everything, 13, 13, v("one/a", 12), v("two/b", 13)), nil},
		"by label":                   {list(red, 13, 13, v("two/b", 13)), nil},
		"by namespace":               {list(two, 16, 16, v("two/b", 15)), nil},
		"newer than it need be":      {list(red, 12, 14, v("one/a", 14), v("two/b", 13)), nil},
		"older than what was known":  {list(everything, 14, 13, v("one/a", 12), v("two/b", 13)), errStale},
		"of what has not been":       {list(two, 17, 18, v("two/b", 17)), errContent},
		"without an object":          {list(everything, 13, 13, v("two/b", 13)), errContent},
		"without any":                {list(everything, 13, 13), errContent},
		"with an object that is not": {list(everything, 17, 17, v("one/a", 14), v("two/b", 17)), errContent},
		"with what is not selected":  {list(red, 13, 13, v("one/a", 12), v("two/b", 13)), errContent},
		"with an object twice":       {list(everything, 13, 13, v("one/a", 12), v("two/b", 13), v("two/b", 13)), errContent},
		"with an old version":        {list(everything, 13, 13, v("one/a", 12), v("two/b", 11)), errContent},
		"with a new version":         {list(everything, 13, 13, v("one/a", 14), v("two/b", 13)), errContent},
		"with other content":         {list(everything, 13, 13, version("one/a", 12, 10), v("two/b", 13)), errContent},
		"in the wrong order":         {list(everything, 13, 13, v("two/b", 13), v("one/a", 12)), errContent},
		"of pages that do not fit":   {listing{fault: "changes"}, errContent},
	} {
		// Others before and behind it do not matter.
		lists := []listing{list(two, 17, 17, v("two/b", 17)), tc.listing, list(two, 10, 11, v("two/b", 11))}
		checkWrong(t, "a list "+name, judgeLists(past(), k, lists), tc.want)
	}
	get := func(call uint64, i identity) getting { return getting{call: at(call), identity: i} }
	later := past()
	later.put(made("one/a", 18, "red"))
	for name, tc := range map[string]struct {
		get  getting
		want error
	}{
		"of the newest version":                 {get(17, v("two/b", 17)), nil},
		"of a version that another one follows": {get(14, v("two/b", 13)), nil},
		"of one that was followed":              {get(15, v("two/b", 13)), errStale},
		"of one that is gone":                   {get(16, v("one/a", 14)), errStale},
		"of one that goes":                      {get(15, v("one/a", 14)), nil},
		"of what is not there":                  {get(16, identity{key: "one/a"}), nil},
		"of what is not there soon":             {get(15, identity{key: "one/a"}), nil},
		"of what was not there yet":             {get(9, identity{key: "two/b"}), nil},
		"of what has never been there":          {get(16, identity{key: "two/x"}), nil},
		"of what is there, and not found":       {get(17, identity{key: "two/b"}), errStale},
		"of other content":                      {get(17, version("two/b", 17, 15)), errContent},
		"of a version of another object":        {get(17, v("two/b", 16)), errContent},
		"of a version that has not been":        {get(17, v("two/b", 19)), errContent},
	} {
		checkWrong(t, "a read "+name, judgeGets(later, k, []getting{tc.get}), tc.want)
	}
}

func checkWrong(t *testing.T, what string, wrong []error, want error) {
	t.Helper()
	if (want == nil && len(wrong) == 0) || (want != nil && len(wrong) == 1 && errors.Is(wrong[0], want)) {
		return
	}
	t.Errorf("%s: found %v; want %v", what, wrong, want)
}

package watch

import (
	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
)

// registry finds who is interested in a change. It is guarded by the hub.
type registry struct {
	// everybody is who cannot be found by a value.
	everybody set
	// listed are the others, by what they are found by and its value.
	listed map[key]map[string]set
	count  int
}

type set map[*Watcher]struct{}

// key is what watchers are found by.
type key struct {
	kind  keyKind
	index store.Index // of byIndex
}

type keyKind uint8

const (
	notListed keyKind = iota
	byKey             // namespace and name
	byNamespace
	byIndex
)

// maxLabelKeys bounds how many label keys watchers are found by: each is looked up
// for every change.
const maxLabelKeys = 16

func newRegistry() registry {
	return registry{everybody: set{}, listed: map[key]map[string]set{}}
}

// place chooses what a watcher is found by: what fewest objects have.
func (r *registry) place(s *selection.Selection) (k key, values []string) {
	if s.Name() != "" && s.Namespace() != "" {
		return key{kind: byKey}, []string{store.Key(s.Namespace(), s.Name())}
	}
	labelKeys := 0
	for k := range r.listed {
		if k.kind == byIndex && k.index.IsLabel() {
			labelKeys++
		}
	}
	var fallback *selection.Candidate
	for _, c := range s.Candidates() {
		if !c.Index.IsLabel() {
			return key{byIndex, c.Index}, c.Values
		}
		if _, known := r.listed[key{byIndex, c.Index}]; fallback == nil && (known || labelKeys < maxLabelKeys) {
			fallback = &c
		}
	}
	switch {
	case s.Namespace() != "":
		return key{kind: byNamespace}, []string{s.Namespace()}
	case fallback != nil:
		return key{byIndex, fallback.Index}, fallback.Values
	case s.Name() != "":
		return key{kind: byKey}, []string{s.Name()}
	}
	return key{}, nil
}

func (r *registry) add(w *Watcher) {
	r.count++
	w.index, w.values = r.place(w.selection)
	if w.index.kind == notListed {
		r.everybody[w] = struct{}{}
		return
	}
	byValue := r.listed[w.index]
	if byValue == nil {
		byValue = map[string]set{}
		r.listed[w.index] = byValue
	}
	for _, value := range w.values {
		if byValue[value] == nil {
			byValue[value] = set{}
		}
		byValue[value][w] = struct{}{}
	}
}

// remove takes a watcher out; one that is not there changes nothing.
func (r *registry) remove(w *Watcher) {
	if w.index.kind == notListed {
		if _, ok := r.everybody[w]; ok {
			delete(r.everybody, w)
			r.count--
		}
		return
	}
	byValue := r.listed[w.index]
	removed := false
	for _, value := range w.values {
		if _, ok := byValue[value][w]; !ok {
			continue
		}
		removed = true
		delete(byValue[value], w)
		if len(byValue[value]) == 0 {
			delete(byValue, value)
		}
	}
	if removed {
		r.count--
	}
	if len(byValue) == 0 {
		delete(r.listed, w.index)
	}
}

// all calls do for every watcher, for one with several values several times.
// Watchers must not be removed meanwhile.
func (r *registry) all(do func(*Watcher)) {
	for w := range r.everybody {
		do(w)
	}
	for _, byValue := range r.listed {
		for _, watchers := range byValue {
			for w := range watchers {
				do(w)
			}
		}
	}
}

// interested calls do for whoever may want to know of a change, some perhaps
// twice. Watchers may be removed meanwhile.
func (r *registry) interested(e *Event, do func(*Watcher)) {
	for w := range r.everybody {
		do(w)
	}
	for k, byValue := range r.listed {
		value, ok := k.of(e.Object)
		if ok {
			for w := range byValue[value] {
				do(w)
			}
		}
		if e.Previous == nil || k.kind != byIndex {
			continue
		}
		if before, had := k.of(e.Previous); had && (!ok || before != value) {
			for w := range byValue[before] {
				do(w)
			}
		}
	}
}

func (k key) of(o *store.Object) (string, bool) {
	switch k.kind {
	case byKey:
		return o.Key, true
	case byNamespace:
		return o.Namespace, true
	default:
		return k.index.Of(o)
	}
}

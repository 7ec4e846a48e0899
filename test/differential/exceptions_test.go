package differential

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

//go:embed exceptions.yaml
var exceptionsFile []byte

// exception accepts differences in some cases.
type exception struct {
	// Case is a pattern (path.Match) for "group/name".
	Case string `json:"case"`
	// Modes are the gateway's identity modes; empty means all.
	Modes []fixture.Mode `json:"modes,omitempty"`
	// Cached tells a difference of gateways with a cache alone.
	Cached bool `json:"cached,omitempty"`
	// Differs are the aspects that may differ, and must in one case at least.
	Differs []string `json:"differs"`
	Reason  string   `json:"reason"`
}

// exceptions are the accepted differences, and which of them occurred.
type exceptions struct {
	all []exception

	mu   sync.Mutex
	seen map[sighting]bool // false once its case has run, true once it differed
}

// sighting is one accepted aspect of an exception at one kind of gateway.
type sighting struct {
	exception int
	at        variant
	aspect    string
}

func loadExceptions() (*exceptions, error) {
	var file struct {
		Exceptions []exception `json:"exceptions"`
	}
	if err := yaml.UnmarshalStrict(exceptionsFile, &file); err != nil {
		return nil, err
	}
	for i, e := range file.Exceptions {
		if _, err := path.Match(e.Case, ""); err != nil || e.Reason == "" || len(e.Differs) == 0 {
			return nil, fmt.Errorf("exception %d (%s): needs a case pattern, differs and a reason", i, e.Case)
		}
		if len(e.Modes) == 0 {
			file.Exceptions[i].Modes = fixture.Modes()
		}
	}
	return &exceptions{all: file.Exceptions, seen: map[sighting]bool{}}, nil
}

// ran notes that a case was compared: its exceptions now have to occur.
func (e *exceptions) ran(name string, at variant) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.each(name, at, func(i int, x exception) {
		for _, aspect := range x.Differs {
			if s := (sighting{i, at, aspect}); !e.seen[s] {
				e.seen[s] = false
			}
		}
	})
}

// accept tells whether a difference is listed.
func (e *exceptions) accept(name string, at variant, d difference) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	accepted := false
	e.each(name, at, func(i int, x exception) {
		if slices.Contains(x.Differs, d.aspect) {
			e.seen[sighting{i, at, d.aspect}] = true
			accepted = true
		}
	})
	return accepted
}

func (e *exceptions) each(name string, at variant, fn func(int, exception)) {
	for i, x := range e.all {
		if match, _ := path.Match(x.Case, name); match && slices.Contains(x.Modes, at.mode) && (at.cached || !x.Cached) {
			fn(i, x)
		}
	}
}

// stale lists exceptions whose cases ran and did not differ.
func (e *exceptions) stale() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var stale []string
	for s, occurred := range e.seen {
		if !occurred {
			stale = append(stale, fmt.Sprintf("%s at %s: %s does not differ any more", e.all[s.exception].Case, s.at, s.aspect))
		}
	}
	slices.Sort(stale)
	return stale
}

// misnamed lists exceptions that no case has the name for.
func (e *exceptions) misnamed(groups []group) []string {
	var misnamed []string
	for _, x := range e.all {
		found := false
		for _, g := range groups {
			for _, tc := range g.cases {
				match, _ := path.Match(x.Case, g.name+"/"+tc.name)
				found = found || match
			}
		}
		if !found {
			misnamed = append(misnamed, x.Case+" is the name of no case")
		}
	}
	return misnamed
}

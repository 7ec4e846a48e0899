package cache

import (
	"slices"
	"sync"

	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/watch"
)

const (
	// maxLearned bounds how many label keys a stream is indexed by: each costs
	// memory for every object that has the label.
	maxLearned = 16
	// learnAfter is how often a label is asked for before it gets an index.
	learnAfter = 2
)

// learned makes indexes of the labels by which clients select.
type learned struct {
	hub *watch.Hub

	mu    sync.Mutex
	asked map[store.Index]int
	made  []store.Index
}

func newLearned(hub *watch.Hub) *learned { return &learned{hub: hub, asked: map[store.Index]int{}} }

// note counts a selection that an index would have helped.
func (l *learned) note(s *selection.Selection, snapshot *store.Snapshot) {
	for _, c := range s.Candidates() {
		if !c.Index.IsLabel() || snapshot.Indexed(c.Index) {
			continue
		}
		l.mu.Lock()
		if len(l.asked) < 4*maxLearned || l.asked[c.Index] > 0 {
			l.asked[c.Index]++
		}
		l.mu.Unlock()
	}
}

// tick makes the indexes that have been asked for often enough.
func (l *learned) tick() {
	l.mu.Lock()
	var wanted []store.Index
	for index, n := range l.asked {
		if n >= learnAfter && len(l.made)+len(wanted) < maxLearned && !slices.Contains(l.made, index) {
			wanted = append(wanted, index)
		}
	}
	// Who asks seldom is not remembered for ever.
	clear(l.asked)
	l.made = append(l.made, wanted...)
	l.mu.Unlock()
	for _, index := range wanted {
		l.hub.AddIndex(index)
	}
}

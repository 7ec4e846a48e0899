package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// fill has a stream read n objects of a kilobyte, and returns what Complete says.
func fill(s *stream, n int, rv uint64) error {
	s.Begin()
	for i := range n {
		s.Add([]byte(`"data":"`+strings.Repeat("x", 1000)+`"}`), &wire.Meta{Namespace: "a", Name: fmt.Sprint("c", i), ResourceVersion: rv})
	}
	return s.Complete(rv)
}

func TestWhatDoesNotFitIsNotCached(t *testing.T) {
	limit := &budget{limit: 100_000}
	small, _ := followed(t, &distant{}, 1)
	large, _ := followed(t, &distant{}, 1)
	small.memory.of, large.memory.of = limit, limit
	if err := fill(small, 20, 5); err != nil {
		t.Fatalf("what fits is refused: %v", err)
	}
	err := fill(large, 200, 5)
	if !errors.Is(err, upstream.ErrGiveUp) || !strings.Contains(err.Error(), "--cache-memory-limit") {
		t.Fatalf("what does not fit is taken: %v", err)
	}
	if len(large.pending) > 100 {
		t.Errorf("%d objects are held that were refused", len(large.pending))
	}
	large.Abandon(err)
	if got := limit.used; got > 40_000 {
		t.Errorf("%d bytes are used when it is given up", got)
	}
	if err := fill(large, 20, 6); err != nil {
		t.Errorf("it is refused when it fits: %v", err)
	}
}

// TestWhatDoesNotFitTakesNothingFromOthers: neither while it is read, nor before it is
// given up.
func TestWhatDoesNotFitTakesNothingFromOthers(t *testing.T) {
	limit := &budget{limit: 100_000}
	small, _ := followed(t, &distant{}, 1)
	large, _ := followed(t, &distant{}, 1)
	small.memory.of, large.memory.of = limit, limit
	if err := fill(small, 20, 5); err != nil {
		t.Fatal(err)
	}
	large.Begin()
	for i := range 200 {
		large.Add([]byte(strings.Repeat("x", 1000)), &wire.Meta{Namespace: "a", Name: fmt.Sprint("c", i), ResourceVersion: 5})
	}
	for rv := uint64(6); rv < 20; rv++ {
		if err := small.Apply(wire.Added, []byte(strings.Repeat("x", 1000)), &wire.Meta{Namespace: "b", Name: fmt.Sprint("c", rv), ResourceVersion: rv}); err != nil {
			t.Fatalf("what fits is given up: %v", err)
		}
	}
}

// TestWhatIsReadAnewFitsIfItFitAlone: two of it need not.
func TestWhatIsReadAnewFitsIfItFitAlone(t *testing.T) {
	s, _ := followed(t, &distant{}, 1)
	s.memory.of = &budget{limit: 60_000}
	for rv := uint64(5); rv < 8; rv++ {
		if err := fill(s, 40, rv); err != nil {
			t.Fatalf("at %d: %v", rv, err)
		}
		if n := s.hub.Snapshot().Len(); n != 40 || !s.ready.Load() {
			t.Errorf("at %d there are %d objects, ready %v", rv, n, s.ready.Load())
		}
	}
	if err := s.Complete(6); err == nil {
		t.Error("upstream may go back in time when what there was has made room")
	}
}

// TestHistoryMakesRoomForTheState: what has changed in the past is what can be done
// without.
func TestHistoryMakesRoomForTheState(t *testing.T) {
	s, _ := followed(t, &distant{}, 1)
	s.memory.of = &budget{limit: 20_000}
	for rv := uint64(5); rv < 100; rv++ {
		if err := s.Apply(wire.Modified, []byte(strings.Repeat("x", 8000)), &wire.Meta{Namespace: "a", Name: "c", ResourceVersion: rv}); err != nil {
			t.Fatalf("at %d: %v", rv, err)
		}
		if used := s.memory.of.used; used > 20_000 || used != s.held() {
			t.Fatalf("at %d %d bytes are counted, %d used", rv, used, s.held())
		}
	}
}

func TestWhatGrowsOutOfTheBudgetIsGivenUp(t *testing.T) {
	s, _ := followed(t, &distant{}, 1)
	s.memory.of = &budget{limit: 50_000}
	if err := fill(s, 20, 5); err != nil {
		t.Fatal(err)
	}
	var err error
	rv := uint64(6)
	for ; err == nil && rv < 100; rv++ {
		err = s.Apply(wire.Added, []byte(strings.Repeat("x", 1000)), &wire.Meta{Namespace: "b", Name: fmt.Sprint("c", rv), ResourceVersion: rv})
	}
	if !errors.Is(err, upstream.ErrGiveUp) {
		t.Fatalf("after %d more: %v", rv-6, err)
	}
	// What becomes smaller is not refused because others are too large.
	if err := s.Apply(wire.Deleted, nil, &wire.Meta{Namespace: "a", Name: "c0", ResourceVersion: rv}); err != nil {
		t.Errorf("a deletion: %v", err)
	}
}

func TestTheBudgetOfWhatIsNotCachedAnyMoreIsFree(t *testing.T) {
	limit := &budget{limit: 1 << 20}
	s, _ := followed(t, &distant{}, 1)
	s.memory.of = limit
	if err := fill(s, 20, 5); err != nil {
		t.Fatal(err)
	}
	s.memory.giveBack()
	if err := fill(s, 30, 6); err != nil {
		t.Fatal(err)
	}
	s.memory.giveBack()
	if got := limit.used; got != 0 {
		t.Errorf("%d bytes are used", got)
	}
}

package failover

import (
	"slices"
	"testing"

	"github.com/asi-gateway/asi-gateway/test/failover/traffic"
)

// checkWatches fails unless every watch has seen what the one past the gateway has,
// and no more, and the ends of those that were broken off were clean. It tells how
// many those were, and how often one could not be opened.
func checkWatches(t *testing.T, watched []traffic.Watched) (ends, refusals int) {
	t.Helper()
	i := slices.IndexFunc(watched, func(w traffic.Watched) bool { return w.Name == reference })
	if i < 0 || watched[i].Failure != "" || len(watched[i].Events) < 2 || len(watched) < 2 {
		t.Fatalf("nothing to compare watches with: %+v", watched)
	}
	real := watched[i].Events
	for _, w := range watched {
		if w.Failure != "" {
			t.Errorf("%s: %s", w.Name, w.Failure)
		} else if !slices.Equal(w.Events, real) {
			t.Errorf("%s has seen %d events, not the %d that there were: from number %d on others", w.Name, len(w.Events), len(real), firstDifference(w.Events, real))
		}
		for _, end := range w.Ends {
			if !end.Clean {
				t.Errorf("%s: its watch had no clean end: %s", w.Name, end.Said)
			}
		}
		ends, refusals = ends+len(w.Ends), refusals+len(w.Refusals)
	}
	return ends, refusals
}

// checkBrokenWatches does so after a fault that some of them must have met.
func checkBrokenWatches(t *testing.T, watched []traffic.Watched) (ends, refusals int) {
	t.Helper()
	if ends, refusals = checkWatches(t, watched); ends == 0 {
		t.Error("no watch was broken off")
	}
	return ends, refusals
}

func firstDifference(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

package failover

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/test/failover/traffic"
)

// verdict counts what faults did to requests.
type verdict struct {
	reads, writes int
	// broken are reads of which the client had the beginning; lost are writes that
	// may have been applied; unserved are reads that were told to come back.
	broken, lost, unserved int
	longest                time.Duration
}

func (v verdict) String() string {
	return fmt.Sprintf("%d reads, %d broken off in their bodies, %d told to come back; %d writes, %d lost in flight; the longest request took %s",
		v.reads, v.broken, v.unserved, v.writes, v.lost, ms(v.longest))
}

// judge fails for every request that was not served, except those that were under
// way at a fault: a read may break off in its body, or be told to come back, and a
// write be answered with 502, but without Retry-After, upon which it would be sent
// again.
func judge(t *testing.T, results []traffic.Result, faults ...fault) (v verdict) {
	t.Helper()
	for _, r := range results {
		read := r.Method == http.MethodGet
		if read {
			v.reads++
		} else {
			v.writes++
		}
		v.longest = max(v.longest, r.Took)
		if r.OK() {
			continue
		}
		underWay := slices.ContainsFunc(faults, func(f fault) bool { return f.meets(r) })
		switch {
		case r.Torn:
			t.Errorf("%q, %s: a part passed for the whole: %s", r.Stream, when(r, faults), describe(r))
		case underWay && read && r.Broken && r.Code == http.StatusOK:
			v.broken++
		case underWay && read && r.Code == http.StatusServiceUnavailable && r.RetryAfter != "" && !r.Broken:
			v.unserved++
		case underWay && !read && !r.Broken && r.Code == http.StatusBadGateway && r.RetryAfter == "" && strings.Contains(r.Said, "may have been applied"):
			v.lost++
		case underWay && !read && r.Broken && r.Code/100 == 2:
			v.lost++
		default:
			t.Errorf("%q, %s: %s", r.Stream, when(r, faults), describe(r))
		}
	}
	return v
}

// meets tells whether a request was under way at the fault.
func (f fault) meets(r traffic.Result) bool {
	return r.Begun.Before(f.over) && r.Ended().After(f.begun)
}

func describe(r traffic.Result) string {
	return fmt.Sprintf("code %d, broken %v, Retry-After %q, refused by %q, after %s: %s", r.Code, r.Broken, r.RetryAfter, r.RefusedBy, ms(r.Took), r.Said)
}

// when tells where between the faults a request was begun.
func when(r traffic.Result, faults []fault) string {
	var all []string
	for _, f := range faults {
		all = append(all, fmt.Sprintf("begun %s after the %s", ms(r.Begun.Sub(f.begun)), f.what))
	}
	return strings.Join(all, ", ")
}

// gap is the longest time between two answers of a stream that were successes, from
// one moment to another.
func gap(results []traffic.Result, stream string, from, to time.Time) (longest time.Duration) {
	ends := []time.Time{from, to}
	for _, r := range results {
		if end := r.Ended(); r.Stream == stream && r.OK() && end.After(from) && end.Before(to) {
			ends = append(ends, end)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	for i := range ends[1:] {
		longest = max(longest, ends[i+1].Sub(ends[i]))
	}
	return longest
}

// firstSuccess is how long after a moment a request of a method that was begun
// after it has succeeded.
func firstSuccess(results []traffic.Result, stream string, after time.Time) time.Duration {
	first := time.Hour
	for _, r := range results {
		if r.Stream == stream && r.OK() && r.Begun.After(after) {
			first = min(first, r.Ended().Sub(after))
		}
	}
	return first
}

// checkPatience fails if a request that was under way at a freezing, or begun after
// it, took longer than it may wait for a frozen server.
func checkPatience(t *testing.T, results []traffic.Result, f fault, during disturbance) {
	t.Helper()
	results = slices.DeleteFunc(slices.Clone(results), func(r traffic.Result) bool { return r.Ended().Before(f.begun) })
	slices.SortFunc(results, func(a, b traffic.Result) int { return cmp.Compare(b.Took, a.Took) })
	for _, r := range results[:min(len(results), 5)] {
		t.Logf("%q took %s: code %d, %s", r.Stream, ms(r.Took), r.Code, when(r, []fault{f}))
	}
	inTime(t, "the longest request", results[0].Took, patience, during)
	// An answer that has begun is waited for.
	reads := slices.DeleteFunc(results, func(r traffic.Result) bool { return r.Method != http.MethodGet || r.Broken || r.Torn })
	t.Logf("the longest read took %s", ms(reads[0].Took))
	inTime(t, "the longest read", reads[0].Took, readPatience, during)
}

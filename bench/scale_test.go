package main

import (
	"slices"
	"testing"
)

func TestSizesAboveTheMostAreLeftOut(t *testing.T) {
	s := series{steps: []int{5, 50, 500}}
	if got := (scaleOptions{}).steps(s); !slices.Equal(got, s.steps) {
		t.Errorf("%v", got)
	}
	if got := (scaleOptions{most: 100}).steps(s); !slices.Equal(got, []int{5, 50}) || len(s.steps) != 3 {
		t.Errorf("%v of %v", got, s.steps)
	}
}

func TestGrowthIsJudged(t *testing.T) {
	rounds := func(gateway, floor float64) map[string][]figure {
		return map[string][]figure{gatewayName: {{CPU: gateway}, {CPU: gateway}}, floorName: {{CPU: floor}, {CPU: floor}}}
	}
	for _, test := range []struct {
		entries         []string
		few, many, want float64
		met             bool
	}{
		{[]string{gatewayName, floorName}, 4, 5, 1.25, true},
		{[]string{gatewayName, floorName}, 4, 40, 10, false},
		// Without the floor it counts by itself.
		{[]string{directName, gatewayName}, 4, 5, 1.25, true},
	} {
		r := seriesReport{Entries: test.entries, Steps: []int{5, 500}, Rounds: []map[string][]figure{rounds(test.few, 2), rounds(test.many, 2)}}
		if got := r.judge(flat); got.Median != test.want || got.Met != test.met {
			t.Errorf("from %v to %v: %+v", test.few, test.many, got)
		}
	}
	// A machine that has become twice as slow meanwhile is not the gateway's fault.
	r := seriesReport{Entries: []string{gatewayName, floorName}, Steps: []int{5, 500}, Rounds: []map[string][]figure{rounds(4, 2), rounds(8, 4)}}
	if got := r.judge(flat); got.Median != 1 || !got.Met {
		t.Errorf("on a slow machine: %+v", got)
	}
}

func TestEverySeriesCanBeMeasured(t *testing.T) {
	for _, s := range allSeries() {
		if s.name == "" || s.what == "" || s.order == "" || s.per == "" || s.mostGrowth <= 1 || len(s.steps) < 2 || !slices.IsSorted(s.steps) {
			t.Errorf("%+v", s)
		}
		if p := s.population(s.steps[0]); p.pods == 0 || p.nodes == 0 || p.nodes > p.pods || p.every == 0 {
			t.Errorf("%s: %+v", s.name, p)
		}
	}
}

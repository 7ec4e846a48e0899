package main

import (
	"slices"
	"testing"
)

func TestStepsGrow(t *testing.T) {
	for text, want := range map[string][]int{"50": {50}, "100,2000": {100, 2000}, "": nil, "100,100": nil, "49": nil, "100,x": nil} {
		got, err := parseSteps(text)
		if (err == nil) != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestGrowthIsJudged(t *testing.T) {
	rounds := func(gateway float64) map[string][]figure {
		return map[string][]figure{gatewayName: {{CPU: gateway}, {CPU: gateway}}, floorName: {{CPU: 2}, {CPU: 2}}}
	}
	for _, test := range []struct {
		few, many, want float64
		met             bool
	}{{4, 5, 1.25, true}, {4, 40, 10, false}} {
		r := scaleReport{Pods: []int{5, 500}, Steps: map[string]map[string][]figure{"5": rounds(test.few), "500": rounds(test.many)}}
		if got := flat(r); got.Median != test.want || got.Met != test.met {
			t.Errorf("from %v to %v: %+v", test.few, test.many, got)
		}
	}
}

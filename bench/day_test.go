package main

import (
	"strings"
	"testing"
)

func TestEveryStreamOfTheMixCanBeSent(t *testing.T) {
	d := &dayBench{pods: population{pods: 100, nodes: 10, namespaces: 5, selected: 2, every: 50, small: true}}
	names := map[string]bool{}
	for i := range dayMix {
		s := &dayMix[i]
		if names[s.name] || s.name == "" || s.agent == "" || s.user == "" || s.accept == "" || s.rate(10) <= 0 {
			t.Errorf("%+v", s)
		}
		names[s.name] = true
		for n := range 500 {
			if method, path, body := s.request(d, n); method == "" || !strings.HasPrefix(path, "/api") || (method == "GET") != (body == "") {
				t.Errorf("%s: %s %s %q", s.name, method, path, body)
			}
		}
	}
}

func TestWhoTakesPartInAPhase(t *testing.T) {
	for _, tc := range []struct {
		stream dayStream
		want   [3]bool
	}{
		{dayStream{control: true}, [3]bool{true, true, true}},
		{dayStream{}, [3]bool{false, true, true}},
		{dayStream{rogue: true}, [3]bool{false, false, true}},
	} {
		for i, p := range phases {
			if got := tc.stream.in(p); got != tc.want[i] {
				t.Errorf("%+v in %q: %t", tc.stream, p.name, got)
			}
		}
	}
}

func TestADayIsJudged(t *testing.T) {
	// Cores in the three phases, and the control plane's p99.
	report := func(direct, gateway [3]float64, directP99 [3]float64, p99 float64, refused int) *dayReport {
		r := &dayReport{Rounds: 1}
		for i, p := range phases {
			r.Phases = append(r.Phases,
				phaseResult{Way: wayDirect, Phase: p.name, UpstreamCPU: direct[i], Control: streamResult{P99: directP99[i]}},
				phaseResult{Way: wayGateway, Phase: p.name, UpstreamCPU: gateway[i], Control: streamResult{P99: p99, Refused: refused}})
		}
		return r
	}
	good := report([3]float64{0.2, 1.2, 1.7}, [3]float64{0.2, 0.3, 0.4}, [3]float64{10, 20, 400}, 30, 0)
	for _, c := range good.judge() {
		if !c.Met {
			t.Errorf("%+v", c)
		}
	}
	bad := report([3]float64{0.2, 0.4, 0.5}, [3]float64{0.2, 0.3, 0.4}, [3]float64{10, 20, 25}, 3000, 1)
	for _, c := range bad.judge() {
		if c.Met {
			t.Errorf("%+v", c)
		}
	}
	if table := dayTable(*good); !strings.Contains(table, "control plane") {
		t.Error(table)
	}
}

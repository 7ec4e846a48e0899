package main

import (
	"fmt"
	"maps"
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
		want   [4]bool
	}{
		{dayStream{control: true}, [4]bool{true, true, true, true}},
		{dayStream{}, [4]bool{false, true, true, true}},
		{dayStream{rogue: true}, [4]bool{false, false, false, true}},
	} {
		for i, p := range phases {
			if got := tc.stream.in(p); got != tc.want[i] {
				t.Errorf("%+v in %q: %t", tc.stream, p.name, got)
			}
		}
	}
}

func TestADayIsJudged(t *testing.T) {
	// Cores in the four phases, and the control plane's p99.
	report := func(direct, gateway [4]float64, directP99 [4]float64, p99 float64, refused int) *dayReport {
		r := &dayReport{Rounds: 1}
		for i, p := range phases {
			r.Phases = append(r.Phases,
				phaseResult{Way: wayDirect, Phase: p.name, UpstreamCPU: direct[i], Control: streamResult{P99: directP99[i]}},
				phaseResult{Way: wayGateway, Phase: p.name, UpstreamCPU: gateway[i], Control: streamResult{P99: p99, Refused: refused}})
		}
		return r
	}
	good := report([4]float64{0.1, 0.2, 1.2, 1.7}, [4]float64{0.1, 0.2, 0.3, 0.4}, [4]float64{10, 10, 20, 400}, 30, 0)
	for _, c := range good.judge() {
		if !c.Met {
			t.Errorf("%+v", c)
		}
	}
	bad := report([4]float64{0.1, 0.2, 0.4, 0.5}, [4]float64{0.1, 0.2, 0.3, 0.4}, [4]float64{10, 10, 20, 25}, 3000, 1)
	for _, c := range bad.judge() {
		if c.Met {
			t.Errorf("%+v", c)
		}
	}
	good.Phases[5].Asked, good.Phases[7].Asked = demand{"GET pods": 3}, demand{"GET pods": 0.5, "LIST nodes": 7.5, "GET leases": 0.9}
	table := dayTable(*good)
	for _, want := range []string{"control plane", "\n| LIST nodes | 0.0 | 0.0 | 0.0 | 7.5 |\n| GET pods | 0.0 | 3.0 | 0.0 | 0.5 |\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q does not stand in\n%s", want, table)
		}
	}
	if strings.Contains(table, "GET leases") {
		t.Error("what is rare is shown")
	}
}

func TestWhatWasAskedIsCounted(t *testing.T) {
	const text = `# HELP apiserver_request_total Counter
apiserver_request_total{code="200",component="apiserver",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} %d
apiserver_request_total{code="404",component="apiserver",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",resource="nodes",scope="resource",subresource="status",verb="PATCH",version="v1"} 7
apiserver_request_total{code="200"
apiserver_request_total_more{verb="LIST",resource="pods"} 9
`
	before, after := demand{}, demand{}
	before.add(fmt.Sprintf(text, 10))
	after.add(fmt.Sprintf(text, 30))
	if want := (demand{"LIST pods": 12, "PATCH nodes/status": 7}); !maps.Equal(before, want) {
		t.Errorf("%v, want %v", before, want)
	}
	if got, want := after.since(before, 4), (demand{"LIST pods": 5}); !maps.Equal(got, want) {
		t.Errorf("%v a second, want %v", got, want)
	}
}

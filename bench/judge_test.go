package main

import (
	"strings"
	"testing"
	"time"
)

func TestTargetsAreJudgedByTheMedianOfRatiosOfTheSameRound(t *testing.T) {
	rounds := map[string][]figure{
		directName:  {{Wall: 100, CPU: 10}, {Wall: 400, CPU: 10}, {Wall: 90, CPU: 10}},
		gatewayName: {{Wall: 10, CPU: 3, Memory: 5e6}, {Wall: 20, CPU: 2, Memory: 7e6}, {Wall: 30, CPU: 1, Memory: 6e6}},
		floorName:   {{Wall: 10, CPU: 1}, {Wall: 10, CPU: 1}, {Wall: 10, CPU: 1}},
	}
	for _, test := range []struct {
		check  check
		what   string
		target string
		spread spread
		met    bool
	}{
		{faster(10), "time: kube-apiserver / gateway", "at least 10", spread{10, 3, 20}, true},
		{faster(10.5), "time: kube-apiserver / gateway", "at least 10.5", spread{10, 3, 20}, false},
		{nearFloor(cpu, 2), "CPU: gateway / floor", "at most 2", spread{2, 1, 3}, true},
		{nearFloor(wallTime, 1.2), "time: gateway / floor", "at most 1.2", spread{2, 1, 3}, false},
		{check{quantity: memory, of: gatewayName, most: 6e6}, "memory: gateway", "at most 6 MB", spread{6e6, 5e6, 7e6}, true},
		{check{quantity: memory, of: gatewayName, most: 5e6}, "memory: gateway", "at most 5 MB", spread{6e6, 5e6, 7e6}, false},
	} {
		want := checkResult{test.what, test.target, test.spread, test.met}
		if got := test.check.judge(rounds); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestReportSaysWhatIsNotMetAndWhatIsNotMeasured(t *testing.T) {
	rounds := map[string][]figure{directName: {{Wall: 5000, CPU: 300, UpstreamCPU: 300}}, gatewayName: {{Wall: 1000, CPU: 100, UpstreamCPU: 7, Bytes: 12, Cached: 1}}}
	table := cacheTable(cacheReport{Scenarios: []scenarioReport{
		{Name: "quick", Per: "request", Entries: []string{directName, gatewayName}, Rounds: rounds, Checks: []checkResult{faster(4).judge(rounds), faster(6).judge(rounds)}},
		{Name: "broken", Error: "it ended\nearly" + strings.Repeat(" \x00|", 200)},
	}})
	for _, want := range []string{
		"| quick; time: kube-apiserver / gateway | 5.00 (5.00 to 5.00) | at least 4 | met |",
		"| quick; time: kube-apiserver / gateway | 5.00 (5.00 to 5.00) | at least 6 | **not met** |",
		"| broken | | | **not measured**: it ended early" + strings.Repeat(" ", 400-len("it ended early")) + "... |",
		"| quick (a request) | kube-apiserver | 5.00 (5.00 to 5.00) | 300 (300 to 300) |  |  |  |  |  |",
		"| quick (a request) | gateway | 1.00 (1.00 to 1.00) | 100 (100 to 100) | 7 | 12 |  | 1.00 |  |",
	} {
		if !strings.Contains(table, want+"\n") {
			t.Errorf("no line %q in\n%s", want, table)
		}
	}
}

func TestFigureIsOfOneUnit(t *testing.T) {
	got := figureOf(batch{units: 4, wall: time.Millisecond, bytes: 100},
		gauges{cpu: time.Second, upstream: time.Second, reads: 10, hits: 5},
		gauges{cpu: time.Second + 8*time.Microsecond, upstream: time.Second + 4*time.Microsecond, reads: 14, hits: 8})
	if want := (figure{Wall: 1000, CPU: 2, UpstreamCPU: 1, Bytes: 25, Cached: 0.75}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := figureOf(batch{units: 1, memory: 5}, gauges{}, gauges{cpu: time.Second}); got != (figure{Memory: 5}) {
		t.Errorf("of memory alone: %+v", got)
	}
}

func TestSizesThatCannotBeMeasuredAreRefused(t *testing.T) {
	good := cacheOptions{pods: 100, nodes: 10, namespaces: 1, rounds: 1, gets: 16, watchers: 1, nodeWatchers: 10, lists: 1, storm: 1}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*cacheOptions){
		"no round":        func(o *cacheOptions) { o.rounds = 0 },
		"few nodes":       func(o *cacheOptions) { o.nodes = 9 },
		"few pods":        func(o *cacheOptions) { o.pods = 9 },
		"no namespace":    func(o *cacheOptions) { o.namespaces = 0 },
		"few GETs":        func(o *cacheOptions) { o.gets = 15 },
		"no list":         func(o *cacheOptions) { o.lists = 0 },
		"few on the node": func(o *cacheOptions) { o.nodeWatchers = 9 },
	} {
		bad := good
		if spoil(&bad); bad.validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

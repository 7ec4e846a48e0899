package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("of three: %v", got)
	}
	if got := median([]time.Duration{4, 1, 3, 2}); got != 2 {
		t.Errorf("of four: %v", got)
	}
}

func TestPercentile(t *testing.T) {
	sorted := []time.Duration{1, 2, 3, 4}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 4, 1: 4} {
		if got := percentile(sorted, p); got != want {
			t.Errorf("percentile %v: %v, want %v", p, got, want)
		}
	}
}

func TestCPUTimeGrowsWithWork(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for i := range 50_000_000 {
		sum += i
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after <= before || sum == 0 {
		t.Errorf("%v, then %v", before, after)
	}
	if ticks, err := cpuTicks(os.Getpid()); err != nil || ticks < 0 {
		t.Errorf("%v, %v", ticks, err)
	}
}

func TestRatioIsOfTheSameRound(t *testing.T) {
	round := func(us int) result { return result{Requests: 1, CPU: time.Duration(us) * time.Microsecond} }
	rounds := map[string][]result{
		rival:     {round(100), round(200)},
		baseline:  {round(1), round(1)},
		"gateway": {round(80), round(180)},
	}
	if s := summarise(contestant{name: "gateway"}, rounds); s.RatioLow != 0.8 || s.RatioHigh != 0.9 {
		t.Errorf("ratios from %v to %v, want 0.8 to 0.9", s.RatioLow, s.RatioHigh)
	}
}

func TestAddedIsToWhatIsAskedTheSameWay(t *testing.T) {
	round := func(us int) []result {
		return []result{{Requests: 1, CPU: 1, Median: time.Duration(us) * time.Microsecond}}
	}
	rounds := map[string][]result{rival: round(70), baseline: round(50), impersonated: round(60), "gateway": round(75)}
	for beside, want := range map[string]float64{"": 25, impersonated: 15} {
		if s := summarise(contestant{name: "gateway", beside: beside}, rounds); s.Added != want {
			t.Errorf("beside %q: %v us added, want %v", beside, s.Added, want)
		}
	}
}

func TestTableNamesWhatAProcessDoesNotTell(t *testing.T) {
	table := watchTable(watchReport{Results: []watchResult{{Name: "x", HeapBytes: -1, StackBytes: 2048, Goroutines: -1}}})
	if !strings.Contains(table, "| x | 0.0 | - | 2.00 | - | 0 |") {
		t.Errorf("table:\n%s", table)
	}
}

func FuzzMetric(f *testing.F) {
	f.Add("go_goroutines 12\n", "go_goroutines")
	f.Add("# HELP x\nx{a=\"b\"} 1\nx 2", "x")
	f.Fuzz(func(t *testing.T, text, name string) {
		if value, err := metric(text, name); err == nil && !strings.Contains(text, name+" ") {
			t.Fatalf("%v from nowhere", value)
		}
	})
}

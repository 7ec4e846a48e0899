package main

import (
	"math"
	"strings"
	"testing"
)

const exposition = `# HELP reads_total Reads.
reads_total{reason="Hit",resource="pods"} 7
reads_total{reason="Strict",resource="pods"} 2
reads_total{reason="Hit",resource="nodes"} 1e3
reads_total_more{reason="Hit",resource="pods"} 100
reads_total{reason="} 5",resource="pods"} 0.5
plain 4
`

func TestSamplesAreAddedUpByLabel(t *testing.T) {
	for _, test := range []struct {
		labels []string
		want   float64
	}{
		{nil, 1009.5},
		{[]string{label("reason", "Hit")}, 1007},
		{[]string{label("resource", "pods")}, 9.5},
		{[]string{label("reason", "Hit"), label("resource", "pods")}, 7},
		{[]string{label("reason", "None")}, 0},
	} {
		if got := sumOf(exposition, "reads_total", test.labels...); got != test.want {
			t.Errorf("%v: %v, want %v", test.labels, got, test.want)
		}
	}
}

func FuzzSumOf(f *testing.F) {
	f.Add(exposition, "reads_total")
	f.Fuzz(func(t *testing.T, text, name string) {
		all := sumOf(text, name)
		if all != 0 && !math.IsNaN(all) && !strings.Contains(text, name+"{") {
			t.Fatalf("%v from nowhere", all)
		}
	})
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const (
	forwardJSON = `{"workloads": [
		{"name": "GET", "summary": [{"Name": "kube-apiserver direct", "CPU": 400}, {"Name": "gateway", "CPU": 150}, {"Name": "HAProxy", "CPU": 84}]},
		{"name": "PUT", "summary": [{"Name": "gateway", "CPU": 150}]}]}`
	cacheJSON = `{"pods": 10, "nodes": 2, "scenarios": [
		{"name": "LIST", "rounds": {"kube-apiserver": [{"Wall": 100}, {"Wall": 300}], "gateway": [{"Wall": 10}, {"Wall": 10}]}},
		{"name": "not measured"}]}`
	scaleJSON = `{"series": [{"name": "pods", "what": "LIST", "per": "request", "entries": ["gateway", "floor"], "steps": [5, 500],
		"rounds": [{"gateway": [{"CPU": 2}, {"CPU": 3}], "floor": [{"CPU": 1}]}, {"gateway": [{"CPU": 2.5}], "floor": [{"CPU": 1}]}]}]}`
	dayJSON = `{"phases": [{"way": "gateway", "phase": "reads", "upstreamCPU": 0.2}, {"way": "gateway", "phase": "reads", "upstreamCPU": 0.3}]}`
)

func TestEveryReportIsDrawn(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"forward": forwardJSON, "cache": cacheJSON, "scale": scaleJSON, "day": dayJSON} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := drawAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, shows := range map[string]string{"forward-1.svg": "HAProxy", "forward-2.svg": "gateway", "day.svg": "reads", "cache.svg": "LIST", "scale-pods.svg": "floor"} {
		svg, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(svg, []byte("<svg")) || !bytes.Contains(svg, []byte(shows)) {
			t.Errorf("%s does not show %s", name, shows)
		}
	}
}

func TestWhatCannotBeDrawnIsAnError(t *testing.T) {
	for name, text := range map[string]string{
		"forward.json": `{"workloads": []}`,
		"day.json":     `{"phases": []}`,
		"cache.json":   `{`,
		"scale.json":   `{"series": [{"name": "pods", "entries": ["gateway"], "steps": [5], "rounds": [{"gateway": [{"CPU": 0}]}]}]}`,
		"other.json":   `{}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := drawAll(dir); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMedianIsTheMiddle(t *testing.T) {
	wall := func(f figure) float64 { return f.Wall }
	for _, tc := range []struct{ values, want []float64 }{{[]float64{3}, []float64{3, 3, 3}}, {[]float64{9, 1, 2, 4}, []float64{3, 1, 9}}} {
		var rounds []figure
		for _, v := range tc.values {
			rounds = append(rounds, figure{Wall: v})
		}
		if m, low, high := medianOf(rounds, wall); m != tc.want[0] || low != tc.want[1] || high != tc.want[2] {
			t.Errorf("%v: %v, %v, %v", tc.values, m, low, high)
		}
	}
}

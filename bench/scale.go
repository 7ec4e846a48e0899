package main

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// scaleOptions size the measurement.
type scaleOptions struct {
	steps   []int // pods, one number after another
	rounds  int
	nodes   int
	out     string
	gateway string // binary; empty builds it
}

// selectedPods are found among all, whatever their number.
const selectedPods = 50

// parseSteps reads numbers that grow.
func parseSteps(s string) (steps []int, err error) {
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, err
		}
		if n < selectedPods || (len(steps) > 0 && n <= steps[len(steps)-1]) {
			return nil, fmt.Errorf("%d: want %d at least, and more than the number before", n, selectedPods)
		}
		steps = append(steps, n)
	}
	return steps, nil
}

// scale measures the list of the same few pods among more and more others.
func scale(ctx context.Context, o scaleOptions) error {
	c, binary, err := stage(ctx, o.gateway)
	if err != nil {
		return err
	}
	defer c.Close()
	b := &cacheBench{
		o: cacheOptions{rounds: o.rounds}, cluster: c, binary: binary,
		pods: population{pods: o.steps[0], nodes: min(o.nodes, o.steps[0]), namespaces: 100, selected: selectedPods, every: o.steps[0] / selectedPods, small: true},
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer b.storage.close()
	report := scaleReport{
		Machine: machine(), Go: runtime.Version(), Kubernetes: cluster.KubernetesVersion,
		When: time.Now().UTC().Format(time.DateOnly), Rounds: o.rounds, Steps: map[string]map[string][]figure{},
	}
	path := "/api/v1/pods?resourceVersion=0&labelSelector=" + url.QueryEscape(selectedLabel+"=yes")
	for i, n := range o.steps {
		if i > 0 {
			b.pods.pods = n
			if err := b.storage.seed(ctx, b.pods, o.steps[i-1]); err != nil {
				return err
			}
			if err := awaitMetric(ctx, b.gateway.ops, "asi_gateway_cache_objects", float64(n), label("resource", "pods"), label("encoding", "json")); err != nil {
				return err
			}
		}
		name := fmt.Sprintf("%d of %d pods", selectedPods, n)
		result, err := b.run(ctx, b.learned(b.list(name, ask{path, jsonType, ""}, 20), path))
		if err != nil {
			return err
		}
		report.Pods = append(report.Pods, n)
		report.Steps[strconv.Itoa(n)] = result.Rounds
	}
	report.Flat = flat(report)
	return writeReport(o.out, "scale", report, scaleTable(report))
}

type scaleReport struct {
	Machine    string                         `json:"machine"`
	Go         string                         `json:"go"`
	Kubernetes string                         `json:"kubernetes"`
	When       string                         `json:"when"`
	Rounds     int                            `json:"rounds"`
	Pods       []int                          `json:"pods"`
	Steps      map[string]map[string][]figure `json:"steps"`
	// Flat is the verdict on the gateway's cost of one list.
	Flat checkResult `json:"flat"`
}

// maxGrowth is what may become of the gateway's cost from the fewest pods to the
// most: more than noise, and far less than a cost that grows with their number.
const maxGrowth = 1.5

// flat compares what the gateway needs at the largest size with what it needs at the
// smallest, both as multiples of what the floor needs beside it.
func flat(r scaleReport) checkResult {
	result := checkResult{What: "CPU: gateway / floor, at the most pods over at the fewest", Target: fmt.Sprintf("at most %.1f", maxGrowth)}
	first, last := r.Steps[strconv.Itoa(r.Pods[0])], r.Steps[strconv.Itoa(r.Pods[len(r.Pods)-1])]
	ratio := func(rounds map[string][]figure) spread {
		c := check{quantity: cpu, of: gatewayName, over: floorName}
		return c.judge(rounds).spread
	}
	few, many := ratio(first), ratio(last)
	result.spread = spread{Median: many.Median / few.Median, Low: many.Low / few.High, High: many.High / few.Low}
	result.Met = result.Median <= maxGrowth
	return result
}

func scaleTable(r scaleReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Growth with the number of pods\n\n%s, %s, kube-apiserver %s, %s. LIST by label over all namespaces, JSON, resourceVersion=0, %d pods of 1 KB among more and more others; medians of %d rounds at each size, lowest and highest in brackets.\n\n",
		r.Machine, r.Go, r.Kubernetes, r.When, selectedPods, r.Rounds)
	b.WriteString("| pods | | time (ms) | CPU (us) | kube-apiserver's time over it |\n|---|---|---|---|---|\n")
	for _, n := range r.Pods {
		rounds := r.Steps[strconv.Itoa(n)]
		for _, name := range []string{directName, gatewayName, floorName} {
			times := check{quantity: wallTime, of: name}.judge(rounds)
			used := check{quantity: cpu, of: name}.judge(rounds)
			over := check{quantity: wallTime, of: directName, over: name}.judge(rounds)
			fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", n, name,
				times.text(func(v float64) string { return strconv.FormatFloat(v/1000, 'f', 2, 64) }),
				used.text(func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }),
				over.text(func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }))
		}
	}
	met := "met"
	if !r.Flat.Met {
		met = "**not met**"
	}
	fmt.Fprintf(&b, "\n%s: %s, %s: %s.\n", r.Flat.What, r.Flat.text(func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }), r.Flat.Target, met)
	return b.String()
}

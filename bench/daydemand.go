package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// demand counts requests by what was asked for, "GET pods" for instance.
type demand map[string]float64

// demand is what the kube-apiservers have been asked so far, all of them together. A
// watch counts when it ends.
func (d *dayBench) demand(ctx context.Context) (demand, error) {
	all := demand{}
	for _, server := range append(d.cluster.Servers(cluster.GroupMain), d.cluster.Servers(cluster.GroupBypass)...) {
		client, err := kubernetes.NewForConfig(d.cluster.RESTConfig(server))
		if err != nil {
			return nil, err
		}
		text, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
		if err != nil {
			return nil, err
		}
		all.add(string(text))
	}
	return all, nil
}

// add counts what stands in the metrics of a kube-apiserver.
func (a demand) add(text string) {
	for line := range strings.SplitSeq(text, "\n") {
		rest, ok := strings.CutPrefix(line, "apiserver_request_total{")
		if !ok {
			continue
		}
		end := strings.LastIndex(rest, "} ")
		if end < 0 {
			continue
		}
		value, err := strconv.ParseFloat(rest[end+2:], 64)
		if err != nil {
			continue
		}
		what := labelIn(rest[:end], "verb") + " " + labelIn(rest[:end], "resource")
		if sub := labelIn(rest[:end], "subresource"); sub != "" {
			what += "/" + sub
		}
		a[what] += value
	}
}

// labelIn is the value of a label among those of a sample.
func labelIn(labels, name string) string {
	_, rest, ok := strings.Cut(","+labels, ","+name+`="`)
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// since is how often each was asked for in a second, behind an earlier count. What is
// rare is left out.
func (a demand) since(before demand, seconds float64) demand {
	rates := demand{}
	for what, n := range a {
		if rate := (n - before[what]) / seconds; rate >= 0.1 {
			rates[what] = math.Round(rate*10) / 10
		}
	}
	return rates
}

// askedTable shows what the kube-apiservers were asked in the last round, with reads.
func (r *dayReport) askedTable() string {
	last := map[string]demand{}
	most := demand{}
	var columns []string
	for _, p := range phases[atBase+1:] {
		for _, way := range []string{wayDirect, wayGateway} {
			all := r.phasesOf(way, p.name)
			column := p.name + ", clients at " + way
			columns = append(columns, column)
			last[column] = all[len(all)-1].Asked
			for what, rate := range last[column] {
				most[what] = max(most[what], rate)
			}
		}
	}
	var rows []string
	for what, rate := range most {
		if rate >= 1 {
			rows = append(rows, what)
		}
	}
	slices.SortFunc(rows, func(a, b string) int {
		if most[a] != most[b] {
			return int(math.Copysign(1, most[b]-most[a]))
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	b.WriteString("\n## What the kube-apiservers were asked\n\nRequests a second, in the last round.\n\n|")
	for _, column := range columns {
		b.WriteString(" | " + column)
	}
	b.WriteString(" |\n|---" + strings.Repeat("|---", len(columns)) + "|\n")
	for _, what := range rows {
		b.WriteString("| " + what)
		for _, column := range columns {
			fmt.Fprintf(&b, " | %.1f", last[column][what])
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

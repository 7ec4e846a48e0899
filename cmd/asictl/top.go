package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// everybodyElse stands for the requests that have no flow of their own, because
// there are too many.
const everybodyElse = "(others)"

var (
	topSorts  = []string{"rate", "bytes", "refused", "p99"}
	topGroups = []string{"flow", "client", "resource"}
)

func (c *cli) topCommand() *cobra.Command {
	var o output
	var sort, by string
	var count int
	command := &cobra.Command{
		Use: "top", Short: "Show who asks for what",
		Long: `Shows who asks for what, over all gateway replicas. REQ/S and BYTES/S are means
over the last ten seconds; REQUESTS, REFUSED, PEAK/S and P99 are of the last hour.
P99 is known to a factor of two.`,
		Args: cobra.NoArgs,
	}
	o.bind(command, "table", "json", "yaml")
	command.Flags().Var(oneOfValue[string]{&sort, topSorts}, "sort", "what comes first: rate, bytes, refused or p99")
	command.Flags().Var(oneOfValue[string]{&by, topGroups}, "by", "a row for each flow, client or resource")
	sort, by = topSorts[0], topGroups[0]
	command.Flags().Lookup("sort").DefValue, command.Flags().Lookup("by").DefValue = sort, by
	completeFlag(command, "sort", topSorts...)
	completeFlag(command, "by", topGroups...)
	command.Flags().IntVarP(&count, "count", "n", 20, "how many rows at most; 0 is all")
	c.shows(command, &o, func(ctx context.Context, client *client, _ []string, out, notes io.Writer) error {
		list := &v1alpha1.FlowList{}
		if err := client.list(ctx, flowsResource, list); err != nil {
			return err
		}
		rows := topRows(list.Items, by, sort)
		if !o.table() {
			return printFlows(out, first(rows, count), o.format)
		}
		return c.printTop(out, notes, rows, by, count, &o)
	}, func() error {
		switch {
		case count < 0:
			return usagef("--count cannot be negative")
		case by != "flow" && !o.table():
			return usagef("--output %s has flows; leave --by out", o.format)
		}
		return nil
	})
	return command
}

// topRow is a flow, or several that are counted together.
type topRow struct {
	name              string
	flow              v1alpha1.Flow
	flows             int
	rate, peak, bytes float64
	requests, refused int64
	p99               time.Duration
}

// topRows sums flows up and brings them into order. Equals come in the order of
// their names, so that a table does not jump.
func topRows(items []v1alpha1.Flow, by, sort string) []topRow {
	var rows []topRow
	at := map[string]int{}
	for _, f := range items {
		name := topName(&f, by)
		i, known := at[name]
		if !known || by == "flow" {
			i = len(rows)
			at[name] = i
			rows = append(rows, topRow{name: name, flow: f})
		}
		r := &rows[i]
		rate := f.PerSecond.AsApproximateFloat64()
		r.flows++
		r.rate += rate
		r.peak = max(r.peak, f.Peak.AsApproximateFloat64())
		r.bytes += rate * float64(f.BytesPerRequest)
		r.requests += f.Requests
		r.refused += f.Refused
		if f.P99 != nil {
			// The slowest flow's: distributions cannot be added.
			r.p99 = max(r.p99, f.P99.Duration)
		}
	}
	key := map[string]func(*topRow) float64{
		"rate":    func(r *topRow) float64 { return r.rate },
		"bytes":   func(r *topRow) float64 { return r.bytes },
		"refused": func(r *topRow) float64 { return float64(r.refused) },
		"p99":     func(r *topRow) float64 { return float64(r.p99) },
	}[sort]
	slices.SortStableFunc(rows, func(a, b topRow) int {
		return cmp.Or(cmp.Compare(key(&b), key(&a)), cmp.Compare(b.requests, a.requests), cmp.Compare(a.name, b.name))
	})
	return rows
}

func topName(f *v1alpha1.Flow, by string) string {
	others := f.Client == "" && f.Verb == ""
	resource := joinResource(f.Resource, f.Subresource)
	if f.APIGroup != "" {
		resource = joinResource(f.Resource+"."+f.APIGroup, f.Subresource)
	}
	switch {
	case others:
		return everybodyElse
	case by == "client":
		return quoted(f.Client)
	case by == "resource":
		return cmp.Or(resource, unknown)
	default:
		return fmt.Sprintf("%s %s %s %s %s %s", quoted(f.Client), f.Verb, resource, f.ListScope, f.ListShape, f.Class)
	}
}

// first is the first n, or all if n is 0.
func first[T any](all []T, n int) []T {
	if n == 0 {
		return all
	}
	return all[:min(n, len(all))]
}

func (c *cli) printTop(out, notes io.Writer, rows []topRow, by string, count int, o *output) error {
	if len(rows) == 0 {
		note(notes, "nothing was asked of the gateway in the last hour")
		return nil
	}
	if !o.noHeaders {
		var rate float64
		var requests, refused int64
		for i := range rows {
			rate += rows[i].rate
			requests += rows[i].requests
			refused += rows[i].refused
		}
		fmt.Fprintf(out, "%s  %s requests/s; %d in the last hour, %d of them refused (%s%%)\n\n",
			c.clock.Now().Format(time.TimeOnly), formatRate(rate), requests, refused, percent(refused, requests))
	}
	t := table{headers: []string{"REQ/S", "REQUESTS", "REFUSED", "BYTES/S", "P99"}}
	switch by {
	case "flow":
		t.headers = append([]string{"CLIENT", "CLASS", "VERB", "RESOURCE", "LIST", "PEAK/S"}, t.headers...)
	case "client":
		t.headers = append([]string{"CLIENT", "FLOWS"}, t.headers...)
	case "resource":
		t.headers = append([]string{"RESOURCE", "FLOWS"}, t.headers...)
	}
	for _, r := range first(rows, count) {
		cells := []string{r.name, strconv.Itoa(r.flows)}
		if by == "flow" {
			cells = append(flowCells(&r.flow), formatRate(r.peak))
		}
		t.add(append(cells, formatRate(r.rate), strconv.FormatInt(r.requests, 10), strconv.FormatInt(r.refused, 10), formatBytes(r.bytes), formatLatency(r.p99))...)
	}
	if err := t.print(out, o.noHeaders); err != nil {
		return err
	}
	if more := len(rows) - len(t.rows); more > 0 {
		note(notes, "%d more; --count 0 shows all", more)
	}
	return nil
}

func flowCells(f *v1alpha1.Flow) []string {
	if f.Client == "" && f.Verb == "" {
		return []string{everybodyElse, unknown, unknown, unknown, unknown}
	}
	list := unknown
	if f.ListScope != "" {
		list = string(f.ListScope) + "/" + string(f.ListShape)
	}
	// Without a class a limit has refused them before authentication.
	return []string{quoted(f.Client), cmp.Or(f.Class, unknown), cmp.Or(f.Verb, unknown), topName(f, "resource"), list}
}

func printFlows(w io.Writer, rows []topRow, format string) error {
	var items []any
	for i := range rows {
		m, err := manifest("Flow", &rows[i].flow)
		if err != nil {
			return err
		}
		items = append(items, m)
	}
	return encode(w, format, map[string]any{
		"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": "FlowList", "metadata": map[string]any{}, "items": append([]any{}, items...),
	})
}

package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// scaleOptions size the measurement.
type scaleOptions struct {
	rounds  int
	most    int    // sizes above it are left out; 0 for none
	only    string // regular expression for the names of series
	out     string
	gateway string // binary; empty builds it
}

// steps are a series' sizes that are not left out.
func (o scaleOptions) steps(s series) []int {
	if o.most == 0 {
		return s.steps
	}
	return slices.DeleteFunc(slices.Clone(s.steps), func(n int) bool { return n > o.most })
}

// scale measures how cost grows with what there is more and more of.
func scale(ctx context.Context, o scaleOptions) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	report := scaleReport{setting: here(), Rounds: o.rounds}
	var missed []string
	for _, s := range allSeries() {
		if !only.MatchString(s.name) {
			continue
		}
		if len(o.steps(s)) < 2 {
			return fmt.Errorf("%s: %d leaves fewer than two sizes of %v", s.name, o.most, s.steps)
		}
		result, err := runSeries(ctx, o, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		report.Series = append(report.Series, result)
		if !result.Check.Met {
			missed = append(missed, s.name)
		}
		// So far, for who cannot wait.
		if err := saveReport(o.out, "scale", report, scaleTable(report)); err != nil {
			return err
		}
	}
	if err := writeReport(o.out, "scale", report, scaleTable(report)); err != nil {
		return err
	}
	if len(missed) > 0 {
		return fmt.Errorf("cost grows faster than it should with: %s", strings.Join(missed, ", "))
	}
	return nil
}

// runSeries measures a series in a cluster of its own.
func runSeries(ctx context.Context, o scaleOptions, s series) (result seriesReport, err error) {
	c, binary, err := stage(ctx, o.gateway)
	if err != nil {
		return result, err
	}
	defer c.Close()
	steps := o.steps(s)
	b := &cacheBench{o: cacheOptions{rounds: o.rounds, gets: 4000}, cluster: c, binary: binary, pods: s.population(steps[0])}
	if err := b.prepare(ctx); err != nil {
		return result, err
	}
	defer b.storage.close()
	result = seriesReport{Name: s.name, What: s.what, Order: s.order, Per: s.per}
	before := 0
	for _, n := range steps {
		measured, err := s.at(ctx, b, before, n)
		if err != nil {
			return result, err
		}
		figures, err := b.run(ctx, measured)
		if err != nil {
			return result, err
		}
		result.Entries = figures.Entries
		result.Steps = append(result.Steps, n)
		result.Rounds = append(result.Rounds, figures.Rounds)
		before = n
	}
	result.Check = result.judge(s.mostGrowth)
	return result, nil
}

// scaleReport is what was measured.
type scaleReport struct {
	setting
	Rounds int            `json:"rounds"`
	Series []seriesReport `json:"series"`
}

type seriesReport struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Order string `json:"order"`
	// Per is what figures are for.
	Per     string   `json:"per"`
	Entries []string `json:"entries"`
	Steps   []int    `json:"steps"`
	// Rounds are those of each step.
	Rounds []map[string][]figure `json:"rounds"`
	// Check is the verdict on the gateway's cost.
	Check checkResult `json:"check"`
}

// judge compares what the gateway needs at the largest size with what it needs at the
// smallest; both as multiples of what the floor needs beside it, if that takes part.
func (r *seriesReport) judge(most float64) checkResult {
	c := check{quantity: cpu, of: gatewayName}
	if slices.Contains(r.Entries, floorName) {
		c.over = floorName
	}
	few, many := c.judge(r.Rounds[0]), c.judge(r.Rounds[len(r.Rounds)-1])
	result := checkResult{
		What:   fmt.Sprintf("%s, at %d over at %d", c.what(), r.Steps[len(r.Steps)-1], r.Steps[0]),
		Target: fmt.Sprintf("at most %g", most),
		spread: spread{Median: many.Median / few.Median, Low: many.Low / few.High, High: many.High / few.Low},
	}
	result.Met = result.Median <= most
	return result
}

func scaleTable(r scaleReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# How cost grows\n\n%s. Medians of %d rounds at each size, lowest and highest in brackets. Time is what a client waits, CPU the serving process's.\n",
		r.setting, r.Rounds)
	for _, s := range r.Series {
		met := "met"
		if !s.Check.Met {
			met = "**not met**"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s. Expected: %s. %s: %s, %s: %s.\n\n![%s](scale-%s.svg)\n\n| %s | | time (ms) | CPU (us), a %s |\n|---|---|---|---|\n",
			strings.ToUpper(s.Name[:1])+s.Name[1:], s.What, s.Order, s.Check.What, s.Check.text(digits(2, 1)), s.Check.Target, met, s.Name, s.Name, s.Name, s.Per)
		for i, n := range s.Steps {
			for _, name := range s.Entries {
				times := check{quantity: wallTime, of: name}.judge(s.Rounds[i])
				used := check{quantity: cpu, of: name}.judge(s.Rounds[i])
				fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", n, name, times.text(digits(2, 1000)), used.text(digits(1, 1)))
			}
		}
	}
	return b.String()
}

// digits writes numbers in a unit, with n digits behind the point.
func digits(n int, unit float64) func(float64) string {
	return func(v float64) string { return strconv.FormatFloat(v/unit, 'f', n, 64) }
}

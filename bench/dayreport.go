package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// dayReport is what was measured.
type dayReport struct {
	setting
	Nodes   int           `json:"nodes"`
	Pods    int           `json:"pods"`
	Seconds float64       `json:"seconds"`
	Rounds  int           `json:"rounds"`
	Mix     []mixLine     `json:"mix"`
	Phases  []phaseResult `json:"phases"`
	Checks  []checkResult `json:"checks"`
}

// mixLine says what a stream does.
type mixLine struct {
	Name  string  `json:"name"`
	Agent string  `json:"agent"`
	Rate  float64 `json:"rate"`
}

func mixOf(nodes int) (lines []mixLine) {
	for i := range dayMix {
		agent, _, _ := strings.Cut(dayMix[i].agent, " ")
		lines = append(lines, mixLine{dayMix[i].name, agent, dayMix[i].rate(nodes)})
	}
	return lines
}

// phaseResult is what came of a phase.
type phaseResult struct {
	Round int    `json:"round"`
	Way   string `json:"way"`
	Phase string `json:"phase"`
	// UpstreamCPU and GatewayCPU are CPU seconds for each second.
	UpstreamCPU float64 `json:"upstreamCPU"`
	GatewayCPU  float64 `json:"gatewayCPU"`
	// Asked is what the kube-apiservers were asked, requests a second.
	Asked demand `json:"asked"`
	// Control is the control plane's streams together.
	Control streamResult   `json:"control"`
	Streams []streamResult `json:"streams"`
}

// streamResult is what came of a stream: requests, and milliseconds from when one was
// due to its end.
type streamResult struct {
	Name       string  `json:"name"`
	Control    bool    `json:"control"`
	Rate       float64 `json:"rate"`
	Answered   int     `json:"answered"`
	Refused    int     `json:"refused"`
	Failed     int     `json:"failed"`
	FirstError string  `json:"firstError,omitempty"`
	P50        float64 `json:"p50"`
	P99        float64 `json:"p99"`

	latencies []time.Duration
}

// phasesOf are those of a way and name, a round after the other.
func (r *dayReport) phasesOf(way, name string) (all []phaseResult) {
	for _, p := range r.Phases {
		if p.Way == way && p.Phase == name {
			all = append(all, p)
		}
	}
	return all
}

const (
	// readsSaved is how many times as little the apiservers are to do for reads.
	readsSaved = 5
	// controlBound is what the control plane may wait, in ms.
	controlBound = 1000
	// visible is the least CPU time for reads that can be told from what the writes vary
	// by, in cores.
	visible = 0.02
	// visiblyHurt is how many times as long it waits because of the rogues where
	// nobody holds them back.
	visiblyHurt = 2
)

// atBase is the phase with which those behind it are compared.
var atBase = slices.IndexFunc(phases, func(p phase) bool { return p.elsewhere })

// judge checks what the gateway is to be good for.
func (r *dayReport) judge() (checks []checkResult) {
	add := func(what, target string, values []float64, met func(float64) bool) {
		c := checkResult{What: what, Target: target, spread: spreadOf(values)}
		c.Met = met(c.Median)
		checks = append(checks, c)
	}
	values := func(of func(round int) float64) (all []float64) {
		for round := range r.Rounds {
			all = append(all, of(round))
		}
		return all
	}
	at := func(way string, phase, round int) phaseResult { return r.phasesOf(way, phases[phase].name)[round] }
	for phase := atBase + 1; phase < len(phases); phase++ {
		add(fmt.Sprintf("apiservers' CPU for reads, %s: without the gateway / with it", phases[phase].name), fmt.Sprintf("at least %d", readsSaved),
			values(func(round int) float64 {
				direct := at(wayDirect, phase, round).UpstreamCPU - at(wayDirect, atBase, round).UpstreamCPU
				behind := at(wayGateway, phase, round).UpstreamCPU - at(wayGateway, atBase, round).UpstreamCPU
				return direct / math.Max(behind, visible)
			}), func(v float64) bool { return v >= readsSaved })
	}
	last := len(phases) - 1
	add("requests of the control plane refused or failed behind the gateway, with rogues", "at most 0",
		values(func(round int) float64 {
			c := at(wayGateway, last, round).Control
			return float64(c.Refused + c.Failed)
		}), func(v float64) bool { return v == 0 })
	add("p99 of the control plane behind the gateway, with rogues (ms)", fmt.Sprintf("at most %d", controlBound),
		values(func(round int) float64 { return at(wayGateway, last, round).Control.P99 }), func(v float64) bool { return v > 0 && v <= controlBound })
	add("p99 of the control plane without the gateway: with rogues / without", fmt.Sprintf("at least %d, to be seen", visiblyHurt),
		values(func(round int) float64 {
			return at(wayDirect, last, round).Control.P99 / at(wayDirect, last-1, round).Control.P99
		}), func(v float64) bool { return v >= visiblyHurt })
	return checks
}

func dayTable(r dayReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# A cluster of 10,000 nodes in miniature\n\n%s.\n\n", r.setting)
	fmt.Fprintf(&b, "A main and a bypass kube-apiserver, %d nodes kept alive by kwok and %d pods of 1 KB; kube-controller-manager, kube-scheduler and kwok are clients like all others, and a Deployment goes from %d to %d pods and back every %s. ",
		r.Nodes, r.Pods, churnFrom, churnTo, churnEvery)
	fmt.Fprintf(&b, "Beside them the mix below, at the apiservers in turn, or at the gateway with its default limits in force and a cache. Each phase lasts %.0f s behind some to settle, %d rounds. A request's time counts from when it was due. All share the machine, on which the same writes cost more while others are busy: so what reads cost is what the apiservers take more than beside the same reads of another server, a bare one with the same bytes. Less than %.2f cores more cannot be told from what the writes vary by, and counts as that.\n\n", r.Seconds, r.Rounds, visible)
	b.WriteString("## Targets\n\n| | measured: median (lowest to highest) | target | |\n|---|---|---|---|\n")
	for _, c := range r.Checks {
		met := "met"
		if !c.Met {
			met = "**not met**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.What, c.text(digits(2, 1)), c.Target, met)
	}
	b.WriteString("\n## Phases\n\n| | clients at | apiservers' CPU (cores) | gateway's CPU (cores) | control plane: p50, p99 (ms) | refused, failed |\n|---|---|---|---|---|---|\n")
	for _, p := range phases {
		for _, way := range []string{wayDirect, wayGateway} {
			all := r.phasesOf(way, p.name)
			column := func(of func(phaseResult) float64) spread {
				var values []float64
				for _, p := range all {
					values = append(values, of(p))
				}
				return spreadOf(values)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %.1f, %s | %.0f, %.0f |\n", p.name, way,
				column(func(p phaseResult) float64 { return p.UpstreamCPU }).text(digits(2, 1)),
				column(func(p phaseResult) float64 { return p.GatewayCPU }).Median,
				column(func(p phaseResult) float64 { return p.Control.P50 }).Median,
				column(func(p phaseResult) float64 { return p.Control.P99 }).text(digits(1, 1)),
				column(func(p phaseResult) float64 { return float64(p.Control.Refused) }).Median,
				column(func(p phaseResult) float64 { return float64(p.Control.Failed) }).Median)
		}
	}
	b.WriteString("\n## The mix\n\nWith all of it, in the last round.\n\n| | user agent | requests a second | direct: p50, p99 (ms); answered, refused, failed | gateway |\n|---|---|---|---|---|\n")
	for _, m := range r.Mix {
		fmt.Fprintf(&b, "| %s | %s | %.1f | %s | %s |\n", m.Name, m.Agent, m.Rate, r.stream(wayDirect, m.Name), r.stream(wayGateway, m.Name))
	}
	b.WriteString(r.askedTable())
	return b.String()
}

// stream is what came of one in the last phase of the last round.
func (r *dayReport) stream(way, name string) string {
	all := r.phasesOf(way, phases[len(phases)-1].name)
	for _, s := range all[len(all)-1].Streams {
		if s.Name == name {
			return fmt.Sprintf("%.1f, %.1f; %d, %d, %d", s.P50, s.P99, s.Answered, s.Refused, s.Failed)
		}
	}
	return ""
}

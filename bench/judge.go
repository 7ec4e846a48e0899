package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// quantity names a number of a figure.
type quantity string

const (
	wallTime quantity = "time"
	cpu      quantity = "CPU"
	size     quantity = "bytes"
	memory   quantity = "memory"

	upstreamReads   quantity = "lists and watches upstream"
	upstreamReviews quantity = "access reviews upstream"
)

func (q quantity) of(f figure) float64 {
	switch q {
	case wallTime:
		return f.Wall
	case cpu:
		return f.CPU
	case size:
		return f.Bytes
	case memory:
		return f.Memory
	case upstreamReads:
		return f.UpstreamReads
	default:
		return f.UpstreamReviews
	}
}

// check is a target: a quantity of one who takes part, or its ratio to another's in
// the same round, and what it must be at least or at most.
type check struct {
	quantity quantity
	// of is whose, over to whose it is compared; "" for none.
	of, over string
	// least and most are bounds; 0 for none.
	least, most float64
}

// faster wants the gateway to answer that many times as fast as the kube-apiserver.
func faster(times float64) check {
	return check{quantity: wallTime, of: directName, over: gatewayName, least: times}
}

// nearFloor wants the gateway to need no more than that many times what the floor
// does.
func nearFloor(q quantity, times float64) check {
	return check{quantity: q, of: gatewayName, over: floorName, most: times}
}

// checkResult is how a target was met.
type checkResult struct {
	What, Target string
	spread
	Met bool
}

// spread is the median over the rounds, the lowest and the highest.
type spread struct{ Median, Low, High float64 }

func spreadOf(values []float64) spread {
	s := spread{Median: median(values), Low: values[0], High: values[0]}
	for _, v := range values {
		s.Low, s.High = min(s.Low, v), max(s.High, v)
	}
	return s
}

func (c check) judge(rounds map[string][]figure) checkResult {
	var values []float64
	for i, f := range rounds[c.of] {
		value := c.quantity.of(f)
		if c.over != "" {
			value /= c.quantity.of(rounds[c.over][i])
		}
		values = append(values, value)
	}
	r := checkResult{What: c.what(), Target: c.target(), spread: spreadOf(values)}
	r.Met = (c.least == 0 || r.Median >= c.least) && (c.most == 0 || r.Median <= c.most)
	return r
}

func (c check) what() string {
	if c.over == "" {
		return fmt.Sprintf("%s: %s", c.quantity, c.of)
	}
	return fmt.Sprintf("%s: %s / %s", c.quantity, c.of, c.over)
}

func (c check) target() string {
	bound, value := "at most", c.most
	if c.least != 0 {
		bound, value = "at least", c.least
	}
	if c.over == "" && c.quantity == memory {
		return fmt.Sprintf("%s %.0f MB", bound, value/1e6)
	}
	return bound + " " + strconv.FormatFloat(value, 'g', -1, 64)
}

// cacheReport is what was measured of the cache.
type cacheReport struct {
	setting
	Pods       int              `json:"pods"`
	Nodes      int              `json:"nodes"`
	Namespaces int              `json:"namespaces"`
	Rounds     int              `json:"rounds"`
	Scenarios  []scenarioReport `json:"scenarios"`
}

type scenarioReport struct {
	Name    string              `json:"name"`
	Per     string              `json:"per"`
	Entries []string            `json:"entries"`
	Rounds  map[string][]figure `json:"rounds"`
	Checks  []checkResult       `json:"checks"`
	// Error is why there are no figures.
	Error string `json:"error,omitempty"`
}

func cacheTable(r cacheReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Reads answered from memory\n\n%s. %d pods of 8 KB and %d nodes in %d namespaces; medians of %d rounds, in each of which all take their turn, lowest and highest in brackets.\n\n",
		r.setting, r.Pods, r.Nodes, r.Namespaces, r.Rounds)
	b.WriteString("Client, servers and etcd share the machine. The client reads bodies and does not decode them; its connections (TLS, HTTP/2) are kept. The gateway runs with default policies, as a front proxy, in front of the same kube-apiserver that is asked directly. The floor is a bare net/http server that sends the same bytes from memory. Reads have resourceVersion=0 unless the name says otherwise.\n\n")
	b.WriteString("## Targets\n\nRatios are of the same round. Targets are for 50,000 pods of 8 KB and 5,000 nodes.\n\n| | measured | target | |\n|---|---|---|---|\n")
	for _, s := range r.Scenarios {
		if s.Error != "" {
			fmt.Fprintf(&b, "| %s | | | **not measured**: %s |\n", s.Name, brief(s.Error))
		}
		for _, c := range s.Checks {
			met := "met"
			if !c.Met {
				met = "**not met**"
			}
			fmt.Fprintf(&b, "| %s; %s | %s | %s | %s |\n", s.Name, c.What, c.spread.text(checkNumber(c)), c.Target, met)
		}
	}
	b.WriteString("\n## Figures\n\n| | of | time (ms) | CPU (us) | kube-apiserver's CPU behind it (us) | bytes | resident (MB) | from the cache | upstream: reads, reviews; refused |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Scenarios {
		for _, e := range s.Entries {
			if figures := s.Rounds[e]; len(figures) > 0 {
				b.WriteString(figureRow(s, e, figures))
			}
		}
	}
	return b.String()
}

// brief is the beginning of a text, in one line of printable characters.
func brief(text string) string {
	const most = 400
	var b strings.Builder
	for _, r := range text {
		switch {
		case b.Len() >= most:
			return b.String() + "..."
		case r == '|' || !unicode.IsPrint(r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// checkNumber is how a check's values are written.
func checkNumber(c checkResult) func(float64) string {
	if strings.HasSuffix(c.Target, " MB") {
		return func(v float64) string { return strconv.FormatFloat(v/1e6, 'f', 0, 64) + " MB" }
	}
	return func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
}

func (s spread) text(number func(float64) string) string {
	return fmt.Sprintf("%s (%s to %s)", number(s.Median), number(s.Low), number(s.High))
}

func figureRow(s scenarioReport, entry string, figures []figure) string {
	column := func(of func(figure) float64) spread {
		var values []float64
		for _, f := range figures {
			values = append(values, of(f))
		}
		return spreadOf(values)
	}
	optional := func(c spread, text string) string {
		if c.High == 0 {
			return ""
		}
		return text
	}
	took, used := column(wallTime.of), column(cpu.of)
	reads, reviews := column(upstreamReads.of), column(upstreamReviews.of)
	refused := column(func(f figure) float64 { return f.Refused })
	bytes, resident, cached := column(size.of), column(memory.of), column(func(f figure) float64 { return f.Cached })
	behind := column(func(f figure) float64 { return f.UpstreamCPU })
	if entry == directName {
		behind = spread{}
	}
	return fmt.Sprintf("| %s (a %s) | %s | %s | %s | %s | %s | %s | %s | %s |\n", s.Name, s.Per, entry,
		optional(took, took.text(digits(2, 1000))), optional(used, used.text(digits(0, 1))), optional(behind, digits(0, 1)(behind.Median)),
		optional(bytes, digits(0, 1)(bytes.Median)), optional(resident, resident.text(digits(0, 1e6))), optional(cached, digits(2, 1)(cached.Median)),
		optional(reads, fmt.Sprintf("%.0f, %.0f; %.0f", reads.Median, reviews.Median, refused.Median)))
}

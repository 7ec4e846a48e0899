package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/resource"
)

// none stands in a cell for what is not set, as kubectl has it; unknown for what
// nobody could tell.
const (
	none    = "<none>"
	unknown = "-"
)

// formatRate has at most one decimal. A rate above 0 is never shown as 0, which
// for a limit would mean that nothing passes.
func formatRate(rate float64) string {
	if rate > 0 && rate < 0.05 {
		return "<0.1"
	}
	return strconv.FormatFloat(math.Round(rate*10)/10, 'f', -1, 64)
}

// exact is a quantity as people write it: "0.5", not "500m".
func exact(q resource.Quantity) string {
	return strconv.FormatFloat(q.AsApproximateFloat64(), 'f', -1, 64)
}

// rateOrNone is a rate that may be left out.
func rateOrNone(q *resource.Quantity) string {
	if q == nil {
		return "none"
	}
	return exact(*q)
}

// formatTime has the form 5m12s, without units that are zero at its end.
func formatTime(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatLatency has two or three digits: it is known to a factor of two.
func formatLatency(d time.Duration) string {
	switch {
	case d <= 0:
		return unknown
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return formatTime(d)
	}
}

func formatBytes(n float64) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	return formatRate(n) + units[i]
}

// printable keeps what others have made up, a client's name or a reason, from
// writing to the terminal as it likes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// plural is "1 limit", "2 limits".
func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ch"):
		return fmt.Sprintf("%d %ses", n, noun)
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

// quoted shows an empty name: the core group, a missing user agent.
func quoted(name string) string { return cmp.Or(name, `""`) }

func indent(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

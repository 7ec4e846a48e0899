package main

import (
	"strconv"
	"strings"
)

// label is how a sample's label stands in the text format of Prometheus.
func label(name, value string) string { return name + `="` + value + `"` }

// sumOf adds up the samples of a metric that have all of the labels, in the text
// format of Prometheus.
func sumOf(text, name string, labels ...string) (sum float64) {
	for line := range strings.SplitSeq(text, "\n") {
		rest, ok := strings.CutPrefix(line, name+"{")
		if !ok {
			continue
		}
		// Values of labels may hold brackets and spaces; the sample's value does not.
		end := strings.LastIndex(rest, "} ")
		if end < 0 || !hasAll(rest[:end], labels) {
			continue
		}
		value, err := strconv.ParseFloat(rest[end+2:], 64)
		if err == nil {
			sum += value
		}
	}
	return sum
}

func hasAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

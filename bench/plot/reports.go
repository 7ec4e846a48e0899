package main

import "slices"

// What is drawn of the reports (see bench/judge.go, scale.go, forward.go and
// dayreport.go).

type figure struct{ Wall, CPU float64 }

type cacheReport struct {
	Pods      int `json:"pods"`
	Nodes     int `json:"nodes"`
	Scenarios []struct {
		Name    string              `json:"name"`
		Entries []string            `json:"entries"`
		Rounds  map[string][]figure `json:"rounds"`
	} `json:"scenarios"`
}

type scaleReport struct {
	Series []struct {
		Name    string                `json:"name"`
		What    string                `json:"what"`
		Per     string                `json:"per"`
		Entries []string              `json:"entries"`
		Steps   []int                 `json:"steps"`
		Rounds  []map[string][]figure `json:"rounds"`
	} `json:"series"`
}

type forwardReport struct {
	Workloads []struct {
		Name    string `json:"name"`
		Summary []struct {
			Name string
			CPU  float64
		} `json:"summary"`
	} `json:"workloads"`
}

type dayReport struct {
	Phases []dayPhase `json:"phases"`
}

type dayPhase struct {
	Way         string  `json:"way"`
	Phase       string  `json:"phase"`
	UpstreamCPU float64 `json:"upstreamCPU"`
}

// medianOf is the median of a quantity over rounds, and the lowest and the highest.
func medianOf[R any](rounds []R, of func(R) float64) (median, low, high float64) {
	values := make([]float64, len(rounds))
	for i, f := range rounds {
		values[i] = of(f)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]
}

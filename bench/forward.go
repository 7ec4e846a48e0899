package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// forwardOptions size the measurement.
type forwardOptions struct {
	rounds   int
	requests int // a round of GETs
	writes   int // a round of writes
	clients  int
	payload  int // bytes in the object
	out      string
	gateway  string // binary; empty builds it
	compare  []build
}

// build is another gateway to compare with.
type build struct{ name, binary string }

type forwardReport struct {
	setting
	Clients     int              `json:"clients"`
	ObjectBytes int              `json:"objectBytes"`
	Workloads   []workloadReport `json:"workloads"`
}

// workloadReport is what came of a workload, by contestant.
type workloadReport struct {
	Name    string              `json:"name"`
	Rounds  map[string][]result `json:"rounds"`
	Summary []forwardSummary    `json:"summary"`
}

type forwardSummary struct {
	Name string `json:"name"`
	// Microseconds, medians over the rounds.
	CPU, UpstreamCPU, Median, P99 float64
	// Ratio of CPU to the bare ReverseProxy's of the same round: median, lowest, highest.
	Ratio, RatioLow, RatioHigh float64
	// Added is the median latency less that of the direct requests, which are impersonated
	// as well where a gateway impersonates.
	Added float64
}

const rival = "httputil.ReverseProxy, HTTP/2"

func forward(ctx context.Context, o forwardOptions) error {
	c, binary, err := stage(ctx, o.gateway)
	if err != nil {
		return err
	}
	defer c.Close()
	servers, err := contestants(ctx, c, binary, o.compare)
	if err != nil {
		return err
	}
	path, err := createObject(ctx, c, o.payload)
	if err != nil {
		return err
	}
	certFile, keyFile := c.AdminFiles()
	config, err := clientTLS(c.CAFile(), certFile, keyFile)
	if err != nil {
		return err
	}
	clients := newClients(o.clients, config)
	report := forwardReport{setting: here(), Clients: o.clients, ObjectBytes: o.payload}
	for _, w := range []workload{gets(path, o.requests), writes(o.payload, o.writes)} {
		measured := workloadReport{Name: w.name, Rounds: map[string][]result{}}
		for round := range o.rounds + 1 {
			for _, s := range servers {
				r, err := measure(s, c.Process("main-0").Pid(), func() ([]time.Duration, error) { return w.run(ctx, clients, s.url, s.header) })
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				if round == 0 {
					continue // warm-up: connections, caches, heap
				}
				measured.Rounds[s.name] = append(measured.Rounds[s.name], r)
				fmt.Fprintf(os.Stderr, "round %d/%d %s %-34s %7.1f us CPU a request\n", round, o.rounds, w.name, s.name, perRequest(r.CPU, r))
			}
		}
		for _, s := range servers {
			measured.Summary = append(measured.Summary, summarise(s, measured.Rounds))
		}
		report.Workloads = append(report.Workloads, measured)
	}
	return writeReport(o.out, "forward", report, forwardTable(report))
}

// measure runs one round and reads what it cost.
func measure(s contestant, upstream int, run func() ([]time.Duration, error)) (result, error) {
	before, err := cpuTime(s.pid())
	if err != nil {
		return result{}, err
	}
	upstreamBefore, err := cpuTime(upstream)
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	latencies, err := run()
	if err != nil {
		return result{}, err
	}
	took := time.Since(start)
	after, err := cpuTime(s.pid())
	if err != nil {
		return result{}, err
	}
	upstreamAfter, err := cpuTime(upstream)
	return result{
		Requests: len(latencies), Took: took, CPU: after - before, UpstreamCPU: upstreamAfter - upstreamBefore,
		Median: percentile(latencies, 0.5), P99: percentile(latencies, 0.99),
	}, err
}

func perRequest(d time.Duration, r result) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(r.Requests)
}

func summarise(s contestant, rounds map[string][]result) forwardSummary {
	var cpu, up, mid, p99, ratio, added []float64
	for i, r := range rounds[s.name] {
		cpu = append(cpu, perRequest(r.CPU, r))
		up = append(up, perRequest(r.UpstreamCPU, r))
		mid = append(mid, float64(r.Median.Microseconds()))
		p99 = append(p99, float64(r.P99.Microseconds()))
		ratio = append(ratio, perRequest(r.CPU, r)/perRequest(rounds[rival][i].CPU, rounds[rival][i]))
		added = append(added, float64((r.Median - rounds[cmp.Or(s.beside, baseline)][i].Median).Microseconds()))
	}
	low, high := ratio[0], ratio[0]
	for _, v := range ratio {
		low, high = min(low, v), max(high, v)
	}
	return forwardSummary{s.name, median(cpu), median(up), median(mid), median(p99), median(ratio), low, high, median(added)}
}

func forwardTable(r forwardReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Cost of forwarding\n\n%s. %d clients with a TLS and HTTP/2 connection each, one request at a time; ConfigMaps of %d bytes. Medians of %d alternating rounds. Added is what comes to the latency of a direct request, of one that is impersonated where the gateway impersonates.\n",
		r.setting, r.Clients, r.ObjectBytes, len(r.Workloads[0].Rounds[rival]))
	for _, w := range r.Workloads {
		fmt.Fprintf(&b, "\n## %s\n\n| | CPU per request (us) | ratio to ReverseProxy: median (low to high) | latency median, p99 (us) | added median (us) | kube-apiserver's CPU (us) |\n|---|---|---|---|---|---|\n", w.Name)
		for _, s := range w.Summary {
			fmt.Fprintf(&b, "| %s | %.0f | %.2f (%.2f to %.2f) | %.0f, %.0f | %.0f | %.0f |\n", s.Name, s.CPU, s.Ratio, s.RatioLow, s.RatioHigh, s.Median, s.P99, s.Added, s.UpstreamCPU)
		}
	}
	return b.String()
}

// createObject makes the object that is read, and returns its path.
func createObject(ctx context.Context, c *cluster.Cluster, payload int) (string, error) {
	client, err := kubernetes.NewForConfig(c.RESTConfig(c.Process("main-0").URL()))
	if err != nil {
		return "", err
	}
	_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Data:       map[string]string{"payload": strings.Repeat("x", payload)},
	}, metav1.CreateOptions{})
	return "/api/v1/namespaces/default/configmaps/bench", err
}

// writeReport writes NAME.json and NAME.md, and shows the table.
func writeReport(dir, name string, report any, table string) error {
	if err := saveReport(dir, name, report, table); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, table)
	return w.Flush()
}

func saveReport(dir, name string, report any, table string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".md"), []byte(table), 0o644)
}

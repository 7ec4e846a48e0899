package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

type watchOptions struct {
	watches int
	out     string
	gateway string // binary; empty builds it
}

type watchReport struct {
	setting
	Watches int           `json:"watches"`
	Results []watchResult `json:"results"`
}

// watchResult is what one idle watch costs, on average.
type watchResult struct {
	Name string `json:"name"`
	// ResidentBytes is what the process grew by; heap and stack are Go's own
	// figures after a collection, -1 where the process does not tell.
	ResidentBytes, HeapBytes, StackBytes float64
	Goroutines                           float64
	// Connections is how many the process holds to the kube-apiserver and from
	// clients, in all.
	FileDescriptors int
}

// streamsPerConnection is how many watches a client opens on one connection.
const streamsPerConnection = 100

// watches opens idle watches through each contestant and reads what they cost.
func watches(ctx context.Context, o watchOptions) error {
	c, binary, err := stage(ctx, o.gateway)
	if err != nil {
		return err
	}
	defer c.Close()
	path, err := createObject(ctx, c, 100)
	if err != nil {
		return err
	}
	report := watchReport{setting: here(), Watches: o.watches}
	for _, mode := range fixture.Modes() {
		g, err := fixture.AddGateway(ctx, c, binary, "gateway-"+string(mode), mode)
		if err != nil {
			return err
		}
		r, err := idleWatches(ctx, c, g.Process, g.OpsURL, path, o.watches)
		if err != nil {
			return fmt.Errorf("%s: %w", g.Name(), err)
		}
		r.Name = "gateway, " + string(mode)
		report.Results = append(report.Results, r)
		if err := g.Stop(ctx); err != nil {
			return err
		}
	}
	p, err := startReverseProxy(ctx, c, c.Process("main-0").URL(), "-http2=true")
	if err != nil {
		return err
	}
	r, err := idleWatches(ctx, c, p, "", path, o.watches)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name(), err)
	}
	r.Name = rival
	report.Results = append(report.Results, r)
	return writeReport(o.out, "watches", report, watchTable(report))
}

func idleWatches(ctx context.Context, c *cluster.Cluster, p *cluster.Process, ops, object string, n int) (watchResult, error) {
	certFile, keyFile := c.AdminFiles()
	config, err := clientTLS(c.CAFile(), certFile, keyFile)
	if err != nil {
		return watchResult{}, err
	}
	collection, name := object[:strings.LastIndexByte(object, '/')], object[strings.LastIndexByte(object, '/')+1:]
	url := p.URL() + collection + "?watch=1&resourceVersion=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=3600&fieldSelector=metadata.name%3D" + name
	clients := newClients((n+streamsPerConnection-1)/streamsPerConnection, config)

	// A few requests warm what is paid once.
	if _, err := gets(object, 4).run(ctx, clients[:1], p.URL(), nil); err != nil {
		return watchResult{}, err
	}
	before, err := readFootprint(ctx, p.Pid(), ops)
	if err != nil {
		return watchResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu     sync.Mutex
		failed error
		wg     sync.WaitGroup
		gate   = make(chan struct{}, 32) // opening at once
	)
	for i := range n {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if err := openWatch(ctx, clients[i/streamsPerConnection], url); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
		if i%1000 == 999 {
			fmt.Fprintf(os.Stderr, "%s: %d watches\n", p.Name(), i+1)
		}
	}
	wg.Wait()
	if failed != nil {
		return watchResult{}, failed
	}
	after, err := readFootprint(ctx, p.Pid(), ops)
	if err != nil {
		return watchResult{}, err
	}
	per := func(after, before float64) float64 {
		if ops == "" {
			return -1
		}
		return (after - before) / float64(n)
	}
	r := watchResult{
		ResidentBytes: (after.resident - before.resident) / float64(n),
		HeapBytes:     per(after.heap, before.heap),
		StackBytes:    per(after.stack, before.stack),
		Goroutines:    per(after.goroutines, before.goroutines),
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	r.FileDescriptors = len(open)
	return r, err
}

// openWatch opens a watch, reads up to the end of the initial events, and leaves
// it open until ctx ends.
func openWatch(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("watch: %s: %s", response.Status, body)
	}
	events := bufio.NewReader(response.Body)
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.Contains(line, "k8s.io/initial-events-end") {
			return nil
		}
	}
}

type footprint struct{ resident, heap, stack, goroutines float64 }

// readFootprint reads a process's memory; with an ops address, after a garbage
// collection there.
func readFootprint(ctx context.Context, pid int, ops string) (footprint, error) {
	var f footprint
	if ops != "" {
		if _, err := fetch(ctx, ops+"/debug/pprof/heap?gc=1"); err != nil {
			return f, err
		}
		metrics, err := fetch(ctx, ops+"/metrics")
		if err != nil {
			return f, err
		}
		for name, into := range map[string]*float64{
			"go_memstats_heap_inuse_bytes": &f.heap, "go_memstats_stack_inuse_bytes": &f.stack, "go_goroutines": &f.goroutines,
		} {
			if *into, err = metric(metrics, name); err != nil {
				return f, err
			}
		}
	}
	resident, err := residentBytes(pid)
	f.resident = float64(resident)
	return f, err
}

func fetch(ctx context.Context, url string) (string, error) {
	return fetchAs(ctx, http.DefaultClient, url)
}

func fetchAs(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return string(body), err
}

// metric finds a sample without labels in the text format of Prometheus.
func metric(text, name string) (float64, error) {
	for line := range strings.SplitSeq(text, "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

func watchTable(r watchReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Cost of idle watches\n\n%s. %d watches of one object through one process, %d to a client connection (TLS, HTTP/2), read up to the end of their initial events and then left open. What one watch adds:\n\n",
		r.setting, r.Watches, streamsPerConnection)
	fmt.Fprintf(&b, "| | resident memory (KiB) | heap in use (KiB) | stacks (KiB) | goroutines | open files in all |\n|---|---|---|---|---|---|\n")
	tell := func(v, unit float64) string {
		if v < 0 {
			return "-"
		}
		return strconv.FormatFloat(v/unit, 'f', 2, 64)
	}
	for _, w := range r.Results {
		fmt.Fprintf(&b, "| %s | %.1f | %s | %s | %s | %d |\n", w.Name, w.ResidentBytes/1024, tell(w.HeapBytes, 1024), tell(w.StackBytes, 1024), tell(w.Goroutines, 1), w.FileDescriptors)
	}
	return b.String()
}

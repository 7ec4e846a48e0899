package main

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// traffic is the mix under way.
type traffic struct {
	streams []*flowing
	running sync.WaitGroup
}

// flowing is a stream under way.
type flowing struct {
	*dayStream
	bench   *dayBench
	servers []string
	clients []*http.Client
	rate    float64

	mu        sync.Mutex
	latencies []time.Duration
	refused   int
	failed    int
	firstErr  string
}

const (
	// dayConnections is how many connections a stream has to each server, dayParallel
	// how many requests under way: whoever finds all taken waits, and its time counts.
	dayConnections = 4
	dayParallel    = 64
	// dayTimeout bounds a request.
	dayTimeout = 30 * time.Second
)

func newTraffic(d *dayBench, way string, p phase) *traffic {
	t := &traffic{}
	for i := range dayMix {
		s := &dayMix[i]
		if s.in(p) {
			servers := d.servers(way)
			if p.elsewhere && !s.control {
				servers = []string{d.floor.URL()}
			}
			t.streams = append(t.streams, &flowing{
				dayStream: s, bench: d, servers: servers, rate: s.rate(d.pods.nodes),
				clients: newClients(dayConnections, d.identities[s.user]),
			})
		}
	}
	return t
}

// start sends requests until ctx ends.
func (t *traffic) start(ctx context.Context) {
	for _, f := range t.streams {
		t.running.Go(func() { f.run(ctx) })
	}
}

func (t *traffic) wait() { t.running.Wait() }

// reset forgets what has been measured.
func (t *traffic) reset() {
	for _, f := range t.streams {
		f.mu.Lock()
		f.latencies, f.refused, f.failed, f.firstErr = nil, 0, 0, ""
		f.mu.Unlock()
	}
}

// run sends the requests when they are due, whether or not those before have been
// answered. The time of one counts from when it was due.
func (f *flowing) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, dayParallel)
	start := time.Now()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(float64(i) / f.rate * float64(time.Second)))
		if wait(ctx, time.Until(due)) != nil {
			return
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			defer func() { <-slots }()
			code, err := f.send(ctx, i)
			f.note(ctx, time.Since(due), code, err)
		})
	}
}

func (f *flowing) send(ctx context.Context, i int) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, dayTimeout)
	defer cancel()
	method, path, body := f.request(f.bench, i)
	request, err := http.NewRequestWithContext(ctx, method, f.servers[i%len(f.servers)]+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("User-Agent", f.agent)
	request.Header.Set("Accept", f.accept)
	if body != "" {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := f.clients[i/len(f.servers)%len(f.clients)].Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func (f *flowing) note(ctx context.Context, took time.Duration, code int, err error) {
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil:
		f.failed++
		if f.firstErr == "" {
			f.firstErr = err.Error()
		}
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		f.refused++
	case code >= 300:
		f.failed++
		if f.firstErr == "" {
			f.firstErr = http.StatusText(code)
		}
	default:
		f.latencies = append(f.latencies, took)
	}
}

// results are those since reset.
func (t *traffic) results() (all []streamResult) {
	for _, f := range t.streams {
		f.mu.Lock()
		all = append(all, f.result())
		f.mu.Unlock()
	}
	return all
}

func (f *flowing) result() streamResult {
	slices.Sort(f.latencies)
	ms := func(p float64) float64 { return float64(percentile(f.latencies, p).Microseconds()) / 1000 }
	return streamResult{
		Name: f.name, Control: f.control, Rate: f.rate, Answered: len(f.latencies), Refused: f.refused, Failed: f.failed, FirstError: f.firstErr,
		P50: ms(0.5), P99: ms(0.99), latencies: f.latencies,
	}
}

// controlOf adds up the control plane's streams.
func controlOf(streams []streamResult) (c streamResult) {
	c.Name, c.Control = "control plane", true
	var all []time.Duration
	for _, s := range streams {
		if !s.Control {
			continue
		}
		c.Rate += s.Rate
		c.Answered += s.Answered
		c.Refused += s.Refused
		c.Failed += s.Failed
		if c.FirstError == "" {
			c.FirstError = s.FirstError
		}
		all = append(all, s.latencies...)
	}
	slices.Sort(all)
	c.P50 = float64(percentile(all, 0.5).Microseconds()) / 1000
	c.P99 = float64(percentile(all, 0.99).Microseconds()) / 1000
	return c
}

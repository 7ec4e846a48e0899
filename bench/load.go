package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// result is what one round of requests cost.
type result struct {
	Requests int           `json:"requests"`
	Took     time.Duration `json:"took"`
	// CPU is the serving process's; UpstreamCPU the kube-apiserver's.
	CPU         time.Duration `json:"cpu"`
	UpstreamCPU time.Duration `json:"upstreamCPU"`
	Median      time.Duration `json:"median"`
	P99         time.Duration `json:"p99"`
}

// newClient returns a client that speaks HTTP/2 over TLS on as many connections
// as clients, as that many separate processes would.
func newClients(n int, config *tls.Config) []*http.Client {
	clients := make([]*http.Client, n)
	for i := range clients {
		clients[i] = &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}}
	}
	return clients
}

// workload is what all clients do at once, each one thing after another.
type workload struct {
	name string
	// requests are those of a round, of all clients together.
	requests int
	// request is the i-th of a client.
	request func(ctx context.Context, server string, client, i int) (*http.Request, error)
}

// gets reads one object again and again.
func gets(path string, requests int) workload {
	return workload{"One small GET", requests, func(ctx context.Context, server string, _, _ int) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, server+path, nil)
	}}
}

// writes has every client make an object, patch, update and delete it.
func writes(payload, requests int) workload {
	const path = "/api/v1/namespaces/default/configmaps"
	filling := strings.Repeat("x", payload)
	return workload{"A mix of writes: POST, PATCH, PUT and DELETE", requests, func(ctx context.Context, server string, client, i int) (*http.Request, error) {
		name := fmt.Sprintf("bench-%d", client)
		object := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"step":"%d","filling":%q}}`, name, i, filling)
		method, url, contentType, body := http.MethodPost, server+path, "application/json", object
		switch i % 4 {
		case 1:
			method, url, contentType, body = http.MethodPatch, url+"/"+name, "application/merge-patch+json", fmt.Sprintf(`{"data":{"step":"%d"}}`, i)
		case 2:
			method, url = http.MethodPut, url+"/"+name
		case 3:
			method, url, body = http.MethodDelete, url+"/"+name, ""
		}
		r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err == nil {
			r.Header["Content-Type"] = []string{contentType}
		}
		return r, err
	}}
}

// run sends the requests of a round, each with header, and returns their latencies,
// sorted. A client ends what it has begun: it sends a multiple of four.
func (w workload) run(ctx context.Context, clients []*http.Client, server string, header http.Header) ([]time.Duration, error) {
	var (
		mu        sync.Mutex
		latencies = make([]time.Duration, 0, w.requests)
		firstErr  error
		wg        sync.WaitGroup
	)
	share := w.requests / len(clients) / 4 * 4
	for c, client := range clients {
		wg.Go(func() {
			own := make([]time.Duration, 0, share)
			var err error
			for i := range share {
				var request *http.Request
				if request, err = w.request(ctx, server, c, i); err != nil {
					break
				}
				maps.Copy(request.Header, header)
				start := time.Now()
				if err = send(client, request); err != nil {
					break
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, own...)
			if firstErr == nil {
				firstErr = err
			}
		})
	}
	wg.Wait()
	slices.Sort(latencies)
	return latencies, firstErr
}

// send reads the answer, and wants it to be a success.
func send(client *http.Client, request *http.Request) error {
	request.Header["Accept"] = []string{"application/json"}
	request.Header["User-Agent"] = []string{userAgent}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", request.Method, request.URL, response.Status)
	}
	return nil
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func median[T interface{ ~int64 | ~float64 }](values []T) T {
	s := slices.Clone(values)
	slices.Sort(s)
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

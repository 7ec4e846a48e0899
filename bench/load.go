package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
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

// hammer sends n GETs of url, one at a time per client, and returns their
// latencies, sorted.
func hammer(ctx context.Context, clients []*http.Client, url string, n int) ([]time.Duration, error) {
	var (
		mu        sync.Mutex
		latencies = make([]time.Duration, 0, n)
		firstErr  error
		wg        sync.WaitGroup
	)
	share := n / len(clients)
	for _, client := range clients {
		wg.Go(func() {
			own := make([]time.Duration, 0, share)
			var err error
			for range share {
				start := time.Now()
				if err = get(ctx, client, url); err != nil {
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

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header["Accept"] = []string{"application/json"}
	request.Header["User-Agent"] = []string{"bench-operator/v1 (linux/amd64)"}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
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

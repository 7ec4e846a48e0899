package traffic

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// requestTimeout is beyond what any request may take.
	requestTimeout = 30 * time.Second
	// saidBytes of an answer tell why it is none.
	saidBytes = 500
)

// run sends until ctx ends. Phase, from 0 to 1, is when in its period it begins.
func (s Stream) run(ctx context.Context, client *http.Client, phase float64, report func(Line)) {
	defer client.CloseIdleConnections()
	var running sync.WaitGroup
	defer running.Wait()
	begun := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := begun.Add(time.Duration((float64(n) + phase) / s.Rate * float64(time.Second)))
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			result := s.send(client, n)
			report(Line{Result: &result})
		})
	}
}

// send sends request n to its end, also if that is after the end of the plan.
func (s Stream) send(client *http.Client, n int) Result {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	result := Result{Stream: s.Name, Method: s.Method, Begun: time.Now()}
	err := s.exchange(ctx, client, n, &result)
	result.Took = time.Since(result.Begun)
	if err != nil {
		result.Broken = result.Code != 0
		result.Said = err.Error()
	}
	return result
}

func (s Stream) exchange(ctx context.Context, client *http.Client, n int, result *Result) error {
	object := n
	if s.Objects > 0 {
		object %= s.Objects
	}
	fill := func(text string) string { return strings.ReplaceAll(text, "%d", strconv.Itoa(object)) }
	var body io.Reader
	if s.Body != "" {
		body = strings.NewReader(fill(s.Body))
	}
	r, err := http.NewRequestWithContext(ctx, s.Method, s.Server+fill(s.Path), body)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", strings.ReplaceAll(s.UserAgent, "%d", strconv.Itoa(n%max(1, s.Clients))))
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	if s.Method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	result.Code = response.StatusCode
	result.RetryAfter, result.RefusedBy = response.Header.Get("Retry-After"), response.Header.Get("X-Asi-Gateway-Refused-By")
	if response.StatusCode >= 400 {
		said, err := io.ReadAll(io.LimitReader(response.Body, saidBytes))
		result.Said = string(said)
		return err
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if !json.Valid(text) {
		result.Torn, result.Said = true, fmt.Sprintf("%d bytes that are no JSON", len(text))
	}
	return nil
}

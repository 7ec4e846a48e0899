// Package load sends requests as fast as planned and notes what became of each.
// Its command (in cmd) is a process of its own, without the race detector, so that
// what a test measures is the gateway and not the test.
package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// Plan is what to send, and for how long.
type Plan struct {
	// CAFile verifies servers; CertFile and KeyFile are who the clients are.
	CAFile, CertFile, KeyFile string
	Duration                  time.Duration
	Streams                   []Stream
}

// Stream is one client's requests to one server.
type Stream struct {
	URL       string
	UserAgent string
	// Rate is requests per second; 0 sends the next as soon as one is answered.
	Rate float64
	// Workers is how many requests can be under way.
	Workers int
}

// Report is what became of the requests of a stream. Times are in microseconds.
type Report struct {
	// Codes counts answers by status code; 0 is no answer.
	Codes map[int]int
	// Begun and Ended are when the first request was sent and the last one was
	// answered, since 1970.
	Begun, Ended int64
	// Passed are the requests that were answered 2xx, by the time of the answer.
	Passed []Sample
	// RefusedP50 and RefusedP99 are how long answers with status 429 took.
	RefusedP50, RefusedP99 int64
	// Failure is the first error of a request without an answer.
	Failure string
}

// Sample is a request that passed.
type Sample struct {
	Sent, Took int64
}

// Run carries out a plan and returns a report for each stream, in their order.
func Run(ctx context.Context, plan Plan) ([]Report, error) {
	config, err := tlsConfig(plan)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, plan.Duration)
	defer cancel()
	reports := make([]Report, len(plan.Streams))
	var running sync.WaitGroup
	for i, stream := range plan.Streams {
		running.Go(func() { reports[i] = stream.run(ctx, config.Clone()) })
	}
	running.Wait()
	return reports, nil
}

func tlsConfig(plan Plan) (*tls.Config, error) {
	pem, err := os.ReadFile(plan.CAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("the CA file holds no certificate")
	}
	cert, err := tls.LoadX509KeyPair(plan.CertFile, plan.KeyFile)
	config.Certificates = []tls.Certificate{cert}
	return config, err
}

// worker is one request at a time.
type worker struct {
	codes   map[int]int
	passed  []Sample
	refused []int64
	ended   int64
	failure string
}

// run sends until ctx ends. All requests of a stream share an HTTP/2 connection.
func (s Stream) run(ctx context.Context, config *tls.Config) Report {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	begun := time.Now()
	workers := make([]worker, s.Workers)
	var running sync.WaitGroup
	for i := range workers {
		workers[i].codes = map[int]int{}
		running.Go(func() { s.work(ctx, transport, begun, i, &workers[i]) })
	}
	running.Wait()

	report := Report{Codes: map[int]int{}, Begun: begun.UnixMicro()}
	var refused []int64
	for _, w := range workers {
		for code, n := range w.codes {
			report.Codes[code] += n
		}
		report.Passed = append(report.Passed, w.passed...)
		refused = append(refused, w.refused...)
		report.Ended = max(report.Ended, w.ended)
		if report.Failure == "" {
			report.Failure = w.failure
		}
	}
	slices.SortFunc(report.Passed, func(a, b Sample) int { return int(a.Sent + a.Took - b.Sent - b.Took) })
	slices.Sort(refused)
	if n := len(refused); n > 0 {
		report.RefusedP50, report.RefusedP99 = refused[n/2], refused[n*99/100]
	}
	return report
}

// work sends every so manieth request of a stream.
func (s Stream) work(ctx context.Context, transport *http.Transport, begun time.Time, index int, w *worker) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := index; ; n += s.Workers {
		if s.Rate > 0 {
			due := begun.Add(time.Duration(float64(n) / s.Rate * float64(time.Second)))
			timer.Reset(time.Until(due))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		sent := time.Now()
		code, err := s.send(transport)
		took := time.Since(sent)
		w.codes[code]++
		w.ended = time.Now().UnixMicro()
		switch {
		case err != nil && w.failure == "":
			w.failure = err.Error()
		case code/100 == 2:
			w.passed = append(w.passed, Sample{sent.UnixMicro(), took.Microseconds()})
		case code == http.StatusTooManyRequests:
			w.refused = append(w.refused, took.Microseconds())
		}
	}
}

// send sends one request to its end, also if that is after the end of the plan.
func (s Stream) send(transport *http.Transport) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("User-Agent", s.UserAgent)
	r.Header.Set("Accept", "application/json")
	response, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, fmt.Errorf("%s broke off: %w", response.Status, err)
	}
	return response.StatusCode, nil
}

package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// probeInterval is the time between two readiness questions.
	probeInterval = 50 * time.Millisecond
	// probeTimeout bounds one question: a paused server accepts it and never answers.
	probeTimeout = 2 * time.Second
)

// Probe is an HTTP request that answers 200 when a process is ready.
type Probe struct {
	URL string `json:"url,omitempty"`
	// CAFile verifies the server; empty for plain HTTP.
	CAFile string `json:"caFile,omitempty"`
	// CertFile and KeyFile identify the client; empty for an anonymous request.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

// wait asks until the answer is 200, alive says no, or ctx is done; the error then
// tells the last answer.
func (p Probe) wait(ctx context.Context, alive func() bool) error {
	if p.URL == "" {
		return nil
	}
	client, err := p.client()
	if err != nil {
		return err
	}
	return Poll(ctx, probeInterval, func(ctx context.Context) error {
		if !alive() {
			return permanent{ErrNotRunning}
		}
		return ask(ctx, client, p.URL)
	})
}

// client makes a client that connects anew for each request, so that a restarted
// server is not asked over a dead connection.
func (p Probe) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.CAFile != "" {
		pem, err := os.ReadFile(p.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA of %s: %w", p.URL, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", p.CAFile)
		}
	}
	if p.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate for %s: %w", p.URL, err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return &http.Client{
		Timeout:   probeTimeout,
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true},
	}, nil
}

// ask returns nil if the answer to a GET is 200, and else what it was.
func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return permanent{err}
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	// Verbose health endpoints say in the body which check failed.
	body, _ := io.ReadAll(io.LimitReader(response.Body, 512))
	return fmt.Errorf("GET %s: %s: %s", url, response.Status, body)
}

// permanent is an error that makes Poll give up.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Poll calls condition at once and then every interval until it returns nil, an error
// wrapped in permanent, or ctx is done. The error is condition's last one before that,
// and ctx's cause if it was that.
func Poll(ctx context.Context, interval time.Duration, condition func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		// That it was interrupted says nothing about what was wrong.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		var final permanent
		if errors.As(err, &final) {
			return final.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last seen: %w)", context.Cause(ctx), last)
		case <-ticker.C:
		}
	}
}

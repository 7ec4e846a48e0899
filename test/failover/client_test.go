package failover

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// client sends raw requests to the gateway under one name, over a connection of its
// own.
type client struct {
	http      *http.Client
	server    string
	userAgent string
}

func (e *env) client(t *testing.T, name string, protocols ...string) *client {
	t.Helper()
	config := rest.CopyConfig(e.g.RESTConfig())
	// client-go shares connections among equal configurations.
	config.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	config.NextProtos = protocols
	h, err := rest.HTTPClientFor(config)
	must(t, err)
	t.Cleanup(h.CloseIdleConnections)
	return &client{http: h, server: config.Host, userAgent: name + "/1.0"}
}

// answer is what a request got.
type answer struct {
	code   int
	header http.Header
	body   []byte
	status metav1.Status
}

// refusedBy is the policy that refused, "" if none did.
func (a *answer) refusedBy() string { return a.header.Get("X-Asi-Gateway-Refused-By") }

// open sends a request and returns the open response.
func (c *client) open(ctx context.Context, method, path, body string, headers ...string) (*http.Response, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.server+path, reader)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", c.userAgent)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return c.http.Do(r)
}

// do sends a request and reads the answer.
func (c *client) do(ctx context.Context, method, path, body string) (*answer, error) {
	response, err := c.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a := &answer{code: response.StatusCode, header: response.Header}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		return nil, err
	}
	if a.code >= 400 {
		// Not every error of a kube-apiserver is a Status.
		_ = json.Unmarshal(a.body, &a.status)
	}
	return a, nil
}

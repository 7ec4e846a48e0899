package failover

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// readers is how many lists of 3 MB are open at a kill, of whose beginning clients
// have read no more than fits into their windows.
const readers = 8

// openLists opens them. What is left of them is read by finish, which fails for an
// end that is not the list's and not an error.
func (e *env) openLists(t *testing.T) (finish func() (whole, broken int)) {
	t.Helper()
	c := e.smallWindowClient(t)
	ctx := within(t, time.Minute)
	var lists []io.ReadCloser
	for range readers {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.g.URL()+"/api/v1/namespaces/large/configmaps", nil)
		must(t, err)
		r.Header.Set("User-Agent", "agents-reader/1.0")
		response, err := c.Do(r)
		must(t, err)
		t.Cleanup(func() { response.Body.Close() })
		if response.StatusCode != http.StatusOK {
			t.Fatalf("a list was answered %s", response.Status)
		}
		lists = append(lists, response.Body)
	}
	return func() (whole, broken int) {
		for _, list := range lists {
			text, err := io.ReadAll(list)
			switch {
			case ctx.Err() != nil:
				t.Fatalf("a list has no end: %v", context.Cause(ctx))
			case err != nil:
				broken++
			case !json.Valid(text):
				t.Errorf("%d bytes of a list passed for the whole", len(text))
			default:
				whole++
			}
		}
		return whole, broken
	}
}

// smallWindowClient holds so little of an answer that servers have to wait for it.
func (e *env) smallWindowClient(t *testing.T) *http.Client {
	t.Helper()
	config, err := rest.TLSConfigFor(e.g.RESTConfig())
	must(t, err)
	transport := &http.Transport{
		TLSClientConfig: config, Protocols: new(http.Protocols), DisableCompression: true,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
	}
	transport.Protocols.SetHTTP2(true)
	config.MinVersion = tls.VersionTLS12
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

package survival

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// TestWriteWhoseAnswerIsLostIsNotSentAgain has an apiserver apply a write and its
// answer get lost on the way, over connections that have carried requests before.
func TestWriteWhoseAnswerIsLostIsNotSentAgain(t *testing.T) {
	e := setUp(t)
	e.letAnonymousWrite(t)
	binary, err := suite.Gateway()
	must(t, err)
	for i, mode := range fixture.Modes()[:len(e.gateways)] {
		t.Run(string(mode), func(t *testing.T) {
			r, err := fixture.NewRelay(e.Servers(cluster.GroupMain)[0], 0)
			must(t, err)
			t.Cleanup(r.Close)
			g, err := fixture.AddGateway(within(t, time.Minute), e.Cluster, binary, fmt.Sprintf("relayed-%d", i), mode, "--main-servers", r.URL())
			must(t, err)
			defer func() {
				must(t, g.Stop(within(t, time.Minute)))
				must(t, g.Panics())
			}()
			for _, w := range []lostWrite{
				// The gateway asks for these over HTTP/2, ...
				{name: "plain"},
				{name: "keyed", header: idempotencyKey},
				{name: "x-keyed", header: "X-" + idempotencyKey},
				{name: "large", header: idempotencyKey, large: true},
				{name: "streamed", header: idempotencyKey, large: true, streamed: true},
				// ... for these over HTTP/1.1.
				{name: "anonymous", anonymous: true},
				{name: "anonymous-keyed", anonymous: true, header: idempotencyKey},
				{name: "anonymous-x-keyed", anonymous: true, header: "X-" + idempotencyKey},
				{name: "anonymous-large", anonymous: true, header: idempotencyKey, large: true},
				{name: "anonymous-streamed", anonymous: true, header: idempotencyKey, large: true, streamed: true},
				{name: "upgrade-keyed", header: idempotencyKey, upgrade: true},
			} {
				t.Run(w.name, func(t *testing.T) { e.loseAnswer(t, g, r, w) })
			}
		})
	}
}

// lostWrite is a kind of POST.
type lostWrite struct {
	name, header       string
	anonymous, upgrade bool
	// large is above smallBytes of pkg/proxy; what is streamed has no Content-Length
	// and is not held in memory.
	large, streamed bool
}

func (e *env) loseAnswer(t *testing.T, g *fixture.Gateway, r *fixture.Relay, w lostWrite) {
	client := e.onceClient(t, g, w.anonymous)
	operation := g.Name() + "-" + w.name
	warm, err := e.post(t.Context(), client, g, operation+"-warm", w)
	must(t, err)
	if warm.code != http.StatusCreated {
		t.Fatalf("the connection carries no write: %d: %.300s", warm.code, warm.body)
	}
	r.Hold()
	answers := make(chan postAnswer, 1)
	go func() {
		answer, err := e.post(t.Context(), client, g, operation, w)
		if err != nil {
			answer.body = err.Error()
		}
		answers <- answer
	}()
	// It must have been applied before the gateway notices that nothing comes back.
	eventually(t, 2*time.Second, func(ctx context.Context) error {
		if n := e.applied(ctx, t, operation); n != 1 {
			return fmt.Errorf("applied %d times", n)
		}
		return nil
	})
	r.Cut()
	answer := <-answers
	if answer.code != http.StatusBadGateway || answer.retryAfter != "" || !strings.Contains(answer.body, "may have been applied") {
		t.Errorf("the client was told %d, Retry-After %q: %.300s", answer.code, answer.retryAfter, answer.body)
	}
	// Through the same gateway: what it might have sent again is before this.
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		after, err := e.post(ctx, client, g, operation+"-after", w)
		if err == nil && after.code != http.StatusCreated {
			err = fmt.Errorf("%d: %.300s", after.code, after.body)
		}
		return err
	})
	if n := e.applied(t.Context(), t, operation); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

type postAnswer struct {
	code             int
	retryAfter, body string
}

// onceClient resends nothing: it makes a connection for every request.
func (e *env) onceClient(t *testing.T, g *fixture.Gateway, anonymous bool) *http.Client {
	t.Helper()
	config := g.RESTConfig()
	if anonymous {
		config = rest.AnonymousClientConfig(config)
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	must(t, err)
	// Upgrades are made in HTTP/1.1 only.
	tlsConfig.NextProtos = []string{"http/1.1"}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: tlsConfig, DisableKeepAlives: true, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
}

// post creates a ConfigMap for an operation.
func (e *env) post(ctx context.Context, client *http.Client, g *fixture.Gateway, operation string, w lostWrite) (postAnswer, error) {
	large := ""
	if w.large {
		large = strings.Repeat("x", largeBody)
	}
	body := fmt.Appendf(nil, `{"metadata":{"generateName":"lost-","labels":{%q:%q}},"data":{"large":%q}}`, operationLabel, operation, large)
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/configmaps", g.URL(), e.namespace)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return postAnswer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	if w.streamed {
		r.ContentLength = -1
	}
	if w.header != "" {
		r.Header.Set(w.header, operation)
	}
	if w.upgrade {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	}
	response, err := client.Do(r)
	if err != nil {
		return postAnswer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return postAnswer{response.StatusCode, response.Header.Get("Retry-After"), string(text)}, err
}

// applied is how many objects an operation has made.
func (e *env) applied(ctx context.Context, t *testing.T, operation string) int {
	t.Helper()
	list, err := e.direct.CoreV1().ConfigMaps(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: operationLabel + "=" + operation})
	if err != nil {
		t.Error(err)
		return 0
	}
	return len(list.Items)
}

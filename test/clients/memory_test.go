package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// TestMemoryOutlivesTheApiservers kills all apiservers of a cluster of its own, and
// reads on.
func TestMemoryOutlivesTheApiservers(t *testing.T) {
	s, err := startStack(cluster.Options{BypassServers: -1}, "--cache-resources", "configmaps")
	must(t, err)
	defer func() { must(t, s.Close()) }()
	for _, mode := range fixture.Modes() {
		t.Run(string(mode), func(t *testing.T) { s.through(t, mode, s.gateways[mode]).testMemory(t) })
	}
}

// remembered is an answer to a read.
type remembered struct {
	status              int
	warning, retryAfter string
	rv                  string
	body                string
}

func (r *remembered) String() string {
	return fmt.Sprintf("%d (Warning %q, Retry-After %q): %.300s", r.status, r.warning, r.retryAfter, r.body)
}

func (e *env) testMemory(t *testing.T) {
	maps := e.direct.CoreV1().ConfigMaps(e.namespace)
	_, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
	must(t, err)
	client := httpClient(t, e.g.RESTConfig(), "h2")
	url := e.g.URL() + "/api/v1/namespaces/" + e.namespace + "/configmaps"
	read := func(ctx context.Context, url string) (*remembered, error) {
		response, err := get(ctx, client, url, "Accept", "application/json")
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, err
		}
		r := &remembered{status: response.StatusCode, warning: response.Header.Get("Warning"), retryAfter: response.Header.Get("Retry-After"), body: string(body)}
		var list metav1.PartialObjectMetadata
		if err := json.Unmarshal(body, &list); err == nil {
			r.rv = list.ResourceVersion
		}
		return r, nil
	}
	stale := url + "?resourceVersion=0"
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		r, err := read(ctx, stale)
		switch {
		case err != nil:
			return err
		case r.warning != "" || !strings.Contains(r.body, `"kept"`):
			return fmt.Errorf("got %s", r)
		case e.metrics(t)[`asi_gateway_cache_reads_total{reason="Hit",resource="configmaps",verb="list"}`] == 0:
			return errors.New("nothing was answered from memory")
		}
		return nil
	})
	// From where the list is, as an informer does: the memory does not go further back.
	listed, err := read(t.Context(), stale)
	must(t, err)
	events := e.watchConfigMaps(t, client, url+"?watch=1&resourceVersion="+listed.rv)

	for _, p := range e.apiServers() {
		must(t, p.Kill())
	}
	var before *remembered
	eventually(t, 20*time.Second, func(ctx context.Context) (err error) {
		before, err = read(ctx, stale)
		switch {
		case err != nil:
			return err
		case before.status != http.StatusOK || !strings.Contains(before.body, `"kept"`):
			// Not even in the moment of the kill.
			t.Fatalf("a read that may be stale got %s", before)
		case !strings.Contains(before.warning, "from memory"):
			return fmt.Errorf("no warning: %s", before)
		}
		return nil
	})
	strict, err := read(t.Context(), url)
	must(t, err)
	if strict.status != http.StatusServiceUnavailable || strict.retryAfter == "" {
		t.Errorf("a read that must not be stale got %s", strict)
	}

	const sw = `{"apiVersion":"gateway.asi.io/v1alpha1","kind":"Switch","metadata":{"name":"stale"},"spec":{"type":"ServeStale","reason":"apiservers are away","duration":"10m"}}`
	switches := e.g.URL() + "/apis/gateway.asi.io/v1alpha1/switches"
	must(t, send(t.Context(), client, http.MethodPost, switches, sw, http.StatusCreated))
	eventually(t, 5*time.Second, func(ctx context.Context) error {
		r, err := read(ctx, url)
		if err != nil {
			return err
		}
		if r.status != http.StatusOK || !strings.Contains(r.warning, "from memory") || !strings.Contains(r.body, `"kept"`) {
			return fmt.Errorf("with the switch on it got %s", r)
		}
		return nil
	})
	if r, err := read(t.Context(), url+"/none"); err != nil || r.status != http.StatusServiceUnavailable {
		t.Errorf("an object that is not known got %v, %v", r, err)
	}
	must(t, send(t.Context(), client, http.MethodDelete, switches+"/stale", "", http.StatusOK))
	if e.metrics(t)[`asi_gateway_cache_outage_reads_total{resource="configmaps",verb="list"}`] == 0 {
		t.Error("the reads were not counted")
	}
	select {
	case e := <-events:
		t.Fatalf("the watch got %q", e)
	default:
	}

	for _, p := range e.apiServers() {
		must(t, p.Start(within(t, time.Minute)))
	}
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "later"}}, metav1.CreateOptions{})
		return err
	})
	select {
	case e := <-events:
		// The apiservers that were started anew may not know what was before them. Then
		// there could be a gap, and the watch ends between two events.
		if e != "" && (!strings.Contains(e, `"ADDED"`) || !strings.Contains(e, `"later"`)) {
			t.Errorf("the watch got %q", e)
		}
	case <-within(t, 30*time.Second).Done():
		t.Error("the watch from before the outage neither goes on nor ends")
	}
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		r, err := read(ctx, stale)
		if err != nil {
			return err
		}
		if older(r.rv, before.rv) {
			t.Fatalf("resource version %s after %s", r.rv, before.rv)
		}
		if r.warning != "" || !strings.Contains(r.body, `"later"`) {
			return fmt.Errorf("got %s", r)
		}
		return nil
	})
}

// older compares resource versions, which are numbers without leading noughts.
func older(a, b string) bool {
	return len(a) < len(b) || (len(a) == len(b) && a < b)
}

// watchConfigMaps opens a watch and returns its events; "" at its end.
func (e *env) watchConfigMaps(t *testing.T, client *http.Client, url string) <-chan string {
	t.Helper()
	response, err := get(t.Context(), client, url, "Accept", "application/json")
	must(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the watch got %s", response.Status)
	}
	events := make(chan string, 16)
	go func() {
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			events <- lines.Text()
		}
		events <- ""
	}()
	return events
}

package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// tokenTTL is short, so that an outage outlasts it.
const tokenTTL = time.Second

// TestApiserversDie has apiservers of a cluster of its own killed: two main ones,
// no bypass, so that there is just one other to go to.
func TestApiserversDie(t *testing.T) {
	s, err := startStack(cluster.Options{BypassServers: -1}, "--authentication-token-ttl", tokenTTL.String())
	must(t, err)
	defer func() { must(t, s.Close()) }()
	for _, mode := range fixture.Modes() {
		t.Run("one of two, "+string(mode), func(t *testing.T) { s.through(t, mode, s.gateways[mode]).testOneDies(t) })
	}
	for _, mode := range fixture.Modes() {
		t.Run("all, "+string(mode), func(t *testing.T) { s.through(t, mode, s.gateways[mode]).testAllDie(t) })
	}
}

// attempt is a request, by when it was begun.
type attempt struct {
	begun time.Time
	err   error
}

// testOneDies kills an apiserver under reads, writes, watches and informers.
func (e *env) testOneDies(t *testing.T) {
	victim := e.apiServers()[0]
	survivor := clientset(t, e.RESTConfig(e.Servers(cluster.GroupMain)[1]))
	e.direct = survivor
	// One that another test has just had killed gets its share little by little.
	eventually(t, 30*time.Second, func(context.Context) error {
		host := strings.TrimPrefix(victim.URL(), "https://")
		for _, gauge := range []string{"healthy", "warmth_ratio"} {
			series := fmt.Sprintf("asi_gateway_upstream_%s{group=%q,server=%q}", gauge, cluster.GroupMain, host)
			if value := e.metrics(t)[series]; value != 1 {
				return fmt.Errorf("%s is %v", series, value)
			}
		}
		return nil
	})
	watches := e.openWatches(t)
	replicas := e.startInformers(t, "clients-outage/1")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	results := make(chan []attempt, 4)
	var begun atomic.Int64
	moreRequests := func(n int64) {
		t.Helper()
		n += begun.Load()
		eventually(t, 30*time.Second, func(context.Context) error {
			if got := begun.Load(); got < n {
				return fmt.Errorf("%d of %d requests have been begun", got, n)
			}
			return nil
		})
	}
	for i := range cap(results) {
		client := httpClient(t, e.g.RESTConfig(), []string{"h2", "http/1.1"}[i%2])
		working.Go(func() { results <- e.readAndWrite(ctx, client, fmt.Sprintf("worker-%d", i), &begun) })
	}
	moreRequests(100)
	killed := time.Now()
	must(t, victim.Kill())
	dead := time.Now()
	// Each of a watch's connections to the dead server is to end as if the server
	// had ended it: half of all.
	ended, ending := 0, 2*watchesOfAKind*9/10
	if fixture.Caches() {
		// Those that are served from memory outlive it.
		ending = 0
	}
	for ended < ending {
		select {
		case end := <-watches:
			must(t, end.err)
			ended++
		case <-within(t, 20*time.Second).Done():
			t.Fatalf("%d watches have ended", ended)
		}
	}
	moreRequests(200)
	cancel()
	lost, after, total := 0, 0, 0
	for range cap(results) {
		for _, a := range <-results {
			total++
			late := a.begun.After(dead.Add(500 * time.Millisecond))
			if late {
				after++
			}
			switch {
			case a.err == nil:
			case late:
				t.Errorf("a request begun %s after the death failed: %v", a.begun.Sub(dead), a.err)
			case a.begun.Before(killed.Add(-time.Second)):
				t.Errorf("a request failed before the kill: %v", a.err)
			default:
				lost++
				t.Logf("lost %s after the death: %v", a.begun.Sub(dead).Round(time.Millisecond), a.err)
			}
		}
	}
	if after < 20 {
		t.Errorf("only %d requests were sent well after the death", after)
	}
	t.Logf("%d requests, %d lost in the moment of the kill; %d watches ended cleanly", total, lost, ended)
	must(t, churn(t.Context(), survivor, e.namespace, 0, 60))
	for _, r := range replicas[:1] {
		r.list = func(ctx context.Context) (runtime.Object, error) {
			return survivor.CoreV1().ConfigMaps(e.namespace).List(ctx, metav1.ListOptions{})
		}
		r.mustConverge(t)
	}
	must(t, victim.Start(within(t, time.Minute)))
}

// readAndWrite creates, reads and deletes objects until ctx ends.
func (e *env) readAndWrite(ctx context.Context, client *http.Client, name string, count *atomic.Int64) []attempt {
	var attempts []attempt
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/configmaps", e.g.URL(), e.namespace)
	for i := 0; ctx.Err() == nil; i++ {
		object := fmt.Sprintf("%s-%d", name, i)
		body := fmt.Sprintf(`{"metadata":{"name":%q}}`, object)
		for _, step := range []struct {
			method, url string
			fine        []int
		}{
			{http.MethodPost, url, []int{http.StatusCreated}},
			// Not there, or not any more, if the write before it was lost.
			{http.MethodGet, url + "/" + object, []int{http.StatusOK, http.StatusNotFound}},
			{http.MethodDelete, url + "/" + object, []int{http.StatusOK, http.StatusNotFound}},
		} {
			count.Add(1)
			begun := time.Now()
			err := send(ctx, client, step.method, step.url, body, step.fine...)
			if ctx.Err() != nil {
				break
			}
			attempts = append(attempts, attempt{begun, err})
		}
	}
	return attempts
}

// send sends one request, without any of client-go's retries.
func send(ctx context.Context, client *http.Client, method, url, body string, fine ...int) error {
	var reader io.Reader
	if method == http.MethodPost {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	// Not to be sent again by net/http.
	r.GetBody = nil
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	for _, code := range fine {
		if response.StatusCode == code {
			return nil
		}
	}
	return fmt.Errorf("%s: %s: %.300s", method, response.Status, answer)
}

// testAllDie kills every apiserver. Clients with tokens are told to wait, not to
// give up their tokens, for longer than a token is remembered in good times.
func (e *env) testAllDie(t *testing.T) {
	token := e.newToken(t)
	config := rest.AnonymousClientConfig(e.g.RESTConfig())
	config.BearerToken = token
	client := httpClient(t, config, "h2")
	url := e.g.URL() + "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	ask := func(ctx context.Context) (*http.Response, string, error) {
		body := `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			return nil, "", err
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := client.Do(r)
		if err != nil {
			return nil, "", err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		return response, string(answer), err
	}
	works := func(ctx context.Context) error {
		response, answer, err := ask(ctx)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusCreated || !strings.Contains(answer, "system:serviceaccount:"+e.namespace+":outage") {
			return fmt.Errorf("%s: %s", response.Status, answer)
		}
		return nil
	}
	must(t, works(t.Context()))
	for _, p := range e.apiServers() {
		must(t, p.Kill())
	}
	dead := time.Now()
	asked := 0
	for time.Since(dead) < 4*tokenTTL {
		response, answer, err := ask(t.Context())
		must(t, err)
		asked++
		switch {
		case response.StatusCode == http.StatusBadGateway && time.Since(dead) < 500*time.Millisecond:
			// It was on its way in the moment of the kill.
		case response.StatusCode != http.StatusServiceUnavailable, response.Header.Get("Retry-After") == "", !strings.Contains(answer, "nothing was sent"):
			t.Fatalf("%s after the death: %s, Retry-After %q: %s", time.Since(dead), response.Status, response.Header.Get("Retry-After"), answer)
		}
	}
	// One that is not remembered cannot be judged: that is no 401 either.
	unknown := rest.AnonymousClientConfig(e.g.RESTConfig())
	unknown.BearerToken = token + "x"
	response, err := get(t.Context(), httpClient(t, unknown, "h2"), e.g.URL()+"/api/v1/namespaces/default")
	must(t, err)
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an unknown token got %s", response.Status)
	}
	// client-go does what Retry-After says: a call begun now succeeds when the
	// servers are back.
	patient := make(chan error, 1)
	go func() {
		_, err := e.via.CoreV1().Namespaces().Get(context.WithoutCancel(t.Context()), "default", metav1.GetOptions{})
		patient <- err
	}()
	for _, p := range e.apiServers() {
		must(t, p.Start(within(t, time.Minute)))
	}
	eventually(t, 10*time.Second, works)
	select {
	case err := <-patient:
		must(t, err)
	case <-within(t, 20*time.Second).Done():
		t.Error("client-go's call has not come back")
	}
	must(t, e.extendedTokens(t))
	t.Logf("%d requests during the outage", asked)
}

// newToken makes a service account with a token, which the gateway comes to know.
func (e *env) newToken(t *testing.T) string {
	t.Helper()
	accounts := e.direct.CoreV1().ServiceAccounts(e.namespace)
	_, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "outage"}}, metav1.CreateOptions{})
	must(t, err)
	request, err := accounts.CreateToken(t.Context(), "outage", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	return request.Status.Token
}

// extendedTokens returns an error unless the gateway counted tokens that it took
// as good because nobody could be asked.
func (e *env) extendedTokens(t *testing.T) error {
	if value := e.metrics(t)[`asi_gateway_token_authentications_total{source="extended"}`]; value == 0 {
		return errors.New("no token was extended: the outage was not what it was meant to be")
	}
	return nil
}

// metrics are the gateway's.
func (e *env) metrics(t *testing.T) fixture.Metrics {
	t.Helper()
	metrics, err := e.g.Metrics(t.Context())
	must(t, err)
	return metrics
}

package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

// everybody authenticates all requests as one user.
type everybody struct{ identity *request.Identity }

func (e everybody) Authenticate(*http.Request) (*request.Identity, error) { return e.identity, nil }

// nobody allows nothing.
type nobody struct{}

func (nobody) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "", nil
}

// noProxies trusts no front proxy.
type noProxies struct{}

func (noProxies) Authenticate(*http.Request) (user.Info, bool) { return nil, false }
func (noProxies) Strip(http.Header)                            {}

// noDiscovery leaves lists of APIs alone.
type noDiscovery struct{}

func (noDiscovery) Wants(*http.Request) bool { return false }
func (noDiscovery) Serve(*http.Request, func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	panic("not wanted")
}

// optionsBefore are those of a Server that lets everything pass.
func optionsBefore(t testing.TB, upstream upstream) Options {
	t.Helper()
	return Options{
		Upstream: upstream, Authenticator: everybody{frontProxyIdentity(t, "alice")}, Authorizer: nobody{}, Assert: auth.FrontProxy, FrontProxy: true,
		Log: zap.NewNop(), Registry: prometheus.NewRegistry(), Clock: clock.RealClock{}, Ready: func() error { return nil },
		Limits: newLimiter(t), Policy: fixedPolicy{class: request.Unknown}, Flows: flows.NewRecorder(clock.RealClock{}), API: http.NotFoundHandler(), FrontProxies: noProxies{}, Discovery: noDiscovery{},
		RequestTimeout: time.Minute, StallTimeout: time.Minute,
	}
}

// serverBefore makes a Server before an apiserver that answers with handler.
func serverBefore(t *testing.T, handler http.HandlerFunc, change func(*Options)) (server *Server, apiserver *httptest.Server) {
	t.Helper()
	apiserver = httptest.NewUnstartedServer(handler)
	apiserver.EnableHTTP2 = true
	apiserver.StartTLS()
	t.Cleanup(apiserver.Close)
	client := routing.Client{TLS: &tls.Config{RootCAs: rootsOf(apiserver)}}
	upstream, err := routing.New(routing.Config{Groups: []*v1alpha1.UpstreamGroup{routing.StaticGroup("main", apiserver.URL)}, Asserting: client, Own: client, Anonymous: client, Clock: clock.RealClock{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	options := optionsBefore(t, upstream)
	if change != nil {
		change(&options)
	}
	return New(options), apiserver
}

// gatewayBefore runs the whole chain, over TLS and HTTP/2, before an apiserver
// that answers with handler. Stop closes the apiserver.
func gatewayBefore(t *testing.T, handler http.HandlerFunc) (gateway *httptest.Server, stop func()) {
	t.Helper()
	server, apiserver := serverBefore(t, handler, nil)
	return serveChain(t, server), func() {
		apiserver.CloseClientConnections()
		apiserver.Listener.Close()
	}
}

func serveChain(t testing.TB, server *Server) *httptest.Server {
	t.Helper()
	gateway := httptest.NewUnstartedServer(server.chain())
	gateway.EnableHTTP2 = true
	gateway.StartTLS()
	t.Cleanup(gateway.Close)
	return gateway
}

func send(t *testing.T, gateway *httptest.Server, method, path string, change func(*http.Request)) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, gateway.URL+path, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	client := gateway.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

func TestRequestArrivesAsTheClientSentIt(t *testing.T) {
	var seen *http.Request
	gateway, _ := gatewayBefore(t, func(_ http.ResponseWriter, r *http.Request) { seen = r.Clone(context.Background()) })
	const path = "/api/v1/namespaces/a%2Fb/pods//x;y/?fieldSelector=a%3Db&&x=%zz;"
	if _, _, err := send(t, gateway, http.MethodGet, path, func(r *http.Request) {
		r.Header["User-Agent"] = []string{""}
		r.Header.Set("X-Forwarded-For", "192.0.2.1")
		r.Header.Set("Traceparent", parent)
		r.Header.Set("Audit-ID", "mine")
		r.Header.Set("X-Remote-User", "root")
	}); err != nil {
		t.Fatal(err)
	}
	if seen.RequestURI != path {
		t.Errorf("path and query became %s", seen.RequestURI)
	}
	if agent, ok := seen.Header["User-Agent"]; ok {
		t.Errorf("a missing user agent became %q", agent)
	}
	if got := seen.Header.Get("X-Forwarded-For"); got != "192.0.2.1, 127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", got)
	}
	if seen.Header.Get("Traceparent") != parent || seen.Header.Get("Audit-Id") != "mine" {
		t.Errorf("trace headers %v", seen.Header)
	}
	if got := seen.Header.Values("X-Remote-User"); len(got) != 1 || got[0] != "alice" {
		t.Errorf("asserted %q", got)
	}
}

func TestAnswerThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"items":[{},`)
		if r.URL.Path == "/api/v1/pods" {
			_, _ = io.WriteString(w, strings.Repeat("{},", 1<<20))
		}
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if _, body, err := send(t, gateway, http.MethodGet, "/api/v1/pods", nil); err == nil {
		t.Errorf("half a list of %d bytes was delivered as whole", len(body))
	}
	// Of what is short nothing has been sent when it breaks off.
	response, body, err := send(t, gateway, http.MethodGet, "/api/v1/nodes", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("half a short list was delivered as %d %s", response.StatusCode, body)
	}
}

func TestWatchBrokenBetweenEventsEndsClean(t *testing.T) {
	for name, tc := range map[string]struct {
		sent  string
		clean bool
	}{
		"between events":   {`{"type":"ADDED"}` + "\n", true},
		"in an event":      {`{"type":"ADD`, false},
		"before any event": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, tc.sent)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			_, body, err := send(t, gateway, http.MethodGet, "/api/v1/pods?watch=1", nil)
			if (err == nil) != tc.clean {
				t.Errorf("body %q, error %v; want a clean end: %t", body, err, tc.clean)
			}
		})
	}
}

func TestLostConnection(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		code         int
		retryAfter   string
	}{
		{http.MethodGet, "", http.StatusServiceUnavailable, "1"},
		{http.MethodHead, "", http.StatusServiceUnavailable, "1"},
		{http.MethodPost, "", http.StatusBadGateway, ""},
		{http.MethodDelete, "", http.StatusBadGateway, ""},
		// Nobody knows what a pod makes of it.
		{http.MethodGet, "/b/proxy/restart", http.StatusBadGateway, ""},
	} {
		t.Run(tc.method+tc.path, func(t *testing.T) {
			gateway, _ := gatewayBefore(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			response, body, err := send(t, gateway, tc.method, "/api/v1/namespaces/a/pods"+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tc.code || response.Header.Get("Retry-After") != tc.retryAfter {
				t.Errorf("%d with Retry-After %q: %s", response.StatusCode, response.Header.Get("Retry-After"), body)
			}
		})
	}
}

// TestConnectionEndsWithARequestThatTookTooLong: over HTTP/1.1 the sweeper's deadline for
// reading ends the context of all that would follow.
func TestConnectionEndsWithARequestThatTookTooLong(t *testing.T) {
	arrived := make(chan struct{})
	server, _ := serverBefore(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}, nil)
	gateway := serveChain(t, server)
	conn, err := tls.Dial("tcp", gateway.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	server.flights.sweep(time.Now().Add(2 * server.options.RequestTimeout))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusGatewayTimeout || !response.Close {
		t.Errorf("%s, ends the connection: %t", response.Status, response.Close)
	}
}

func TestUnreachableApiserverIsWorthARetry(t *testing.T) {
	gateway, stop := gatewayBefore(t, func(http.ResponseWriter, *http.Request) {})
	stop()
	response, body, err := send(t, gateway, http.MethodPost, "/api/v1/namespaces/a/pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || !strings.Contains(body, `"kind":"Status"`) {
		t.Errorf("%d with Retry-After %q: %s", response.StatusCode, response.Header.Get("Retry-After"), body)
	}
}

// TestRefusedClientsNeedNotSendTheRest answers before the request's body is there, as
// kube-apiserver does, to clients that send no more then: each waits for the other.
func TestRefusedClientsNeedNotSendTheRest(t *testing.T) {
	gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) })
	for _, path := range []string{"/api/v1/namespaces/a/pods/b/portforward", "/api/v1/namespaces/a/pods"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		rest, unsent := io.Pipe()
		defer unsent.Close()
		response, body, err := send(t, gateway, http.MethodPost, path, func(r *http.Request) {
			*r = *r.WithContext(ctx)
			r.Body, r.ContentLength, r.GetBody = rest, -1, nil
		})
		if err != nil || response.StatusCode != http.StatusBadRequest || body != "no\n" {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
}

func TestRedirectToAnotherHostIsRefused(t *testing.T) {
	gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(http.StatusFound)
	})
	response, body, err := send(t, gateway, http.MethodGet, "/x?to="+url.QueryEscape("https://evil.example/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusBadGateway || response.Header.Get("Location") != "" || strings.Contains(body, "evil") {
		t.Errorf("%d, Location %q: %s", response.StatusCode, response.Header.Get("Location"), body)
	}
	if response, _, err = send(t, gateway, http.MethodGet, "/x?to=/y/", nil); err != nil || response.StatusCode != http.StatusFound || response.Header.Get("Location") != "/y/" {
		t.Errorf("a path of the same host: %v, %v", response, err)
	}
}

func TestTrailersAreForwarded(t *testing.T) {
	gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "1")
	})
	response, body, err := send(t, gateway, http.MethodGet, "/x", nil)
	if err != nil || body != "body" || response.Trailer.Get("X-Sum") != "1" {
		t.Errorf("body %q, trailer %v, error %v", body, response.Trailer, err)
	}
}

func TestUpgradeTunnelsBothWays(t *testing.T) {
	gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "SPDY/3.1" || r.Header.Get("Connection") != "Upgrade" || r.Header.Get("X-Remote-User") != "alice" {
			t.Errorf("upgrade request %v", r.Header)
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4\r\n\r\nhello ")
		line, err := buffered.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(conn, "echo "+line)
	})
	conn, err := tls.Dial("tcp", strings.TrimPrefix(gateway.URL, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first bytes of the new protocol come right behind the request.
	_, err = io.WriteString(conn, "POST /api/v1/namespaces/a/pods/b/exec?command=ls HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nearly\n")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 101") || !strings.Contains(head, "X-Stream-Protocol-Version: v4") || body != "hello echo early\n" {
		t.Errorf("got %q", answer)
	}
}

func TestHealthNeedsNoCredentialsAndSaysNoMore(t *testing.T) {
	gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the apiserver's") })
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/readyz?verbose": "the apiserver's", "/readyz/etcd": "the apiserver's", "/livez/": "the apiserver's"} {
		if _, body, err := send(t, gateway, http.MethodGet, path, nil); err != nil || body != want {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
}

func TestIgnoredTokenIsWarnedOf(t *testing.T) {
	for authorization, want := range map[string]bool{"Bearer  token": true, "bearer  token": true, "Bearer ": false, "Basic eA==": false, "": false} {
		h := http.Header{}
		warnOfIgnoredToken(h, authorization)
		if got := h.Get("Warning") != ""; got != want {
			t.Errorf("%q: warned %t, want %t", authorization, got, want)
		}
	}
}

func TestMetricsNeedAuthorisation(t *testing.T) {
	gateway, _ := gatewayBefore(t, func(w http.ResponseWriter, _ *http.Request) { t.Error("the request went upstream") })
	response, body, err := send(t, gateway, http.MethodGet, "/metrics", nil)
	if err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("%v %v: %s", response, err, body)
	}
}

package attack

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// away are Locations at other hosts, home ones at the same.
var (
	away = []string{
		"https://evil.example/", "http://evil.example/", "HTTPS://EVIL.example/", "//evil.example/", "///evil.example/", `/\evil.example/`, `\\evil.example/`, `/\/evil.example/`,
		"https://127.0.0.1@evil.example/", "https:evil.example", "//user:pass@evil.example/", "javascript:alert(1)", "data:text/html,x", "https://evil.example:443/apis/", " //evil.example/", "\t//evil.example/", "%zz//evil.example",
	}
	home = []string{"/apis/attack.example.com/v1/", "/version"}
)

// redirector answers redirects to wherever a request's parameter "to" says, and
// looks like an API group otherwise.
func redirector(t *testing.T, c *cluster.Cluster, hosts ...string) *httptest.Server {
	t.Helper()
	cert, key, err := c.IssueServingCert(hosts...)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !q.Has("to") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"attack.example.com/v1","resources":[]}`)
			return
		}
		code, err := strconv.Atoi(q.Get("code"))
		if err != nil {
			code = http.StatusFound
		}
		w.Header()["Location"] = []string{q.Get("to")}
		w.WriteHeader(code)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// aggregate makes the server known to the apiserver as an API group.
func (s *stage) aggregate(t *testing.T, port int) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.admin.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "redirector"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(s.cluster.RESTConfig("https://" + s.direct.host))
	if err != nil {
		t.Fatal(err)
	}
	services := client.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": "v1.attack.example.com"},
		"spec": map[string]any{
			"group": "attack.example.com", "version": "v1", "groupPriorityMinimum": int64(100), "versionPriority": int64(100),
			"caBundle": s.cluster.CACert(),
			"service":  map[string]any{"namespace": namespace, "name": "redirector", "port": int64(port)},
		},
	}}
	// Bytes are base64 in JSON, which unstructured does not do by itself.
	if err := unstructured.SetNestedField(service.Object, base64Of(s.cluster.CACert()), "spec", "caBundle"); err != nil {
		t.Fatal(err)
	}
	if _, err := services.Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := services.Delete(ctx, "v1.attack.example.com", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, 30*time.Second, func() error {
		a, err := s.direct.one(ctx, "admin", request("GET /apis/attack.example.com/v1 HTTP/1.1", "", host, closing))
		if err == nil && a.status != http.StatusOK {
			return errNotYet("the aggregated API is not served: " + a.String())
		}
		return err
	})
}

// leadsAway tells answers that a client would follow to another host. What an
// error says to a human is no redirect.
func leadsAway(a answer) bool {
	return strings.Contains(strings.ToLower(fmt.Sprint(a.header)), "evil.example") || (a.status/100 == 3 && !strings.HasPrefix(a.header.Get("Location"), "/"))
}

// TestRedirectsOfAggregatedServersAreNotForwarded has an aggregated API server
// turn bad (CVE-2022-3172).
func TestRedirectsOfAggregatedServersAreNotForwarded(t *testing.T) {
	t.Parallel()
	s := theStage(t)
	server := redirector(t, s.cluster, "redirector."+namespace+".svc")
	s.aggregate(t, server.Listener.Addr().(*net.TCPAddr).Port)
	for _, side := range s.through {
		for _, to := range away {
			for _, more := range [][]string{{closing}, {"Connection: Upgrade, close", "Upgrade: websocket"}} {
				lines := append([]string{"GET /apis/attack.example.com/v1/things?to=" + escape(to) + " HTTP/1.1", host}, more...)
				got, err := side.one(t.Context(), "admin", head("", lines...))
				if err != nil {
					t.Errorf("%s: Location %q: %v", side.name, to, err)
				} else if leadsAway(got) || got.status/100 == 2 {
					t.Errorf("%s: Location %q was forwarded: %s %v", side.name, to, got, got.header)
				}
			}
		}
	}
}

// ask has the redirector redirect.
func ask(t *testing.T, through *side, code int, to string) (answer, error) {
	return through.one(t.Context(), "mallory", head("", fmt.Sprintf("GET /x?code=%d&to=%s HTTP/1.1", code, escape(to)), host, closing))
}

// TestRedirectsOfTheApiserverAreNotForwarded puts a server in the apiserver's
// place: one that has been taken over should not take clients with it.
func TestRedirectsOfTheApiserverAreNotForwarded(t *testing.T) {
	t.Parallel()
	s := theStage(t)
	server := redirector(t, s.cluster, "127.0.0.1")
	path, err := suite.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range fixture.Modes() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		g, err := fixture.AddGateway(ctx, s.cluster, path, "led-"+string(mode), mode, "--main-servers", server.URL)
		if err != nil {
			t.Fatal(err)
		}
		through, err := newSide(s.cluster, string(mode), g.URL(), s.direct.certs)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range []int{301, 302, 303, 307, 308, 300, 399} {
			for _, to := range away {
				got, err := ask(t, through, code, to)
				if err != nil {
					t.Errorf("%s: %v", mode, err)
				} else if got.status != http.StatusBadGateway || got.header.Get("Location") != "" || leadsAway(got) {
					t.Errorf("%s: %d to %q was forwarded: %s %v", mode, code, to, got, got.header)
				}
			}
			for _, to := range home {
				got, err := ask(t, through, code, to)
				if err != nil || got.status != code || got.header.Get("Location") != to {
					t.Errorf("%s: %d to %q: %s %v, %v", mode, code, to, got, got.header, err)
				}
			}
		}
		if err := g.Panics(); err != nil {
			t.Error(err)
		}
		if err := g.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
}

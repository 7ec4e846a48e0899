package clients

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// What tests say often.
var (
	must       = fixture.Must
	eventually = fixture.Eventually
	within     = fixture.Within
)

// env is what a test of one gateway has.
type env struct {
	*stack
	g    *fixture.Gateway
	mode fixture.Mode
	// via goes through the gateway, direct to an apiserver.
	via, direct *kubernetes.Clientset
	// namespace is the test's own.
	namespace string
}

// eachMode runs a test against the shared cluster, once through the gateway of
// each identity mode.
func eachMode(t *testing.T, test func(t *testing.T, e *env)) {
	s, err := sharedStack()
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range fixture.Modes() {
		t.Run(string(mode), func(t *testing.T) { test(t, s.through(t, mode, s.gateways[mode])) })
	}
}

// through prepares a test of one gateway, which fails if the gateway panicked.
func (s *stack) through(t *testing.T, mode fixture.Mode, g *fixture.Gateway) *env {
	t.Helper()
	e := &env{stack: s, g: g, mode: mode}
	e.via = clientset(t, g.RESTConfig())
	e.direct = clientset(t, s.RESTConfig(s.Servers(cluster.GroupMain)[0]))
	t.Cleanup(func() {
		if err := g.Panics(); err != nil {
			t.Error(err)
		}
	})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "clients-"}}
	namespace, err := e.direct.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.namespace = namespace.Name
	t.Cleanup(func() {
		// Its end is nobody's concern: the namespace controller may not run.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = e.direct.CoreV1().Namespaces().Delete(ctx, e.namespace, metav1.DeleteOptions{})
	})
	return e
}

// addGateway starts another gateway in front of the cluster, which ends with the
// test.
func (e *env) addGateway(t *testing.T, name string, args ...string) *env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	g, err := fixture.AddGateway(ctx, e.Cluster, e.binary, name+"-"+string(e.mode), e.mode, args...)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.NeverShed(ctx); err != nil {
		t.Fatal(err)
	}
	own := *e
	own.g, own.via = g, clientset(t, g.RESTConfig())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := g.Panics(); err != nil {
			t.Error(err)
		}
	})
	return &own
}

func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// ownConnections gives a client connections of its own: client-go shares them
// among equal configurations.
func ownConnections(config *rest.Config, protocol string) *rest.Config {
	config = rest.CopyConfig(config)
	config.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	if protocol == "http/1.1" {
		config.NextProtos = []string{"http/1.1"}
	}
	return config
}

// httpClient is a plain HTTP client with the credentials of a configuration.
func httpClient(t *testing.T, config *rest.Config, protocol string) *http.Client {
	t.Helper()
	client, err := rest.HTTPClientFor(ownConnections(config, protocol))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// get sends a GET and returns the open response.
func get(ctx context.Context, client *http.Client, url string, headers ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return client.Do(r)
}

// ensureControllers makes sure that pods run, through whichever gateway the
// controllers go.
func (s *stack) ensureControllers(t *testing.T) {
	t.Helper()
	for _, name := range []string{"kube-controller-manager", "kube-scheduler", "kwok"} {
		if p := s.Process(name); p == nil || !p.Running() {
			s.startControllers(t, s.gateways[fixture.FrontProxy])
			return
		}
	}
}

func (s *stack) startControllers(t *testing.T, g *fixture.Gateway) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	// Not released by kube-controller-manager when it is stopped: its successor
	// would wait 15 s for it to expire.
	leases := clientset(t, s.RESTConfig(s.Servers(cluster.GroupMain)[0])).CoordinationV1().Leases(metav1.NamespaceSystem)
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := leases.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if err := s.StartControllers(ctx, cluster.Target{Server: g.URL()}); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNodesReady(ctx, nodes); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) stopControllers(t *testing.T) {
	t.Helper()
	if err := s.StopControllers(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.TrimLeft(content, "\n")), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

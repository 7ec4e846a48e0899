// Package deploy tests what deploy/ ships against a real cluster.
package deploy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/cache"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

var (
	c      *cluster.Cluster
	binary string
)

// TestMain starts the cluster that the tests share, one after another.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		var err error
		if c, err = cluster.Start(ctx, cluster.Options{MainServers: 2, BypassServers: -1}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer c.Close()
		if binary, err = fixture.BuildGateway(ctx, c.Dir()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// TestShippedRightsSuffice runs gateways whose own credential has the rights of
// deploy/rbac.yaml and deploy/cache.yaml, and no others, with the client CA found in
// the cluster, and what is cached by default.
func TestShippedRightsSuffice(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	apply(ctx, t, "rbac.yaml", "flowcontrol.yaml", "cache.yaml")
	kubeconfig := credential(t, "asi-gateway", "asi-gateway")
	admin, err := kubernetes.NewForConfig(c.RESTConfig(c.Process("main-0").URL()))
	if err != nil {
		t.Fatal(err)
	}
	token := serviceAccountToken(ctx, t, admin)

	for _, mode := range fixture.Modes() {
		t.Run(string(mode), func(t *testing.T) {
			// The last of two equal flags counts: an empty --client-ca-file has the
			// gateway find the CA in the cluster.
			g, err := fixture.AddGateway(ctx, c, binary, "gateway-"+string(mode), mode, "--kubeconfig", kubeconfig, "--client-ca-file", "",
				"--cache-resources", strings.Join(cache.Usual(), ","))
			if err != nil {
				t.Fatal(err)
			}
			awaitCache(ctx, t, g)
			t.Run("administrator by certificate", func(t *testing.T) {
				client, err := kubernetes.NewForConfig(g.RESTConfig())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); err != nil {
					t.Error(err)
				}
				whoAmI(ctx, t, client, "asi:admin")
				metrics, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
				if err != nil || !strings.Contains(string(metrics), "asi_gateway_build_info") {
					t.Errorf("/metrics: %v\n%.300s", err, metrics)
				}
			})
			t.Run("service account by token", func(t *testing.T) {
				client := tokenClient(t, g, token)
				whoAmI(ctx, t, client, "system:serviceaccount:default:default")
				if _, err := client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
					t.Errorf("secrets: %v", err)
				}
				if _, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx); !apierrors.IsForbidden(err) {
					t.Errorf("/metrics: %v", err)
				}
			})
			t.Run("impersonation", func(t *testing.T) {
				config := g.RESTConfig()
				config.Impersonate = rest.ImpersonationConfig{UserName: "bob", UID: "7", Groups: []string{"team"}, Extra: map[string][]string{"scopes": {"a"}}}
				client, err := kubernetes.NewForConfig(config)
				if err != nil {
					t.Fatal(err)
				}
				if got := whoAmI(ctx, t, client, "bob"); got.UID != "7" || got.Groups[0] != "team" || got.Extra["scopes"][0] != "a" {
					t.Errorf("impersonated %+v", got)
				}
			})
			if err := g.Panics(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEventsAreForTheirNamespaceAlone asks for the rights of the shipped manifest.
func TestEventsAreForTheirNamespaceAlone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	apply(ctx, t, "rbac.yaml")
	kubeconfig := credential(t, "asi-gateway", "asi-gateway")
	may := func(ctx context.Context, verb, namespace string) error {
		return c.Kubectl(ctx, kubeconfig, "auth", "can-i", verb, "events", "--namespace", namespace).Run()
	}
	for _, verb := range []string{"create", "patch"} {
		// An apiserver follows what it authorises by.
		fixture.Eventually(t, 20*time.Second, func(ctx context.Context) error { return may(ctx, verb, metav1.NamespaceDefault) })
		for _, namespace := range []string{metav1.NamespaceSystem, "elsewhere"} {
			if may(ctx, verb, namespace) == nil {
				t.Errorf("Events may be written in %s (%s)", namespace, verb)
			}
		}
	}
}

// apply creates what manifests of deploy describe.
func apply(ctx context.Context, t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		if out, err := c.Kubectl(ctx, "", "apply", "-f", filepath.Join("..", "..", "deploy", file)).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", file, err, out)
		}
	}
}

// awaitCache waits until all that is cached by default may be served.
func awaitCache(ctx context.Context, t *testing.T, g *fixture.Gateway) {
	t.Helper()
	for _, resource := range cache.Usual() {
		if err := g.AwaitCached(ctx, resource); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDryRun has the gateway tell what would work, and what would not.
func TestDryRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dryRun := func(kubeconfig string) (string, error) {
		gateway := exec.CommandContext(ctx, binary, "--dry-run", "--kubeconfig", kubeconfig,
			"--client-ca-file", c.CAFile(), "--main-servers", strings.Join(c.Servers(cluster.GroupMain), ","), "--data-dir", t.TempDir())
		out, err := gateway.CombinedOutput()
		return string(out), err
	}
	out, err := dryRun(c.AdminKubeconfig())
	if err != nil || strings.Count(out, "ready\n") != 2 || strings.Count(out, "\ncache ") != len(cache.Usual()) || strings.Contains(out, "deploy/cache.yaml") {
		t.Errorf("%v\n%s", err, out)
	}
	apply(ctx, t, "rbac.yaml")
	const withoutCache = "asi-gateway-without-cache"
	bind := func(role string) {
		binding := c.Kubectl(ctx, "", "create", "clusterrolebinding", withoutCache+"-"+role, "--clusterrole="+role, "--group="+withoutCache)
		if out, err := binding.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	bind("asi-gateway")
	out, err = dryRun(credential(t, withoutCache, withoutCache))
	if err == nil || !strings.Contains(out, "impersonate users: missing, deploy/rbac.yaml") || strings.Contains(out, "tokenreviews") {
		t.Errorf("without the right to impersonate: %v\n%s", err, out)
	}
	bind("asi-gateway-impersonator")
	// Nodes may be read for other reasons.
	out, err = dryRun(credential(t, withoutCache, withoutCache))
	if err != nil || strings.Count(out, "deploy/cache.yaml") != len(cache.Usual())-1 {
		t.Errorf("without the rights that the cache needs: %v\n%s", err, out)
	}
	if err := c.Process("main-1").Kill(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Process("main-1").Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	out, err = dryRun(c.AdminKubeconfig())
	if err == nil || !strings.Contains(out, "connection refused") || strings.Count(out, "ready\n") != 1 {
		t.Errorf("with a dead server: %v\n%s", err, out)
	}
}

// TestOpsBeyondLoopback binds the ops listener to every interface: health stays
// open, the rest needs credentials.
func TestOpsBeyondLoopback(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ports, err := fixture.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	g, err := fixture.AddGateway(ctx, c, binary, "gateway", fixture.FrontProxy, "--ops-bind-address", "0.0.0.0:"+ports[0])
	if err != nil {
		t.Fatal(err)
	}
	admin, err := rest.TransportFor(g.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	anonymous, err := rest.TransportFor(rest.AnonymousClientConfig(g.RESTConfig()))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		client http.RoundTripper
		path   string
		want   int
	}{
		{anonymous, "/readyz", http.StatusOK},
		{anonymous, "/livez", http.StatusOK},
		{anonymous, "/metrics", http.StatusForbidden},
		{anonymous, "/debug/pprof/heap", http.StatusForbidden},
		{admin, "/metrics", http.StatusOK},
		{admin, "/debug/pprof/heap", http.StatusOK},
	} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:"+ports[0]+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := tc.client.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != tc.want {
			t.Errorf("%s: %d, want %d", tc.path, response.StatusCode, tc.want)
		}
	}
	if err := g.Panics(); err != nil {
		t.Error(err)
	}
}

func credential(t *testing.T, user, group string) string {
	t.Helper()
	cert, key, err := c.IssueClientCert(user, []string{group}, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := cluster.WriteKubeconfig(path, c.Process("main-0").URL(), c.CACert(), cert, key); err != nil {
		t.Fatal(err)
	}
	return path
}

func serviceAccountToken(ctx context.Context, t *testing.T, admin kubernetes.Interface) string {
	t.Helper()
	_, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	r, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

func tokenClient(t *testing.T, g *fixture.Gateway, token string) kubernetes.Interface {
	t.Helper()
	config := rest.AnonymousClientConfig(g.RESTConfig())
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func whoAmI(ctx context.Context, t *testing.T, client kubernetes.Interface, want string) authenticationv1.UserInfo {
	t.Helper()
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.UserInfo.Username != want {
		t.Errorf("the apiserver sees %+v, want %s", review.Status.UserInfo, want)
	}
	return review.Status.UserInfo
}

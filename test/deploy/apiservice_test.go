package deploy

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// TestPoliciesThroughARegisteredAPIService has kubectl reach the gateway's API
// through a kube-apiserver, as its own user and as somebody else's.
func TestPoliciesThroughARegisteredAPIService(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	g, err := fixture.AddGateway(ctx, c, binary, "gateway-aggregated", fixture.FrontProxy, "--bind-address", "0.0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join("..", "..", "deploy", "apiservice.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(g.URL())
	if err != nil {
		t.Fatal(err)
	}
	adapted := strings.NewReplacer("192.0.2.10", ownAddress(t), "6443", target.Port(),
		`caBundle: ""`, "caBundle: "+base64.StdEncoding.EncodeToString(c.CACert())).Replace(string(manifest))
	file := filepath.Join(t.TempDir(), "apiservice.yaml")
	if err := os.WriteFile(file, []byte(adapted), 0o600); err != nil {
		t.Fatal(err)
	}
	// An empty kubeconfig is the administrator's, straight to a kube-apiserver.
	kubectl := func(args ...string) (string, error) {
		out, err := c.Kubectl(ctx, "", args...).CombinedOutput()
		return string(out), err
	}
	if out, err := kubectl("apply", "-f", file, "-f", filepath.Join("..", "..", "deploy", "rbac.yaml")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := c.Kubectl(context.Background(), "", "delete", "-f", file, "--wait=false").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	if out, err := kubectl("wait", "--for=condition=Available", "--timeout=30s", "apiservice/v1alpha1.gateway.asi.io"); err != nil {
		status, _ := kubectl("get", "apiservice", "v1alpha1.gateway.asi.io", "-o", "jsonpath={.status.conditions}")
		t.Fatalf("%v\n%s%s", err, out, status)
	}

	limit := filepath.Join(t.TempDir(), "limit.yaml")
	if err := os.WriteFile(limit, []byte("apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata: {name: through-kube-apiserver}\nspec: {qps: 7, match: {clients: {userAgents: [nobody]}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := kubectl("apply", "--server-side", "-f", limit); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := kubectl("get", "ratelimits", "--as=mallory"); err == nil || !strings.Contains(out, "mallory") {
		t.Errorf("somebody without rights: %v\n%s", err, out)
	}
	if out, err := kubectl("create", "clusterrolebinding", "asi-viewer", "--clusterrole=asi-gateway-viewer", "--user=viewer"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out string
	if wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		out, err = kubectl("get", "ratelimits", "through-kube-apiserver", "--as=viewer")
		return err == nil, nil
	}) != nil || !strings.Contains(out, "Enforce") {
		t.Errorf("somebody who may read: %v\n%s", err, out)
	}
	if out, err := kubectl("delete", "ratelimit", "through-kube-apiserver", "--as=viewer"); err == nil {
		t.Errorf("who may read can delete: %s", out)
	}
	if out, err := kubectl("create", "clusterrolebinding", "asi-operator", "--clusterrole=asi-gateway-operator", "--user=operator"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		out, err = kubectl("annotate", "ratelimit", "through-kube-apiserver", "changed-by=operator", "--as=operator")
		return err == nil, nil
	}) != nil {
		t.Errorf("an operator: %v\n%s", err, out)
	}
	// Where requests go is not for everybody who is on call.
	for verb, want := range map[string]string{"get": "yes", "patch": "no", "update": "no", "create": "no", "delete": "no"} {
		if out, _ := kubectl("auth", "can-i", verb, "upstreamgroups.gateway.asi.io/main", "--as=operator"); strings.TrimSpace(lastLine(out)) != want {
			t.Errorf("an operator may %s upstreamgroups: %s; want %s", verb, out, want)
		}
	}
	if wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		// Asks anew what explain only reads from kubectl's cache.
		if out, err = kubectl("api-resources", "--api-group=gateway.asi.io"); err != nil {
			return false, nil
		}
		out, err = kubectl("explain", "ratelimits.spec.qpsPerNode")
		return err == nil && strings.Contains(out, "number of nodes"), nil
	}) != nil {
		t.Errorf("explain: %v\n%s", err, out)
	}

	// The same headers from anybody else mean nothing.
	client, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL()+"/apis/gateway.asi.io/v1alpha1/ratelimits", nil)
	if err != nil {
		t.Fatal(err)
	}
	client.Header.Set("X-Remote-User", "asi:admin")
	client.Header.Set("X-Remote-Group", "system:masters")
	transport := anonymousTransport(t, g)
	response, err := transport.RoundTrip(client)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("forged headers: %s", response.Status)
	}
	if out, err := kubectl("delete", "ratelimit", "through-kube-apiserver"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := g.Panics(); err != nil {
		t.Error(err)
	}
}

// ownAddress is where the machine answers that is not loopback, which no endpoint
// may be.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if n, ok := address.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Fatal("the machine has no IPv4 address but loopback")
	return ""
}

func anonymousTransport(t *testing.T, g *fixture.Gateway) http.RoundTripper {
	t.Helper()
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(g.RESTConfig()))
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

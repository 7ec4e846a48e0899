package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// TestKubectlUsesCustomResources defines a kind and works with it at once.
func TestKubectlUsesCustomResources(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		// One group for each mode: a kind deleted takes its time to go.
		group := e.namespace + ".example.com"
		e.kubectl(t, "apply", "-f", writeFile(t, "crd.yaml", fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gadgets.%[1]s
spec:
  group: %[1]s
  names: {kind: Gadget, plural: gadgets, singular: gadget}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, maximum: 9}}}
          status: {type: object, properties: {size: {type: integer}}}
`, group)))
		t.Cleanup(func() { e.kubectlAfter(t, "delete", "crd", "gadgets."+group, "--wait=false") })
		e.kubectl(t, "wait", "--for=condition=Established", "crd/gadgets."+group, "--timeout=20s")
		custom := func(size string) string {
			return writeFile(t, "gadget.yaml", fmt.Sprintf("apiVersion: %s/v1\nkind: Gadget\nmetadata: {name: one}\nspec: {size: %s}\n", group, size))
		}
		// Each apiserver serves a new kind a moment after it is established.
		for range 10 {
			eventually(t, kubectlTimeout, func(ctx context.Context) error {
				out, err := e.command(ctx, t, "apply", "-f", custom("3")).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
		contains(t, e.kubectl(t, "get", "gadgets."+group), "SIZE", "one", "3")
		e.kubectl(t, "scale", "gadgets."+group+"/one", "--replicas=5")
		contains(t, e.kubectl(t, "get", "gadgets."+group+"/one", "-o", "jsonpath={.spec.size}"), "5")
		out, err := e.command(within(t, kubectlTimeout), t, "apply", "-f", custom("12")).CombinedOutput()
		if err == nil {
			t.Error("an object against its schema was accepted")
		}
		contains(t, string(out), "spec.size", "less than or equal to 9")
		e.kubectl(t, "delete", "gadgets."+group+"/one")
	})
}

// kubectlAfter runs a command when the test is over.
func (e *env) kubectlAfter(t *testing.T, args ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), kubectlTimeout)
	defer cancel()
	if out, err := e.command(ctx, t, args...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestAggregatedServerSeesTheClient sends requests through gateway and aggregator
// to an apiserver of the test.
func TestAggregatedServerSeesTheClient(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		group := e.namespace + ".aggregated.example.com"
		port := e.serveAggregated(t, group)
		e.kubectl(t, "apply", "-f", writeFile(t, "apiservice.yaml", fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: mirror, namespace: %[1]s}
spec: {type: ExternalName, externalName: localhost, ports: [{port: %[3]d}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[2]s}
rules: [{apiGroups: [%[2]s], resources: [mirrors], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[2]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[2]s}
subjects: [{kind: ServiceAccount, name: robot, namespace: %[1]s}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.%[2]s}
spec:
  group: %[2]s
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 10
  caBundle: %[4]s
  service: {namespace: %[1]s, name: mirror, port: %[3]d}
`, e.namespace, group, port, base64.StdEncoding.EncodeToString(e.CACert()))))
		t.Cleanup(func() { e.kubectlAfter(t, "delete", "apiservice/v1."+group) })
		t.Cleanup(func() { e.kubectlAfter(t, "delete", "clusterrole/"+group, "clusterrolebinding/"+group) })
		e.kubectl(t, "wait", "--for=condition=Available", "apiservice/v1."+group, "--timeout=20s")
		path := "/apis/" + group + "/v1/mirrors/me"
		// Each apiserver learns of it by itself.
		for range 5 {
			eventually(t, kubectlTimeout, func(ctx context.Context) error {
				out, err := e.command(ctx, t, "get", "--raw", path).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
		eventually(t, kubectlTimeout, func(ctx context.Context) error {
			out, err := e.command(ctx, t, "api-resources", "--api-group="+group).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "mirrors") {
				return fmt.Errorf("%v: %s", err, out)
			}
			return nil
		})
		contains(t, e.kubectl(t, "get", "mirrors."+group, "me", "-o", "yaml"), "user: asi:admin", "- system:masters")

		e.kubectl(t, "create", "serviceaccount", "robot")
		token := strings.TrimSpace(e.kubectl(t, "create", "token", "robot"))
		nobody := filepath.Join(t.TempDir(), "nobody")
		must(t, cluster.WriteKubeconfig(nobody, e.g.URL(), e.CACert(), nil, nil))
		robot := "system:serviceaccount:" + e.namespace + ":robot"
		got := output(t, e.Kubectl(within(t, kubectlTimeout), nobody, "--token", token, "get", "--raw", path))
		var mirror mirror
		must(t, json.Unmarshal([]byte(got), &mirror))
		if mirror.User != robot || !slices.Contains(mirror.Groups, "system:serviceaccounts:"+e.namespace) || !slices.Contains(mirror.Groups, "system:authenticated") {
			t.Errorf("a service account arrived as %+v", mirror)
		}
		if len(mirror.Leaks) > 0 {
			t.Errorf("credentials arrived: %v", mirror.Leaks)
		}
		contains(t, e.kubectl(t, "get", "--raw", path, "--as="+robot), `"user":"`+robot+`"`)
	})
}

// mirror is the resource of the aggregated server: who asked for it.
type mirror struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	User       string            `json:"user"`
	Groups     []string          `json:"groups"`
	// Leaks are names of headers that should not have come so far.
	Leaks []string `json:"leaks,omitempty"`
}

// serveAggregated serves a group to the aggregator alone, and returns the port.
func (e *env) serveAggregated(t *testing.T, group string) int {
	t.Helper()
	certPEM, keyPEM, err := e.IssueServingCert("mirror." + e.namespace + ".svc")
	must(t, err)
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	must(t, err)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(e.FrontProxyCA().CertPEM())

	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Errorf("aggregated server: %v", err)
		}
	}
	version := map[string]string{"groupVersion": group + "/v1", "version": "v1"}
	discovered := map[string]any{"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": []any{version}, "preferredVersion": version}
	mux.HandleFunc("GET /apis", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{discovered}})
	})
	mux.HandleFunc("GET /apis/"+group, func(w http.ResponseWriter, _ *http.Request) { answer(w, discovered) })
	mux.HandleFunc("GET /apis/"+group+"/v1", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group + "/v1", "resources": []any{
			map[string]any{"name": "mirrors", "singularName": "mirror", "kind": "Mirror", "namespaced": false, "verbs": []string{"get"}},
		}})
	})
	mux.HandleFunc("GET /apis/"+group+"/v1/mirrors/me", func(w http.ResponseWriter, r *http.Request) {
		m := mirror{
			APIVersion: group + "/v1", Kind: "Mirror", Metadata: map[string]string{"name": "me"},
			User: r.Header.Get("X-Remote-User"), Groups: r.Header["X-Remote-Group"],
		}
		for name := range r.Header {
			if name == "Authorization" || strings.HasPrefix(name, "Impersonate-") {
				m.Leaks = append(m.Leaks, name)
			}
		}
		answer(w, m)
	})
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

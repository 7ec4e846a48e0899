package deploy

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestOwnRequestsDoNotQueueWithOthers sends everything that a gateway asks for itself,
// with a credential of its group, and looks by which flow schema the apiserver takes
// it. What it asks on behalf of others must go by theirs.
func TestOwnRequestsDoNotQueueWithOthers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, file := range []string{"rbac.yaml", "flowcontrol.yaml"} {
		if out, err := c.Kubectl(ctx, "", "apply", "-f", filepath.Join("..", "..", "deploy", file)).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", file, err, out)
		}
	}
	admin, err := kubernetes.NewForConfig(c.RESTConfig(c.Process("main-0").URL()))
	if err != nil {
		t.Fatal(err)
	}
	const alone, reads = "asi-gateway", "asi-gateway-reads"
	schemas := map[string]string{}
	for _, name := range []string{alone, reads} {
		schema, err := admin.FlowcontrolV1().FlowSchemas().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		schemas[string(schema.UID)] = name
	}
	config, err := clientcmd.BuildConfigFromFlags("", credential(t, "asi-gateway", "asi-gateway"))
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	// classified is which of the gateway's flow schemas a request goes by, if any.
	classified := func(method, path, body, as string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, config.Host+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if as != "" {
			r.Header.Set("Impersonate-User", as)
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		uid := response.Header.Get("X-Kubernetes-Pf-Flowschema-Uid")
		if uid == "" {
			t.Fatalf("%s %s: the apiserver does not say by which flow schema", method, path)
		}
		return schemas[uid]
	}
	// A new flow schema takes effect a little later.
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for classified(http.MethodGet, "/api/v1/nodes", "", "") != reads {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("the nodes are never listed by the gateway's own flow schema")
		}
	}
	for _, own := range []struct{ method, path, body, schema string }{
		{http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"x"}}`, alone},
		{http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"alice","resourceAttributes":{"verb":"get","resource":"pods"}}}`, alone},
		{http.MethodGet, "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication", "", reads},
		{http.MethodGet, "/api/v1/nodes?watch=true&timeoutSeconds=1", "", reads},
		{http.MethodGet, "/apis/rbac.authorization.k8s.io/v1/clusterroles", "", reads},
		{http.MethodGet, "/api/v1/pods?watch=true&timeoutSeconds=1", "", reads},
		{http.MethodPost, "/api/v1/namespaces/default/events", `{"metadata":{"generateName":"limit."},"involvedObject":{"namespace":"default"}}`, alone},
	} {
		if got := classified(own.method, own.path, own.body, ""); got != own.schema {
			t.Errorf("%s %s goes by %q, want %s", own.method, own.path, got, own.schema)
		}
	}
	if classified(http.MethodGet, "/api/v1/nodes", "", "bob") != "" {
		t.Error("what bob asks for takes the place of the gateway's own requests")
	}
}

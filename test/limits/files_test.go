package limits

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

func writeFile(t *testing.T, dir, name, content string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
}

// TestBrokenPolicyFileStopsTheStart runs the binary with files that are wrong, each
// in one line.
func TestBrokenPolicyFileStopsTheStart(t *testing.T) {
	c, binary := fixture.Shared(t, theCluster), fixture.Shared(t, suite.Gateway)
	for _, broken := range []struct {
		name, content string
		line          int
		words         []string
	}{
		{"syntax", "apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata:\n  name: [a\n", 5, nil},
		{"field", manifest("RateLimit", "good", "{qps: 1}") + "---\n" + manifest("RateLimit", "a", "{qps: 1, bursts: 2}"), 9, []string{"bursts"}},
		{"value", "apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata: {name: a}\nspec:\n  qps: 1\n  per:\n  - Moon\n", 7, []string{"spec.per[0]", "Moon"}},
		{"kind", "apiVersion: gateway.asi.io/v1alpha1\nkind: SpeedLimit\nmetadata: {name: a}\n", 2, []string{"RateLimit"}},
		{"quantity", "apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata: {name: a}\nspec:\n  qps: many\n", 5, []string{"qps"}},
	} {
		t.Run(broken.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, dir, "a-good.yaml", manifest("RateLimit", "b", "{qps: 1}"))
			writeFile(t, dir, "broken.yaml", broken.content)
			ports, err := fixture.FreePorts(2)
			must(t, err)
			cmd := exec.CommandContext(within(t, 30*time.Second), binary, "--kubeconfig", c.AdminKubeconfig(),
				"--bind-address", "127.0.0.1", "--secure-port", ports[0], "--ops-bind-address", "127.0.0.1:"+ports[1],
				"--main-servers", c.Servers(cluster.GroupMain)[0], "--data-dir", filepath.Join(dir, "data"), "--policy-dir", dir)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err = cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("ended with %v: %s", err, stderr.String())
			}
			// Line 5 of the first one is its end, where the bracket is missed.
			position := regexp.MustCompile(fmt.Sprintf(`broken\.yaml:%d: (.*)`, broken.line)).FindString(stderr.String())
			if broken.name == "syntax" {
				position = regexp.MustCompile(`broken\.yaml:[345]: (.*)`).FindString(stderr.String())
			}
			if position == "" || strings.Contains(stderr.String(), "a-good.yaml") {
				t.Errorf("does not name line %d of broken.yaml alone: %s", broken.line, stderr.String())
			}
			for _, word := range broken.words {
				if !strings.Contains(position, word) {
					t.Errorf("%q is not in %q", word, position)
				}
			}
		})
	}
}

// TestPoliciesOutliveRestarts has an operator change, delete and add policies that
// came from files and defaults, and the gateway killed and started again.
func TestPoliciesOutliveRestarts(t *testing.T) {
	c := fixture.Shared(t, theCluster)
	dir := t.TempDir()
	writeFile(t, dir, "limits.yaml", manifest("RateLimit", "edited", "{match: {clients: {userAgents: [edited]}}, qps: 5}")+
		"---\n"+manifest("RateLimit", "untouched", "{match: {clients: {userAgents: [untouched]}}, qps: 5}"))
	writeFile(t, dir, "classes.yml", manifest("ClientClass", "from-file", "{match: {clients: {userAgents: [from-file]}}, priority: P2}"))
	ctx := within(t, 2*time.Minute)
	g, err := fixture.AddGateway(ctx, c, fixture.Shared(t, suite.Gateway), "restarts", fixture.FrontProxy, "--default-policies=true", "--policy-dir", dir)
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(g.Stop(context.Background()), g.Panics()); err != nil {
			t.Error(err)
		}
	})
	o := newOperator(t, g)
	// They are made while the gateway serves already.
	names := func(ctx context.Context) map[string]bool {
		var limits v1alpha1.RateLimitList
		must(t, o.client.Get().Resource("ratelimits").Do(ctx).Into(&limits))
		var classes v1alpha1.ClientClassList
		must(t, o.client.Get().Resource("clientclasses").Do(ctx).Into(&classes))
		found := map[string]bool{}
		for _, limit := range limits.Items {
			found["RateLimit "+limit.Name] = true
		}
		for _, class := range classes.Items {
			found["ClientClass "+class.Name] = true
		}
		return found
	}
	const defaultLimits, defaultClasses, ofFiles = 22, 9, 3
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		if found := names(ctx); len(found) != defaultLimits+defaultClasses+ofFiles || !found["RateLimit untouched"] || !found["ClientClass from-file"] {
			return fmt.Errorf("%d policies: %v", len(found), found)
		}
		return nil
	})
	// A new installation enforces very little; this is of it.
	collections := adminClient(t, g, "kubectl/1")
	const nothing = "/api/v1/namespaces/nowhere/configmaps"
	for range 5 {
		collections.passes(t, http.MethodDelete, nothing, "")
	}
	collections.refused(t, "ratelimit/delete-collections", http.StatusTooManyRequests, http.MethodDelete, nothing, "")

	must(t, o.patch(ctx, "RateLimit", "edited", `{"spec":{"qps":"0"}}`))
	must(t, o.patch(ctx, "RateLimit", "create-pods", `{"spec":{"mode":"Enforce"}}`))
	must(t, o.remove(ctx, "RateLimit", "delete-collections"))
	must(t, o.remove(ctx, "ClientClass", "tools"))
	must(t, o.tryApply(ctx, "RateLimit", "added", `{match: {clients: {userAgents: [added]}}, qps: 0}`))
	before := names(ctx)

	for i, end := range []func() error{func() error { return g.Stop(ctx) }, g.Kill} {
		must(t, end())
		must(t, g.Start(ctx))
		o = newOperator(t, g)
		// In force from the first request on, before the store has been read.
		adminClient(t, g, "added/1").refused(t, "ratelimit/added", http.StatusTooManyRequests, http.MethodGet, "/version", "")
		adminClient(t, g, "edited/1").refused(t, "ratelimit/edited", http.StatusTooManyRequests, http.MethodGet, "/version", "")
		adminClient(t, g, "untouched/1").passes(t, http.MethodGet, "/version", "")
		c := adminClient(t, g, "kubectl/1")
		for range 10 {
			c.passes(t, http.MethodDelete, nothing, "")
		}
		if i == 0 {
			// The file is still there, so at the next start it counts again.
			must(t, o.remove(ctx, "RateLimit", "untouched"))
		}
	}
	eventually(t, 20*time.Second, func(ctx context.Context) error {
		now := names(ctx)
		for name := range before {
			if !now[name] {
				return fmt.Errorf("%s is gone", name)
			}
		}
		return nil
	})
	var limit v1alpha1.RateLimit
	must(t, o.get(ctx, "RateLimit", "create-pods", &limit))
	if limit.Spec.Mode != v1alpha1.ModeEnforce {
		t.Errorf("the mode of create-pods is %s again", limit.Spec.Mode)
	}
	for kind, name := range map[string]string{"RateLimit": "delete-collections", "ClientClass": "tools"} {
		if err := o.client.Get().Resource(resources[kind]).Name(name).Do(ctx).Error(); !apierrors.IsNotFound(err) {
			t.Errorf("the deleted default %s %s is back: %v", kind, name, err)
		}
	}
}

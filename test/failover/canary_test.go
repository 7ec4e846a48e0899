package failover

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// TestCanaryServesWhomItsRouteChooses makes a third group, as for a new version of
// Kubernetes, whose server is one that no other Route sends these clients to. The
// audit logs tell who has been there. Its version is that of the others: the test
// builds one Kubernetes only.
func TestCanaryServesWhomItsRouteChooses(t *testing.T) {
	e := through(t, frontProxy)
	const canary = "bypass-1"
	e.outside = "main-1"
	e.keep(t, "upstreamgroups", &v1alpha1.UpstreamGroup{
		ObjectMeta: metav1.ObjectMeta{Name: "canary"},
		Spec:       v1alpha1.UpstreamGroupSpec{Servers: []v1alpha1.UpstreamServer{{URL: e.Process(canary).URL()}}},
	})
	share := int32(100)
	e.keep(t, "routes", &v1alpha1.Route{
		ObjectMeta: metav1.ObjectMeta{Name: "canary"},
		Spec: v1alpha1.RouteSpec{
			Match:  v1alpha1.Match{Clients: v1alpha1.ClientMatch{Classes: []string{"critical"}}},
			Header: &v1alpha1.HeaderMatch{Name: "X-Canary", Values: []string{"yes"}},
			Share:  &share, Groups: []string{"canary"}, Spill: []string{"main"},
		},
	})

	get := func(name string, headers ...string) {
		t.Helper()
		response, err := e.client(t, name).open(within(t, 20*time.Second), http.MethodGet, "/api/v1/namespaces/small/configmaps/object-0", "", headers...)
		must(t, err)
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		must(t, err)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s was answered %d", name, response.StatusCode)
		}
	}
	const each = 10
	mark := e.markAudit(t)
	for range each {
		get("critical-chosen", "X-Canary", "yes")
		get("critical-silent")
		get("critical-other", "X-Canary", "no")
		get("agents-chosen", "X-Canary", "yes")
		get("tools-chosen", "X-Canary", "yes")
	}
	// Class and header must both be as the Route says. Whoever is not meant goes where
	// he goes without it; of bypass the canary's server is one.
	for name, want := range map[string][]string{
		"critical-chosen": {canary}, "critical-silent": mainServers, "critical-other": mainServers,
		"agents-chosen": mainServers, "tools-chosen": {"bypass-0", "bypass-1"},
	} {
		e.servedBy(t, mark, name, each, want...)
	}

	t.Run("a share of the clients, always the same", func(t *testing.T) {
		e.change(t, "routes", "canary", `{"spec": {"share": 50}}`, `{"spec": {"share": 100}}`)
		const clients, rounds = 40, 2
		chosen := map[string]int{}
		mark := e.markAudit(t)
		for range rounds {
			for i := range clients {
				get(fmt.Sprintf("critical-share-%d", i), "X-Canary", "yes")
			}
		}
		eventually(t, 10*time.Second, func(context.Context) error {
			if n := len(completed(e.auditSince(t, mark, servers, "critical-share-"))); n != clients*rounds {
				return fmt.Errorf("%d of %d requests are in the audit logs", n, clients*rounds)
			}
			return nil
		})
		for _, a := range completed(e.auditSince(t, mark, []string{canary}, "critical-share-")) {
			chosen[a.UserAgent]++
		}
		for name, n := range chosen {
			if n != rounds {
				t.Errorf("%s was served by the canary %d times of %d", name, n, rounds)
			}
		}
		// Half of them, give or take three standard deviations.
		if n := len(chosen); n < 11 || n > 29 {
			t.Errorf("%d of %d clients were served by the canary, want about half", n, clients)
		}
	})
	t.Run("gone", func(t *testing.T) {
		e.kill(t, canary)
		mark := e.markAudit(t)
		for range each {
			get("critical-chosen", "X-Canary", "yes")
		}
		e.servedBy(t, mark, "critical-chosen", each, mainServers...)
	})
}

// keep makes a policy that is in force when it returns, and goes with the test.
func (e *env) keep(t *testing.T, resource string, object runtime.Object) {
	t.Helper()
	name := object.(metav1.Object).GetName()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.operator.remove(ctx, resource, name); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("removing %s %s: %v", resource, name, err)
		}
	})
	must(t, e.operator.create(within(t, 10*time.Second), resource, object))
	e.awaitForce(t, resource, name)
}

// servedBy fails unless all of a client's requests since the mark are in the audit
// logs of these servers, and none in another's.
func (e *env) servedBy(t *testing.T, mark auditMark, client string, requests int, by ...string) {
	t.Helper()
	allowed := map[string]bool{}
	for _, server := range by {
		allowed[server] = true
	}
	var all []audited
	eventually(t, 10*time.Second, func(context.Context) error {
		if all = completed(e.auditSince(t, mark, servers, client+"/")); len(all) < requests {
			return fmt.Errorf("%d of %d requests of %s are in the audit logs", len(all), requests, client)
		}
		return nil
	})
	if len(all) != requests {
		t.Errorf("%s sent %d requests, and %d are in the audit logs", client, requests, len(all))
	}
	for _, a := range all {
		if !allowed[a.server] {
			t.Errorf("%s was served by %s, want %v", client, a.server, by)
		}
	}
}

// completed are the requests that were answered, once each.
func completed(all []audited) (done []audited) {
	for _, a := range all {
		if a.Stage == "ResponseComplete" {
			done = append(done, a)
		}
	}
	return done
}

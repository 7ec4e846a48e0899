package limits

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// lifelines are requests without which nodes are given up, leaders lost and
// nobody is known. No switch stops them.
type lifeline struct{ method, path, body string }

// lifelines makes the objects that they are about.
func lifelines(t *testing.T, namespace string) []lifeline {
	t.Helper()
	direct, ctx := clientset(t, nil, "limits-setup"), t.Context()
	node := "node-" + namespace
	_, err := direct.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{})
	must(t, err)
	_, err = direct.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	must(t, err)
	no := false
	_, err = direct.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{AutomountServiceAccountToken: &no, NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i.invalid/i"}},
			// Nobody taints here, and nobody would tolerate.
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}},
	}, metav1.CreateOptions{})
	must(t, err)
	lease := "/apis/coordination.k8s.io/v1/namespaces/" + namespace + "/leases"
	return []lifeline{
		{http.MethodPost, lease, `{"metadata":{"name":"%s"},"spec":{"holderIdentity":"me"}}`},
		{http.MethodPatch, lease + "/%s", `{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z"}}`},
		{http.MethodDelete, lease + "/%s", ""},
		{http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"x"}}`},
		{http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"alice","resourceAttributes":{"verb":"get","resource":"pods"}}}`},
		{http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`},
		{http.MethodPatch, "/api/v1/nodes/" + node + "/status", `{"status":{"capacity":{"example.com/things":"1"}}}`},
		{http.MethodPatch, "/api/v1/namespaces/" + namespace + "/pods/p/status", `{"status":{"message":"%s"}}`},
	}
}

// stay fails unless every lifeline holds. The name must be new each time.
func stay(t *testing.T, c *client, lines []lifeline, name string) {
	t.Helper()
	for _, l := range lines {
		fill := func(s string) string { return strings.ReplaceAll(s, "%s", name) }
		c.passes(t, l.method, fill(l.path), fill(l.body))
	}
}

// TestSwitchesStopRequestsAtOnceAndForATime turns on each kind of switch.
func TestSwitchesStopRequestsAtOnceAndForATime(t *testing.T) {
	g := solo(t)
	o := newOperator(t, g)
	namespace := newNamespace(t)
	lines := lifelines(t, namespace)
	o.apply("ClientClass", "switch-core", `{match: {clients: {userAgents: [switch-core]}}, priority: P1}`)
	o.apply("ClientClass", "switch-batch", `{match: {clients: {userAgents: [switch-batch]}}, priority: P2}`)
	o.apply("ClientClass", "switch-tools", `{match: {clients: {userAgents: [switch-tools, kubectl]}}, priority: P3}`)
	core, batch, tools, nobody := adminClient(t, g, "switch-core/1"), adminClient(t, g, "switch-batch/1"), adminClient(t, g, "switch-tools/1"), adminClient(t, g, "switch-nobody/1")
	all := []*client{core, batch, tools, nobody}
	path := "/api/v1/namespaces/" + namespace + "/configmaps"
	named := func(name string) string { return fmt.Sprintf(`{"metadata":{"name":%q}}`, name) }
	stay(t, core, lines, "before")

	t.Run("ReadOnly", func(t *testing.T) {
		turn(t, g, "switch-readonly", `{type: ReadOnly, duration: 5m, reason: etcd is being restored}`, func(o *operator) error {
			return core.expects("switch/switch-readonly", http.StatusServiceUnavailable, http.MethodPost, path, named("x"))
		}, func(o *operator) {
			for _, c := range all {
				a := c.refused(t, "switch/switch-readonly", http.StatusServiceUnavailable, http.MethodPost, path, named("x"))
				for _, word := range []string{"etcd is being restored", "ReadOnly", "create configmaps"} {
					if !strings.Contains(a.status.Message, word) {
						t.Errorf("%q is not in the message: %s", word, a.status.Message)
					}
				}
				// Resent by client-go, it would be ten times too late for whoever waits.
				if after := a.header.Get("Retry-After"); after != "" {
					t.Errorf("Retry-After %s on what lasts for minutes", after)
				}
				c.refused(t, "switch/switch-readonly", http.StatusServiceUnavailable, http.MethodPatch, "/api/v1/nodes/node-"+namespace, `{"metadata":{"labels":{"a":"b"}}}`)
				c.refused(t, "switch/switch-readonly", http.StatusServiceUnavailable, http.MethodDelete, path, "")
				c.passes(t, http.MethodGet, path, "")
				stay(t, c, lines, "ro-"+strings.TrimSuffix(c.userAgent, "/1"))
			}
			message := kubectlFails(t, g, "create", "configmap", "x", "--namespace="+namespace)
			for _, word := range []string{"switch-readonly", "etcd is being restored"} {
				if !strings.Contains(message, word) {
					t.Errorf("kubectl does not show %q: %s", word, message)
				}
			}
		})
		core.passes(t, http.MethodPost, path, named("after-readonly"))
	})

	t.Run("Freeze", func(t *testing.T) {
		spec := fmt.Sprintf(`{type: Freeze, freeze: {match: {requests: [{namespaces: [%s]}]}, except: {clients: {userAgents: [switch-core]}}}, duration: 5m, reason: who did this}`, namespace)
		turn(t, g, "switch-freeze", spec, func(o *operator) error {
			return batch.expects("switch/switch-freeze", http.StatusServiceUnavailable, http.MethodGet, path, "")
		}, func(o *operator) {
			batch.refused(t, "switch/switch-freeze", http.StatusServiceUnavailable, http.MethodPost, path, named("x"))
			batch.passes(t, http.MethodGet, someConfigMaps, "")
			core.passes(t, http.MethodGet, path, "")
			stay(t, batch, lines, "freeze")
		})
	})

	t.Run("ShedPriority", func(t *testing.T) {
		turn(t, g, "switch-shed", `{type: ShedPriority, shedPriority: {priority: P3}, duration: 5m, reason: overload}`, func(o *operator) error {
			return nobody.expects("switch/switch-shed", http.StatusTooManyRequests, http.MethodGet, path, "")
		}, func(o *operator) {
			for _, c := range []*client{tools, nobody} {
				a := c.refused(t, "switch/switch-shed", http.StatusTooManyRequests, http.MethodGet, path, "")
				if a.header.Get("Retry-After") == "" || a.status.Reason != metav1.StatusReasonTooManyRequests {
					t.Errorf("Retry-After %q, reason %s", a.header.Get("Retry-After"), a.status.Reason)
				}
				stay(t, c, lines, "shed-"+strings.TrimSuffix(c.userAgent, "/1"))
			}
			core.passes(t, http.MethodGet, path, "")
			batch.passes(t, http.MethodGet, path, "")
		})
	})

	t.Run("expiry", func(t *testing.T) {
		const lasts = 2 * time.Second
		// A write that leaves nothing behind if it comes before the switch.
		dry := path + "?dryRun=All"
		o.apply("Switch", "switch-brief", fmt.Sprintf(`{type: ReadOnly, duration: %s, reason: briefly}`, lasts))
		eventually(t, lasts, func(context.Context) error {
			return core.expects("switch/switch-brief", http.StatusServiceUnavailable, http.MethodPost, dry, named("brief"))
		})
		var s v1alpha1.Switch
		must(t, o.get(t.Context(), "Switch", "switch-brief", &s))
		if s.Status.ExpiresAt == nil || s.Status.RequestedBy == "" {
			t.Fatalf("status %+v", s.Status)
		}
		// Times of expiry are in whole seconds.
		expires := s.Status.ExpiresAt.Time
		if d := expires.Sub(s.CreationTimestamp.Time); d < lasts || d > lasts+time.Second {
			t.Errorf("a switch of %s, made at %s, expires at %s", lasts, s.CreationTimestamp, s.Status.ExpiresAt)
		}
		eventually(t, 2*lasts, func(ctx context.Context) error {
			a, err := core.do(ctx, http.MethodPost, dry, named("brief"))
			if err == nil && a.code != http.StatusCreated {
				err = fmt.Errorf("%d %s", a.code, a.status.Message)
			}
			return err
		})
		if late := time.Since(expires); late < 0 || late > lasts {
			t.Errorf("the switch ended %s after its expiry", late)
		}
		eventually(t, 5*time.Second, func(context.Context) error {
			if len(logged(t, g, `"switch off"`, `"switch-brief"`)) == 0 {
				return errors.New("nothing is logged")
			}
			return nil
		})
	})
}

// turn has a switch on while test runs. The log must say who turned it on, and why.
func turn(t *testing.T, g *fixture.Gateway, name, spec string, on func(*operator) error, test func(*operator)) {
	t.Helper()
	o := newOperator(t, g)
	o.apply("Switch", name, spec)
	eventually(t, 5*time.Second, func(context.Context) error { return on(o) })
	var s v1alpha1.Switch
	must(t, o.get(t.Context(), "Switch", name, &s))
	user := s.Status.RequestedBy
	if user == "" {
		t.Error("the status does not say who turned the switch on")
	}
	test(o)
	must(t, o.remove(t.Context(), "Switch", name))
	eventually(t, 5*time.Second, func(context.Context) error {
		for _, words := range [][]string{
			{`"policy write"`, `"create"`, name, user, s.Spec.Reason},
			{`"switch on"`, name, user, s.Spec.Reason},
			{`"policy write"`, `"delete"`, name, user},
			{`"switch off"`, name},
		} {
			if len(logged(t, g, words...)) == 0 {
				return fmt.Errorf("no line of the log has %q", words)
			}
		}
		if on(o) == nil {
			return errors.New("the switch is still on")
		}
		return nil
	})
}

// kubectlFails runs a command that must fail, soon, and returns what it says.
func kubectlFails(t *testing.T, g *fixture.Gateway, args ...string) string {
	t.Helper()
	kubeconfig, err := g.Kubeconfig()
	must(t, err)
	cmd := fixture.Shared(t, theCluster).Kubectl(within(t, 20*time.Second), kubeconfig, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if cmd.Run() == nil {
		t.Errorf("kubectl %q succeeded: %s", args, output.String())
	}
	return output.String()
}

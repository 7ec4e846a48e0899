package failover

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// classes are known by what clients call themselves. Who calls itself anything
// else is of P4.
const classes = `
apiVersion: gateway.asi.io/v1alpha1
kind: ClientClass
metadata: {name: critical}
spec: {match: {clients: {userAgents: ["critical*"]}}, priority: P0}
---
apiVersion: gateway.asi.io/v1alpha1
kind: ClientClass
metadata: {name: agents}
spec: {match: {clients: {userAgents: ["agents*"]}}, priority: P1}
---
apiVersion: gateway.asi.io/v1alpha1
kind: ClientClass
metadata: {name: operators}
spec: {match: {clients: {userAgents: ["operators*"]}}, priority: P2}
---
apiVersion: gateway.asi.io/v1alpha1
kind: ClientClass
metadata: {name: tools}
spec: {match: {clients: {userAgents: ["tools*"]}}, priority: P3}
`

// shippedRoutes are the ones that every installation gets.
const shippedRoutes = "../../pkg/policy/defaults/routes.yaml"

// failback and slowStart of both groups are shorter than the defaults.
const (
	failback  = 5 * time.Second
	slowStart = 3 * time.Second
)

// writePolicies makes a folder for --policy-dir.
func writePolicies() (string, error) {
	dir, err := suite.Dir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "policies")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	routes, err := os.ReadFile(shippedRoutes)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "routes.yaml"), routes, 0o644); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "classes.yaml"), []byte(classes), 0o644)
}

// awaitPolicies waits until all policies are in force, the groups of the flags
// among them, and has the groups be quicker than they are by default.
func awaitPolicies(ctx context.Context, g *fixture.Gateway) error {
	err := fixture.Poll(ctx, func(ctx context.Context) error {
		metrics, err := g.Metrics(ctx)
		if err != nil {
			return err
		}
		for kind, want := range map[string]float64{"ClientClass": 4, "Route": 2, "UpstreamGroup": 2} {
			if got := metrics[fmt.Sprintf("asi_gateway_policies{kind=%q}", kind)]; got != want {
				return fmt.Errorf("%v objects of kind %s are in force, want %v", got, kind, want)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	o, err := newOperator(g)
	if err != nil {
		return err
	}
	for _, group := range []string{v1alpha1.GroupMain, v1alpha1.GroupBypass} {
		if err := o.patch(ctx, "upstreamgroups", group, fmt.Sprintf(`{"spec": {"failback": %q, "slowStart": %q}}`, failback, slowStart)); err != nil {
			return err
		}
	}
	return nil
}

// operator changes policies through a gateway's own API.
type operator struct{ client *rest.RESTClient }

func newOperator(g *fixture.Gateway) (*operator, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config := g.RESTConfig()
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent = "failover-operator"
	client, err := rest.RESTClientFor(config)
	return &operator{client}, err
}

func (o *operator) create(ctx context.Context, resource string, object runtime.Object) error {
	return o.client.Post().Resource(resource).Body(object).Do(ctx).Error()
}

func (o *operator) patch(ctx context.Context, resource, name, patch string) error {
	return o.client.Patch(types.MergePatchType).Resource(resource).Name(name).Body([]byte(patch)).Do(ctx).Error()
}

func (o *operator) remove(ctx context.Context, resource, name string) error {
	return o.client.Delete().Resource(resource).Name(name).Do(ctx).Error()
}

// live is how the gateway sees a group.
func (o *operator) live(ctx context.Context, group string) (v1alpha1.GroupState, error) {
	var live v1alpha1.UpstreamGroupLive
	err := o.client.Get().Resource("upstreamgroups").Name(group).SubResource("live").Do(ctx).Into(&live)
	if err != nil {
		return v1alpha1.GroupState{}, err
	}
	if len(live.Replicas) != 1 {
		return v1alpha1.GroupState{}, fmt.Errorf("%d replicas say how group %s is, want one", len(live.Replicas), group)
	}
	return live.Replicas[0], nil
}

// change patches a policy until the end of the test, when undo is patched in. The
// change is in force when it returns.
func (e *env) change(t *testing.T, resource, name, patch, undo string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.operator.patch(ctx, resource, name, undo); err != nil {
			t.Errorf("changing %s %s back: %v", resource, name, err)
		}
	})
	must(t, e.operator.patch(within(t, 10*time.Second), resource, name, patch))
	e.awaitForce(t, resource, name)
}

// awaitForce waits until the gateway has written what it makes of a policy as it is
// now, which it does after it has put it in force.
func (e *env) awaitForce(t *testing.T, resource, name string) {
	t.Helper()
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		text, err := e.operator.client.Get().Resource(resource).Name(name).Do(ctx).Raw()
		if err != nil {
			return err
		}
		var o struct {
			Metadata struct{ Generation int64 }
			Status   struct{ ObservedGeneration int64 }
		}
		if err := json.Unmarshal(text, &o); err != nil {
			return err
		}
		if o.Status.ObservedGeneration != o.Metadata.Generation {
			return fmt.Errorf("the gateway has taken note of generation %d of %s %s, not of %d", o.Status.ObservedGeneration, resource, name, o.Metadata.Generation)
		}
		return nil
	})
}

// forceGroup turns a Switch on that sends P0 to a group.
func (e *env) forceGroup(t *testing.T, name, group string) {
	t.Helper()
	s := &v1alpha1.Switch{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.SwitchSpec{
		Type: v1alpha1.SwitchForceGroup, Reason: "a test", Duration: &metav1.Duration{Duration: 5 * time.Minute},
		ForceGroup: &v1alpha1.ForceGroup{Group: group, Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{Priorities: []v1alpha1.Priority{v1alpha1.PriorityP0}}}},
	}}
	must(t, e.operator.create(within(t, 10*time.Second), "switches", s))
}

package switches

import (
	"net/http/httptest"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

var start = time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)

func switchOf(name string, spec v1alpha1.SwitchSpec) *v1alpha1.Switch {
	s := &v1alpha1.Switch{Spec: spec}
	s.Name = name
	s.Spec.Reason = "why"
	s.Status.ExpiresAt = &metav1.Time{Time: start.Add(time.Hour)}
	return s
}

func TestWhatASwitchStops(t *testing.T) {
	readOnly := switchOf("a", v1alpha1.SwitchSpec{Type: v1alpha1.SwitchReadOnly, ReadOnly: &v1alpha1.SwitchScope{}})
	freeze := switchOf("a", v1alpha1.SwitchSpec{Type: v1alpha1.SwitchFreeze, Freeze: &v1alpha1.SwitchScope{
		Match:  v1alpha1.Match{Requests: []v1alpha1.RequestMatch{{Verbs: []string{"delete"}, Resources: []string{"pods"}}}},
		Except: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"kubectl"}}},
	}})
	freezeAll := switchOf("a", v1alpha1.SwitchSpec{Type: v1alpha1.SwitchFreeze, Freeze: &v1alpha1.SwitchScope{
		Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"*"}}},
	}})
	shed := switchOf("a", v1alpha1.SwitchSpec{Type: v1alpha1.SwitchShedPriority, ShedPriority: &v1alpha1.ShedPriority{Priority: v1alpha1.PriorityP3}})
	const pod, pods = "/api/v1/namespaces/a/pods/b", "/api/v1/namespaces/a/pods"
	for _, tc := range []struct {
		name           string
		s              *v1alpha1.Switch
		method, target string
		userAgent      string
		priority       v1alpha1.Priority
		refused        bool
	}{
		{"read-only: create", readOnly, "POST", pods, "x", "P0", true},
		{"read-only: update", readOnly, "PUT", pod, "x", "P0", true},
		{"read-only: patch", readOnly, "PATCH", pod, "x", "P0", true},
		{"read-only: delete", readOnly, "DELETE", pod, "x", "P0", true},
		{"read-only: deletecollection", readOnly, "DELETE", pods, "x", "P0", true},
		{"read-only: eviction", readOnly, "POST", pod + "/eviction", "x", "P0", true},
		{"read-only: scale", readOnly, "PUT", "/apis/apps/v1/namespaces/a/deployments/b/scale", "x", "P0", true},
		{"read-only: get", readOnly, "GET", pod, "x", "P4", false},
		{"read-only: list", readOnly, "GET", pods, "x", "P4", false},
		{"read-only: exec", readOnly, "POST", pod + "/exec?command=ls", "x", "P4", false},
		{"read-only: port-forward", readOnly, "POST", pod + "/portforward", "x", "P4", false},
		{"read-only: lease", readOnly, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", "x", "P0", false},
		{"read-only: access review", readOnly, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "x", "P0", false},
		{"read-only: token review", readOnly, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", "x", "P0", false},
		{"read-only: node status", readOnly, "PATCH", "/api/v1/nodes/n/status", "x", "P0", false},
		{"read-only: pod status", readOnly, "PATCH", pod + "/status", "x", "P0", false},
		{"read-only: other status", readOnly, "PATCH", "/apis/apps/v1/namespaces/a/deployments/b/status", "x", "P0", true},
		{"read-only: custom resource called leases", readOnly, "PUT", "/apis/example.com/v1/namespaces/a/leases/n", "x", "P0", true},
		{"freeze: what matches", freeze, "DELETE", pod, "x", "P0", true},
		{"freeze: except", freeze, "DELETE", pod, "kubectl/v1", "P0", false},
		{"freeze: the rest", freeze, "GET", pod, "x", "P0", false},
		{"freeze everything: lease", freezeAll, "GET", "/apis/coordination.k8s.io/v1/leases", "x", "P0", false},
		{"freeze everything: health", freezeAll, "GET", "/livez/ping", "x", "P0", false},
		{"freeze everything: version", freezeAll, "GET", "/version", "x", "P0", true},
		{"shed: above", shed, "GET", pods, "x", "P2", false},
		{"shed: at", shed, "GET", pods, "x", "P3", true},
		{"shed: below", shed, "GET", pods, "x", "P4", true},
		{"shed: lease", shed, "PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/n", "x", "P4", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.target, nil)
			r.Header.Set("User-Agent", tc.userAgent)
			a, err := request.NewParser().Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			a.Priority = tc.priority
			set := New([]*v1alpha1.Switch{tc.s})
			if refusal := set.Refuse(a, func() time.Time { return start }); (refusal != nil) != tc.refused {
				t.Errorf("refused: %+v", refusal)
			}
			if refusal := set.Refuse(a, func() time.Time { return start.Add(time.Hour) }); refusal != nil {
				t.Errorf("refused after its time: %+v", refusal)
			}
		})
	}
}

func TestSwitchWithoutATimeIsOff(t *testing.T) {
	s := switchOf("a", v1alpha1.SwitchSpec{Type: v1alpha1.SwitchReadOnly, ReadOnly: &v1alpha1.SwitchScope{}})
	s.Status.ExpiresAt = nil
	if set := New([]*v1alpha1.Switch{s}); len(set.switches) != 0 {
		t.Error("it is on")
	}
}

func TestSwitchThatRefusesNothingIsLeftOut(t *testing.T) {
	force := switchOf("a", v1alpha1.SwitchSpec{Type: v1alpha1.SwitchForceGroup, ForceGroup: &v1alpha1.ForceGroup{Group: "bypass"}})
	// Of a later version, say.
	unheard := switchOf("b", v1alpha1.SwitchSpec{Type: "ServeStale"})
	set := New([]*v1alpha1.Switch{force, unheard})
	a, err := request.NewParser().Parse(httptest.NewRequest("POST", "/api/v1/namespaces/a/pods", nil))
	if err != nil {
		t.Fatal(err)
	}
	if refusal := set.Refuse(a, func() time.Time { return start }); refusal != nil || len(set.switches) != 0 {
		t.Errorf("refused: %+v", refusal)
	}
}

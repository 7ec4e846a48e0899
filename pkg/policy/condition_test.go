package policy

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func TestConditionOfASwitchSaysWhatItDoes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	some := v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"a"}}}
	for _, tc := range []struct {
		spec v1alpha1.SwitchSpec
		want string
	}{
		{v1alpha1.SwitchSpec{Type: v1alpha1.SwitchReadOnly, ReadOnly: &v1alpha1.SwitchScope{}}, "is refused"},
		{v1alpha1.SwitchSpec{Type: v1alpha1.SwitchFreeze, Freeze: &v1alpha1.SwitchScope{Match: some}}, "is refused"},
		{v1alpha1.SwitchSpec{Type: v1alpha1.SwitchShedPriority, ShedPriority: &v1alpha1.ShedPriority{Priority: v1alpha1.PriorityP3}}, "is refused"},
		{v1alpha1.SwitchSpec{Type: v1alpha1.SwitchForceGroup, ForceGroup: &v1alpha1.ForceGroup{Group: "bypass"}}, "is served by bypass"},
		{v1alpha1.SwitchSpec{Type: v1alpha1.SwitchServeStale, ServeStale: &v1alpha1.SwitchScope{}}, "are answered from memory"},
	} {
		o := &v1alpha1.Switch{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: tc.spec}
		o.Spec.Reason, o.Spec.Duration = "x", &metav1.Duration{Duration: time.Hour}
		o.Status.ExpiresAt = &metav1.Time{Time: now.Add(time.Hour)}
		c := switchCondition(o, now, sets.New("main", "bypass"))
		if c.Status != metav1.ConditionTrue || c.Reason != "On" || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %+v, want %q", tc.spec.Type, c, tc.want)
		}
	}
}

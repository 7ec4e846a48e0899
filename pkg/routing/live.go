package routing

import (
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// LiveGroups is what this gateway sees of each group, by name. The replica's name
// is left to the caller.
func (u *Upstream) LiveGroups() map[string]v1alpha1.GroupState {
	now := u.config.Clock.Now()
	states := map[string]v1alpha1.GroupState{}
	for _, g := range u.table.Load().groups {
		states[g.name] = g.state(now)
	}
	return states
}

// Explain tells which Route or Switch decides about a classified request, e.g.
// "route/others" (empty: none), and which group would serve it now (empty: none
// can). Refused tells that the group's limits would not let it pass. Nothing is
// counted.
func (u *Upstream) Explain(a *request.Attributes) (by, group string, refused bool) {
	now := u.config.Clock.Now()
	t := trip{upstream: u, call: Call{Attributes: a}, path: u.table.Load().route(a, nil, now)}
	g, e := t.find(now)
	if e == nil {
		return t.path.by, "", false
	}
	return t.path.by, g.name, g.check(a.Priority, a.LongRunning, now, false) != nil
}

package routing

import (
	"slices"
	"time"
)

// trip is one request on its way through the servers.
type trip struct {
	upstream *Upstream
	call     Call
	path     *path
	tried    []*Endpoint
	// holding is the group that has admitted the request.
	holding *group
}

// next chooses the next server, and takes a place in its group.
func (t *trip) next() (*group, *Endpoint, error) {
	now := t.upstream.config.Clock.Now()
	g, e := t.find(now)
	if e == nil {
		return nil, nil, t.unreachable()
	}
	refused := t.enter(g, now)
	if refused == nil {
		return g, e, nil
	}
	for _, spill := range t.path.spill {
		if e := t.pick(spill, healthy, now); e != nil && spill != g && t.enter(spill, now) == nil {
			return spill, e, nil
		}
	}
	return nil, nil, &Refused{Group: g.name, Priority: t.call.priority(), Reason: refused.reason, RetryAfter: refused.retryAfter}
}

// find chooses the next server.
func (t *trip) find(now time.Time) (*group, *Endpoint) {
	if g, e := t.choose(t.path.groups, now); e != nil {
		return g, e
	}
	if g, e := t.choose(t.path.spill, now); e != nil {
		return g, e
	}
	return t.any(now)
}

// enter has a group admit the request, unless it has done so before.
func (t *trip) enter(g *group, now time.Time) *refusal {
	if t.holding == g {
		return nil
	}
	if t.call.Attributes != nil {
		if refused := g.admit(t.call.priority(), t.call.Lane.longRunning(), now); refused != nil {
			return refused
		}
	}
	t.leave()
	t.holding = g
	return nil
}

// leave gives the place in the group back.
func (t *trip) leave() {
	if t.holding != nil && t.call.Attributes != nil {
		t.holding.release(t.call.Lane.longRunning())
	}
	t.holding = nil
}

// choose returns a healthy server of the first group that has one. A group that
// is just coming back serves only a part of its clients, if there is another one
// for the rest.
func (t *trip) choose(groups []*group, now time.Time) (*group, *Endpoint) {
	var late *group
	for _, g := range groups {
		if !t.path.forced && t.waitsOutside(g, now) {
			if late == nil {
				late = g
			}
			continue
		}
		if e := t.pick(g, healthy, now); e != nil {
			return g, e
		}
	}
	if late != nil {
		return late, t.pick(late, healthy, now)
	}
	return nil, nil
}

func (t *trip) waitsOutside(g *group, now time.Time) bool {
	part := g.absence.returned(now, g.spec.Load().failback)
	return part < 1 && (t.call.Attributes == nil || fraction(g.name, t.call.Attributes) >= part)
}

// any returns a server that is up at all: one that has been tried if there is no
// other, and one that is not ready if there is none that is.
func (t *trip) any(now time.Time) (*group, *Endpoint) {
	tried := t.tried
	defer func() { t.tried = tried }()
	for _, ranks := range [...][]rank{{healthy, avoided}, {unready}} {
		for _, t.tried = range [...][]*Endpoint{tried, nil} {
			if g, e := t.first(ranks, now); e != nil {
				return g, e
			}
		}
	}
	return nil, nil
}

// first returns a server of the first group that has one of these ranks.
func (t *trip) first(ranks []rank, now time.Time) (*group, *Endpoint) {
	for _, g := range slices.Concat(t.path.groups, t.path.spill) {
		for _, r := range ranks {
			if e := t.pick(g, r, now); e != nil {
				return g, e
			}
		}
	}
	return nil, nil
}

func (t *trip) pick(g *group, r rank, now time.Time) *Endpoint {
	s := g.spec.Load()
	return pick(s.members, r, t.call.Lane.longRunning(), t.tried, now, s.slowStart, t.upstream.random)
}

func (t *trip) unreachable() error {
	if t.path.by == "" {
		return ErrUnreachable
	}
	named := slices.Concat(t.path.groups, t.path.spill)
	err := &Unreachable{By: t.path.by}
	now := t.upstream.config.Clock.Now().UnixNano()
	for _, g := range t.upstream.table.Load().groups {
		switch {
		case slices.Contains(named, g):
			err.Groups = append(err.Groups, g.name)
		case g.usable(now):
			err.Idle = append(err.Idle, g.name)
		}
	}
	return err
}

package routing

import (
	"cmp"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// table says which groups serve a request. It is immutable.
type table struct {
	// groups are all, main first, then bypass, then by name.
	groups []*group
	byName map[string]*group
	// routes are in the order in which they win, forces by name.
	routes     []route
	routeIndex *request.Index
	forces     []force
	forceIndex *request.Index
	// fallback serves what no Route matches, and the gateway's own requests.
	fallback path
}

// path is the groups that may serve a request.
type path struct {
	// by names the Route or Switch, e.g. "route/control-plane"; empty for the
	// fallback.
	by            string
	groups, spill []*group
	// forced tells that health does not matter.
	forced bool
}

// Way is which groups serve a request.
type Way struct {
	// By names the Route or Switch that says so, e.g. "route/control-plane"; empty if
	// none does.
	By   string
	path *path
}

// Way finds out how a client's request is served at present.
func (u *Upstream) Way(a *request.Attributes, header http.Header) Way {
	p := u.table.Load().route(a, header, u.config.Clock.Now())
	return Way{By: p.by, path: p}
}

type route struct {
	path
	header *v1alpha1.HeaderMatch
	share  int32
	name   string
}

type force struct {
	path
	until time.Time
}

func newTable(groups map[string]*group, routes []*v1alpha1.Route, switches []*v1alpha1.Switch) *table {
	t := &table{byName: groups}
	for _, g := range groups {
		t.groups = append(t.groups, g)
	}
	slices.SortFunc(t.groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(place(a.name), place(b.name)), cmp.Compare(a.name, b.name))
	})
	t.fallback.groups = t.named([]string{v1alpha1.GroupMain, v1alpha1.GroupBypass})
	t.compileRoutes(routes)
	t.compileForces(switches)
	return t
}

func place(group string) int {
	switch group {
	case v1alpha1.GroupMain:
		return 0
	case v1alpha1.GroupBypass:
		return 1
	}
	return 2
}

// compileRoutes leaves out those of which no group exists: the fallback serves
// what they match.
func (t *table) compileRoutes(objects []*v1alpha1.Route) {
	objects = slices.SortedFunc(slices.Values(objects), func(a, b *v1alpha1.Route) int {
		return cmp.Or(cmp.Compare(b.Spec.Precedence, a.Spec.Precedence), cmp.Compare(a.Name, b.Name))
	})
	var entries []request.Entry
	for _, o := range objects {
		r := route{name: o.Name, header: o.Spec.Header, share: 100, path: path{by: "route/" + o.Name, groups: t.named(o.Spec.Groups), spill: t.named(o.Spec.Spill)}}
		if len(r.groups)+len(r.spill) == 0 {
			continue
		}
		if o.Spec.Share != nil {
			r.share = *o.Spec.Share
		}
		t.routes = append(t.routes, r)
		entries = append(entries, request.Entry{Match: o.Spec.Match, Except: o.Spec.Except})
	}
	t.routeIndex = request.NewIndex(entries)
}

func (t *table) compileForces(switches []*v1alpha1.Switch) {
	var entries []request.Entry
	for _, s := range switches {
		if s.Spec.ForceGroup == nil || s.Status.ExpiresAt == nil {
			continue
		}
		groups := t.named([]string{s.Spec.ForceGroup.Group})
		if len(groups) == 0 {
			continue
		}
		t.forces = append(t.forces, force{path{by: "switch/" + s.Name, groups: groups, forced: true}, s.Status.ExpiresAt.Time})
		entries = append(entries, request.Entry{Match: s.Spec.ForceGroup.Match, Except: s.Spec.ForceGroup.Except})
	}
	t.forceIndex = request.NewIndex(entries)
}

// named returns the groups that exist.
func (t *table) named(names []string) (groups []*group) {
	for _, name := range names {
		if g := t.byName[name]; g != nil {
			groups = append(groups, g)
		}
	}
	return groups
}

// route returns the path of a classified request; a is nil for the gateway's own
// ones.
func (t *table) route(a *request.Attributes, header http.Header, now time.Time) *path {
	if a == nil {
		return &t.fallback
	}
	var hits [8]int32
	if len(t.forces) > 0 {
		for _, i := range t.forceIndex.Find(a, hits[:0]) {
			if now.Before(t.forces[i].until) {
				return &t.forces[i].path
			}
		}
	}
	for _, i := range t.routeIndex.Find(a, hits[:0]) {
		r := &t.routes[i]
		if (r.header == nil || hasHeader(header, r.header)) && (r.share >= 100 || fraction(r.name, a) < float64(r.share)/100) {
			return &r.path
		}
	}
	return &t.fallback
}

func hasHeader(h http.Header, m *v1alpha1.HeaderMatch) bool {
	values := h.Values(m.Name)
	if len(m.Values) == 0 {
		return len(values) > 0
	}
	return slices.ContainsFunc(values, func(value string) bool { return slices.Contains(m.Values, value) })
}

// fraction places a client between 0 and 1: always in the same place, on all
// replicas, and elsewhere for another purpose.
func fraction(purpose string, a *request.Attributes) float64 {
	h := fnv.New64a()
	for _, part := range [...]string{purpose, a.UserName(), a.ClientName} {
		_, _ = io.WriteString(h, part)
		_, _ = h.Write([]byte{0})
	}
	// The high bits of FNV are the worse ones for short texts.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

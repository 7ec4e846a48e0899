package routing

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// attributes are those of a GET by a user of a priority.
func attributes(t testing.TB, path, name string, priority v1alpha1.Priority) *request.Attributes {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("User-Agent", "client/v1")
	a, err := request.NewParser().Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Priority = priority
	if name != "" {
		a.Identity = &request.Identity{Info: &user.DefaultInfo{Name: name}}
	}
	return a
}

func newRoute(name string, precedence int32, groups, spill []string, priorities ...v1alpha1.Priority) *v1alpha1.Route {
	r := &v1alpha1.Route{}
	r.Name = name
	r.Spec = v1alpha1.RouteSpec{Precedence: precedence, Groups: groups, Spill: spill, Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{Priorities: priorities}}}
	v1alpha1.SetDefaults_Route(r)
	return r
}

// defaultRoutes are those of a new installation.
func defaultRoutes(spill ...string) []*v1alpha1.Route {
	return []*v1alpha1.Route{
		newRoute("control-plane", 0, []string{"main", "bypass"}, nil, "P0", "P1"),
		newRoute("others", 0, []string{"bypass"}, spill, "P2", "P3", "P4"),
	}
}

// routed returns who serves a request: "group" or what is wrong.
func routed(t *testing.T, u *Upstream, a *request.Attributes, h http.Header) string {
	t.Helper()
	now := u.config.Clock.Now()
	trip := trip{upstream: u, call: Call{Attributes: a}, path: u.table.Load().route(a, h, now)}
	g, _, err := trip.next()
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		return "refused by " + refused.Group
	case err != nil:
		return "unreachable"
	}
	trip.leave()
	return g.name
}

// kill has all servers of a group down.
func kill(u *Upstream, group string) {
	for _, e := range u.Endpoints() {
		if e.Group == group {
			e.health.unreached(errors.New("killed"), true, u.config.Clock.Now())
		}
	}
}

func TestPrioritiesHaveTheirGroups(t *testing.T) {
	groups := mainAndBypass([]string{"https://a", "https://b"}, []string{"https://c"})
	for _, test := range []struct {
		name  string
		spill []string
		dead  []string
		want  string // for P0 to P4
	}{
		{"all is well", nil, nil, "main main bypass bypass bypass"},
		{"main is gone", nil, []string{"main"}, "bypass bypass bypass bypass bypass"},
		{"bypass is gone", nil, []string{"bypass"}, "main main unreachable unreachable unreachable"},
		{"bypass is gone, with spill", []string{"main"}, []string{"bypass"}, "main main main main main"},
		{"all is gone", []string{"main"}, []string{"main", "bypass"}, "unreachable unreachable unreachable unreachable unreachable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, _ := upstream(t, groups)
			u.Update(groups, defaultRoutes(test.spill...), nil)
			for _, dead := range test.dead {
				kill(u, dead)
			}
			var got []string
			for _, p := range []v1alpha1.Priority{"P0", "P1", "P2", "P3", "P4"} {
				got = append(got, routed(t, u, attributes(t, "/api/v1/pods", "u", p), nil))
			}
			if joined := strings.Join(got, " "); joined != test.want {
				t.Errorf("served by %s, want %s", joined, test.want)
			}
		})
	}
}

func TestUnreachableTellsWhoElseIsThere(t *testing.T) {
	groups := mainAndBypass([]string{"https://a"}, []string{"https://b"})
	u, clock := upstream(t, groups)
	u.Update(groups, defaultRoutes(), nil)
	for _, test := range []struct{ dead, groups, idle string }{
		{"bypass", "bypass", "main"},
		{"main", "bypass", ""},
	} {
		kill(u, test.dead)
		trip := trip{upstream: u, path: u.table.Load().route(attributes(t, "/api/v1/pods", "u", "P3"), nil, clock.Now())}
		_, _, err := trip.next()
		var unreachable *Unreachable
		if !errors.As(err, &unreachable) || !errors.Is(err, ErrUnreachable) {
			t.Fatalf("error %v", err)
		}
		if got := *unreachable; got.By != "route/others" || strings.Join(got.Groups, " ") != test.groups || strings.Join(got.Idle, " ") != test.idle {
			t.Errorf("without %s: %+v, want groups %q and idle %q", test.dead, got, test.groups, test.idle)
		}
	}
}

func TestServerThatIsNotReadyServesOnlyIfNoOtherCan(t *testing.T) {
	groups := mainAndBypass([]string{"https://a"}, []string{"https://c"})
	u, clock := upstream(t, groups)
	u.Update(groups, defaultRoutes(), nil)
	p0 := attributes(t, "/api/v1/pods", "u", "P0")
	u.Endpoints()[0].health.probed(false, "etcd", clock.Now())
	if got := routed(t, u, p0, nil); got != "bypass" {
		t.Errorf("served by %s", got)
	}
	u.Endpoints()[1].health.probed(false, "etcd", clock.Now())
	if got := routed(t, u, p0, nil); got != "main" {
		t.Errorf("with both not ready: served by %s", got)
	}
}

// TestServerThatIsNotReadyComesAfterAllThatAre has a server start while the others are
// ready, but avoided or tried before.
func TestServerThatIsNotReadyComesAfterAllThatAre(t *testing.T) {
	const starting = "https://starting"
	for name, with := range map[string]struct {
		main, bypass []string
		try          bool
	}{
		"in its group": {main: []string{starting, "https://b"}},
		"in another":   {main: []string{starting}, bypass: []string{"https://c"}},
		"tried before": {main: []string{starting, "https://b"}, try: true},
	} {
		u, clock := upstream(t, mainAndBypass(with.main, with.bypass))
		servers := u.Endpoints()
		servers[0].health.probed(false, "rbac", clock.Now())
		trip := trip{upstream: u, path: &u.table.Load().fallback}
		if with.try {
			trip.tried = servers[1:]
		} else {
			servers[1].health.quiet.Store(true)
		}
		for range 20 {
			if _, e := trip.find(clock.Now()); e != servers[1] {
				t.Fatalf("%s: served by %s", name, e.URL)
			}
		}
	}
}

func TestRoutesByPrecedenceHeaderAndShare(t *testing.T) {
	groups := append(mainAndBypass([]string{"https://a"}, []string{"https://c"}), StaticGroup("canary", "https://d"))
	u, _ := upstream(t, groups)
	byHeader := newRoute("by-header", 100, []string{"canary"}, nil, "P2")
	byHeader.Spec.Header = &v1alpha1.HeaderMatch{Name: "x-canary", Values: []string{"yes"}}
	byShare := newRoute("by-share", 50, []string{"canary"}, nil, "P3")
	byShare.Spec.Share = ptr.To[int32](20)
	missing := newRoute("missing", 1000, []string{"nowhere"}, nil)
	u.Update(groups, append(defaultRoutes(), byHeader, byShare, missing), nil)

	p2 := attributes(t, "/api/v1/pods", "u", "P2")
	for value, want := range map[string]string{"yes": "canary", "no": "bypass", "": "bypass"} {
		if got := routed(t, u, p2, http.Header{"X-Canary": {value}}); got != want {
			t.Errorf("header %q: served by %s, want %s", value, got, want)
		}
	}
	canary := 0
	for i := range 2000 {
		a := attributes(t, "/api/v1/pods", fmt.Sprintf("user-%d", i), "P3")
		first := routed(t, u, a, nil)
		if again := routed(t, u, a, nil); again != first {
			t.Fatalf("user-%d moved from %s to %s", i, first, again)
		}
		if first == "canary" {
			canary++
		}
	}
	if canary < 340 || canary > 460 {
		t.Errorf("%d of 2000 clients on the canary, want 20%%", canary)
	}
	// A Route without any group that exists does not apply.
	u.Update(groups[:1], []*v1alpha1.Route{newRoute("others", 0, []string{"bypass"}, nil)}, nil)
	if got := routed(t, u, p2, nil); got != "main" {
		t.Errorf("served by %s", got)
	}
}

// TestWayThatWasFoundIsTaken sends a request without the header that its Route looks at.
func TestWayThatWasFoundIsTaken(t *testing.T) {
	main, canary := server(t, "main"), server(t, "canary")
	groups := append(mainAndBypass([]string{main.URL}, nil), StaticGroup("canary", canary.URL))
	u, _ := upstream(t, groups, main, canary)
	byHeader := newRoute("by-header", 0, []string{"canary"}, nil)
	byHeader.Spec.Header = &v1alpha1.HeaderMatch{Name: "x-canary", Values: []string{"yes"}}
	u.Update(groups, []*v1alpha1.Route{byHeader}, nil)
	a := attributes(t, "/api/v1/pods", "u", "P2")
	for value, want := range map[string]struct{ by, served string }{"yes": {"route/by-header", "canary"}, "no": {"", "main"}} {
		way := u.Way(a, http.Header{"X-Canary": {value}})
		if body, _, err := send(t, u, http.MethodGet, "", Call{Attributes: a, Way: way}); err != nil || body != want.served || way.By != want.by {
			t.Errorf("header %q: by %q, served by %s, %v; want %v", value, way.By, body, err, want)
		}
	}
}

func TestForceGroup(t *testing.T) {
	groups := mainAndBypass([]string{"https://a"}, []string{"https://c"})
	u, clock := upstream(t, groups)
	s := &v1alpha1.Switch{}
	s.Name = "force"
	s.Spec = v1alpha1.SwitchSpec{Type: v1alpha1.SwitchForceGroup, ForceGroup: &v1alpha1.ForceGroup{Group: "bypass", Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{Priorities: []v1alpha1.Priority{"P0"}}}}}
	s.Status.ExpiresAt = &metav1.Time{Time: clock.Now().Add(time.Minute)}
	u.Update(groups, defaultRoutes(), []*v1alpha1.Switch{s})
	p0, p1 := attributes(t, "/api/v1/pods", "u", "P0"), attributes(t, "/api/v1/pods", "u", "P1")
	if a, b := routed(t, u, p0, nil), routed(t, u, p1, nil); a != "bypass" || b != "main" {
		t.Errorf("served by %s, others by %s", a, b)
	}
	if by, group, _ := u.Explain(p0); by != "switch/force" || group != "bypass" {
		t.Errorf("explained as %s, %s", by, group)
	}
	kill(u, "bypass")
	if got := routed(t, u, p0, nil); got != "unreachable" {
		t.Errorf("forced to a dead group: served by %s", got)
	}
	clock.Step(2 * time.Minute)
	if got := routed(t, u, p0, nil); got != "main" {
		t.Errorf("after it has expired: served by %s", got)
	}
}

func TestMainIsTheFlagsIfNobodySaysOtherwise(t *testing.T) {
	u, _ := upstream(t, mainAndBypass([]string{"https://a"}, nil))
	u.Update([]*v1alpha1.UpstreamGroup{StaticGroup("other", "https://z")}, nil, nil)
	var got []string
	for _, e := range u.Endpoints() {
		got = append(got, e.Group+"="+e.URL.Host)
	}
	if strings.Join(got, " ") != "main=a other=z" {
		t.Errorf("endpoints %q", got)
	}
	u.Update([]*v1alpha1.UpstreamGroup{StaticGroup("main", "https://b")}, nil, nil)
	if all := u.Endpoints(); len(all) != 1 || all[0].URL.Host != "b" {
		t.Errorf("endpoints %v", all)
	}
}

func TestWhatIsKnownOfAServerOutlivesUpdates(t *testing.T) {
	groups := mainAndBypass([]string{"https://a"}, nil)
	u, _ := upstream(t, groups)
	before := u.Endpoints()[0]
	changed := groups[0].DeepCopy()
	changed.Spec.Servers = append(changed.Spec.Servers, v1alpha1.UpstreamServer{URL: "https://b", Weight: ptr.To[int32](0)})
	u.Update([]*v1alpha1.UpstreamGroup{changed}, nil, nil)
	if u.Endpoints()[0] != before {
		t.Error("the server was forgotten")
	}
	for range 20 {
		if _, e := (&trip{upstream: u, path: &u.table.Load().fallback}).find(time.Unix(1000, 0)); e != before {
			t.Fatalf("a server of weight 0 was chosen: %v", e.URL)
		}
	}
	reverified := changed.DeepCopy()
	reverified.Spec.TLS = &v1alpha1.UpstreamTLS{ServerName: "other"}
	u.Update([]*v1alpha1.UpstreamGroup{reverified}, nil, nil)
	if u.Endpoints()[0] == before {
		t.Error("a server that is verified in another way kept its connections")
	}
}

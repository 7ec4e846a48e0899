package request

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// attributes parses "VERB path" as sent by a client and user.
func attributes(t testing.TB, method, target, userAgent, userName string, groups ...string) *Attributes {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("User-Agent", userAgent)
	r.RemoteAddr = "10.1.2.3:4567"
	a, err := NewParser().Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if userName != "" {
		a.Identity = &Identity{Info: &user.DefaultInfo{Name: userName, Groups: groups}}
	}
	return a
}

func TestMatch(t *testing.T) {
	const pods, prometheus = "/api/v1/pods", "Prometheus/2.53.0"
	clients := func(c v1alpha1.ClientMatch) v1alpha1.Match { return v1alpha1.Match{Clients: c} }
	requests := func(r ...v1alpha1.RequestMatch) v1alpha1.Match { return v1alpha1.Match{Requests: r} }
	for _, tc := range []struct {
		name    string
		match   v1alpha1.Match
		request *Attributes
		want    bool
	}{
		{"empty", v1alpha1.Match{}, attributes(t, "GET", pods, prometheus, ""), true},
		{"name", clients(v1alpha1.ClientMatch{UserAgents: []string{"Prometheus"}}), attributes(t, "GET", pods, prometheus, ""), true},
		{"name in other case", clients(v1alpha1.ClientMatch{UserAgents: []string{"prometheus"}}), attributes(t, "GET", pods, prometheus, ""), false},
		{"prefix", clients(v1alpha1.ClientMatch{UserAgents: []string{"csi-*"}}), attributes(t, "GET", pods, "csi-attacher/v1", ""), true},
		{"prefix only", clients(v1alpha1.ClientMatch{UserAgents: []string{"csi-*"}}), attributes(t, "GET", pods, "my-csi-x/v1", ""), false},
		{"suffix", clients(v1alpha1.ClientMatch{UserAgents: []string{"*-operator"}}), attributes(t, "GET", pods, "my-operator/v1", ""), true},
		{"middle", clients(v1alpha1.ClientMatch{UserAgents: []string{"a*b*c"}}), attributes(t, "GET", pods, "a1b2b3c", ""), true},
		{"middle missing", clients(v1alpha1.ClientMatch{UserAgents: []string{"a*b*c"}}), attributes(t, "GET", pods, "ac", ""), false},
		{"no user agent", clients(v1alpha1.ClientMatch{UserAgents: []string{""}}), attributes(t, "GET", pods, "", ""), true},
		{"some user agent", clients(v1alpha1.ClientMatch{UserAgents: []string{""}}), attributes(t, "GET", pods, "x", ""), false},
		{"any user agent", clients(v1alpha1.ClientMatch{UserAgents: []string{"*"}}), attributes(t, "GET", pods, "", ""), true},
		{"user", clients(v1alpha1.ClientMatch{Users: []string{"alice"}}), attributes(t, "GET", pods, "", "alice"), true},
		{"other user", clients(v1alpha1.ClientMatch{Users: []string{"alice"}}), attributes(t, "GET", pods, "", "bob"), false},
		{"anonymous", clients(v1alpha1.ClientMatch{Users: []string{"system:anonymous"}}), attributes(t, "GET", pods, "", ""), true},
		{"group", clients(v1alpha1.ClientMatch{Groups: []string{"b", "c"}}), attributes(t, "GET", pods, "", "alice", "a", "b"), true},
		{"no group", clients(v1alpha1.ClientMatch{Groups: []string{"c"}}), attributes(t, "GET", pods, "", "alice", "a", "b"), false},
		{"service account", clients(v1alpha1.ClientMatch{ServiceAccounts: []string{"a/b"}}), attributes(t, "GET", pods, "", "system:serviceaccount:a:b"), true},
		{"service accounts of a namespace", clients(v1alpha1.ClientMatch{ServiceAccounts: []string{"a/*"}}), attributes(t, "GET", pods, "", "system:serviceaccount:a:b"), true},
		{"service account elsewhere", clients(v1alpha1.ClientMatch{ServiceAccounts: []string{"a/*"}}), attributes(t, "GET", pods, "", "system:serviceaccount:aa:b"), false},
		{"user called like one", clients(v1alpha1.ClientMatch{ServiceAccounts: []string{"a/*"}}), attributes(t, "GET", pods, "", "a:b"), false},
		{"range", clients(v1alpha1.ClientMatch{SourceCIDRs: []string{"10.0.0.0/8"}}), attributes(t, "GET", pods, "", ""), true},
		{"other range", clients(v1alpha1.ClientMatch{SourceCIDRs: []string{"11.0.0.0/8", "::/0"}}), attributes(t, "GET", pods, "", ""), false},
		{"list", requests(v1alpha1.RequestMatch{Verbs: []string{"list"}}), attributes(t, "GET", pods, "", ""), true},
		{"list is no get", requests(v1alpha1.RequestMatch{Verbs: []string{"get"}}), attributes(t, "GET", pods, "", ""), false},
		{"watch that lists", requests(v1alpha1.RequestMatch{Verbs: []string{"list"}}), attributes(t, "GET", pods+"?watch=true&sendInitialEvents=true", "", ""), true},
		{"watch that lists is a watch", requests(v1alpha1.RequestMatch{Verbs: []string{"watch"}}), attributes(t, "GET", pods+"?watch=true&sendInitialEvents=true", "", ""), true},
		{"watch that resumes is no list", requests(v1alpha1.RequestMatch{Verbs: []string{"list"}}), attributes(t, "GET", pods+"?watch=true&resourceVersion=5", "", ""), false},
		{"resource", requests(v1alpha1.RequestMatch{APIGroups: []string{""}, Resources: []string{"pods"}}), attributes(t, "GET", pods, "", ""), true},
		{"resource in other group", requests(v1alpha1.RequestMatch{APIGroups: []string{""}, Resources: []string{"pods"}}), attributes(t, "GET", "/apis/metrics.k8s.io/v1/pods", "", ""), false},
		{"resource is no subresource", requests(v1alpha1.RequestMatch{Resources: []string{"pods"}}), attributes(t, "PATCH", "/api/v1/namespaces/a/pods/b/status", "", ""), false},
		{"subresource", requests(v1alpha1.RequestMatch{Resources: []string{"pods/status"}}), attributes(t, "PATCH", "/api/v1/namespaces/a/pods/b/status", "", ""), true},
		{"all subresources", requests(v1alpha1.RequestMatch{Resources: []string{"pods/*"}}), attributes(t, "PATCH", "/api/v1/namespaces/a/pods/b/status", "", ""), true},
		{"subresource of all", requests(v1alpha1.RequestMatch{Resources: []string{"*/status"}}), attributes(t, "PATCH", "/api/v1/namespaces/a/pods/b/status", "", ""), true},
		{"all resources have no subresource", requests(v1alpha1.RequestMatch{Resources: []string{"*"}}), attributes(t, "PATCH", "/api/v1/namespaces/a/pods/b/status", "", ""), false},
		{"everything with subresource", requests(v1alpha1.RequestMatch{Resources: []string{"*/*"}}), attributes(t, "PATCH", "/api/v1/namespaces/a/pods/b/status", "", ""), true},
		{"namespace", requests(v1alpha1.RequestMatch{Namespaces: []string{"a"}}), attributes(t, "GET", "/api/v1/namespaces/a/pods", "", ""), true},
		{"no namespace", requests(v1alpha1.RequestMatch{Namespaces: []string{""}}), attributes(t, "GET", pods, "", ""), true},
		{"scope", requests(v1alpha1.RequestMatch{ListScope: v1alpha1.ListScopeCluster}), attributes(t, "GET", "/api/v1/namespaces/a/pods", "", ""), false},
		{"scope of a get", requests(v1alpha1.RequestMatch{ListScope: v1alpha1.ListScopeCluster}), attributes(t, "GET", "/api/v1/nodes/a", "", ""), false},
		{"shape", requests(v1alpha1.RequestMatch{ListShapes: []v1alpha1.ListShape{v1alpha1.ListShapeRV0, v1alpha1.ListShapePaginated}}), attributes(t, "GET", pods+"?limit=5", "", ""), true},
		{"URL", requests(v1alpha1.RequestMatch{NonResourceURLs: []string{"/version"}}), attributes(t, "GET", "/version", "", ""), true},
		{"URL with a slash", requests(v1alpha1.RequestMatch{NonResourceURLs: []string{"/version"}}), attributes(t, "GET", "/version/", "", ""), true},
		{"URL prefix", requests(v1alpha1.RequestMatch{NonResourceURLs: []string{"/openapi/*"}}), attributes(t, "GET", "/openapi/v3", "", ""), true},
		{"URL is no resource", requests(v1alpha1.RequestMatch{NonResourceURLs: []string{"*"}}), attributes(t, "GET", pods, "", ""), false},
		{"resource is no URL", requests(v1alpha1.RequestMatch{Resources: []string{"*"}}), attributes(t, "GET", "/version", "", ""), false},
		{"second request", requests(v1alpha1.RequestMatch{Verbs: []string{"get"}}, v1alpha1.RequestMatch{Verbs: []string{"list"}}), attributes(t, "GET", pods, "", ""), true},
		{"client and request", v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"x"}}, Requests: []v1alpha1.RequestMatch{{Verbs: []string{"list"}}}}, attributes(t, "GET", pods, "y", ""), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := NewMatcher(&tc.match).Matches(tc.request); got != tc.want {
				t.Errorf("matches: %t", got)
			}
			if got := len(NewIndex([]Entry{{Match: tc.match}}).Find(tc.request, nil)) == 1; got != tc.want {
				t.Errorf("found by the index: %t", got)
			}
		})
	}
}

// some returns up to two of the values, or none.
func some[T any](r *rand.Rand, values ...T) []T {
	if r.IntN(2) == 0 {
		return nil
	}
	r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
	return values[:1+r.IntN(2)]
}

func randomMatch(r *rand.Rand) v1alpha1.Match {
	m := v1alpha1.Match{Clients: v1alpha1.ClientMatch{
		UserAgents:      some(r, "", "kubelet", "kube*", "k*t", "*", "csi-*", "*proxy"),
		Users:           some(r, "alice", "system:anonymous", "system:serviceaccount:a:b"),
		Groups:          some(r, "g1", "g2", "system:unauthenticated"),
		ServiceAccounts: some(r, "a/b", "a/*", "b/b"),
		SourceCIDRs:     some(r, "10.0.0.0/8", "192.168.0.0/16", "10.1.2.3/32"),
		Classes:         some(r, "one", "two"),
		Priorities:      some(r, v1alpha1.PriorityP0, v1alpha1.PriorityP4),
	}}
	// Most fields hold for anything, or nothing would ever match.
	for _, clear := range []func(){
		func() { m.Clients.UserAgents = nil }, func() { m.Clients.Users = nil }, func() { m.Clients.Groups = nil },
		func() { m.Clients.ServiceAccounts = nil }, func() { m.Clients.SourceCIDRs = nil },
		func() { m.Clients.Classes = nil }, func() { m.Clients.Priorities = nil },
	} {
		if r.IntN(3) > 0 {
			clear()
		}
	}
	for range r.IntN(3) {
		request := v1alpha1.RequestMatch{Verbs: some(r, "get", "list", "watch", "*", "patch")}
		if r.IntN(5) == 0 {
			request.NonResourceURLs = some(r, "/version", "/api*", "*")
		}
		if len(request.NonResourceURLs) == 0 {
			request.APIGroups = some(r, "", "apps", "*")
			request.Resources = some(r, "pods", "pods/status", "pods/*", "*", "*/*", "*/status")
			request.Namespaces = some(r, "a", "")
			request.ListShapes = some(r, v1alpha1.ListShapeRV0, v1alpha1.ListShapeUnbounded)
			request.ListScope = append(some(r, v1alpha1.ListScopeCluster, v1alpha1.ListScopeNamespace), "")[0]
		}
		m.Requests = append(m.Requests, request)
	}
	return m
}

func randomAttributes(t testing.TB, r *rand.Rand) *Attributes {
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	a := attributes(t, pick("GET", "GET", "GET", "PATCH"),
		pick("/api/v1/pods", "/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/pods/b/status", "/apis/apps/v1/deployments", "/version", "/version/", "/api", "/api/v1/nodes/n")+
			pick("", "?resourceVersion=0", "?watch=1", "?watch=1&resourceVersion=7"),
		pick("", "kubelet/v1", "kube-proxy/v1", "csi-x/v1", "other"),
		pick("", "alice", "bob", "system:serviceaccount:a:b", "system:serviceaccount:b:c"), some(r, "g1", "g2", "g3")...)
	a.SourceIP = netip.MustParseAddr(pick("10.1.2.3", "10.9.9.9", "192.168.1.1", "fd00::1"))
	a.Class = pick("", "one", "two")
	a.Priority = v1alpha1.Priority(pick("", "P0", "P4"))
	return a
}

// FuzzIndex holds the index against the plain reading of the rules.
func FuzzIndex(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, count uint8) {
		r := rand.New(rand.NewPCG(seed, 1))
		entries := make([]Entry, count)
		for i := range entries {
			entries[i].Match = randomMatch(r)
			if r.IntN(3) == 0 {
				entries[i].Except = randomMatch(r)
			}
		}
		index := NewIndex(entries)
		for range 20 {
			a := randomAttributes(t, r)
			var want []int32
			for i := range entries {
				except := NewMatcher(&entries[i].Except)
				if NewMatcher(&entries[i].Match).Matches(a) && (except.empty || !except.Matches(a)) {
					want = append(want, int32(i))
				}
			}
			if got := index.Find(a, nil); !slices.Equal(got, want) {
				t.Fatalf("found %v, want %v", got, want)
			}
		}
	})
}

func TestUserOfManyGroups(t *testing.T) {
	var entries []Entry
	var groups []string
	for i := range 100 {
		groups = append(groups, fmt.Sprintf("group-%d", i))
		entries = append(entries, Entry{Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{Groups: groups[i:], Classes: []string{"c"}, Priorities: []v1alpha1.Priority{"P1"}}}})
	}
	a := attributes(t, "GET", "/api/v1/pods", "x", "alice", groups...)
	a.Class, a.Priority = "c", "P1"
	if got := NewIndex(entries).Find(a, nil); len(got) != 100 {
		t.Errorf("%d of 100 found", len(got))
	}
}

func TestClassOfHighestPrecedenceWins(t *testing.T) {
	class := func(name string, precedence int32, match v1alpha1.ClientMatch, expected *v1alpha1.Identities) *v1alpha1.ClientClass {
		c := &v1alpha1.ClientClass{Spec: v1alpha1.ClientClassSpec{Precedence: precedence, Priority: v1alpha1.PriorityP1, Match: v1alpha1.Match{Clients: match}, ExpectedIdentities: expected}}
		c.Name = name
		return c
	}
	classifier := NewClassifier([]*v1alpha1.ClientClass{
		class("b", 5, v1alpha1.ClientMatch{UserAgents: []string{"kube*"}}, nil),
		class("a", 5, v1alpha1.ClientMatch{UserAgents: []string{"kube-*"}}, nil),
		class("z", 9, v1alpha1.ClientMatch{UserAgents: []string{"kube-proxy"}}, &v1alpha1.Identities{ServiceAccounts: []string{"kube-system/kube-proxy"}}),
	})
	for _, tc := range []struct{ userAgent, userName, class, claimed string }{
		{"kube-x", "", "a", ""},
		{"kubelet", "", "b", ""},
		{"other", "", "unknown", ""},
		{"kube-proxy", "system:serviceaccount:kube-system:kube-proxy", "z", ""},
		{"kube-proxy", "mallory", "unknown", "z"},
		{"kube-proxy", "", "unknown", "z"},
	} {
		class, claimed := classifier.Classify(attributes(t, "GET", "/api/v1/pods", tc.userAgent, tc.userName))
		name := ""
		if claimed != nil {
			name = claimed.Name
		}
		if class.Name != tc.class || name != tc.claimed {
			t.Errorf("%s as %q: class %s, claimed %q", tc.userAgent, tc.userName, class.Name, name)
		}
	}
}

// benchmarkRules are n rules as operators write them, of which the last 3 match.
func benchmarkRules(n int) []Entry {
	var entries []Entry
	for i := range n - 3 {
		var m v1alpha1.Match
		m.Requests = []v1alpha1.RequestMatch{{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"pods"}, ListScope: v1alpha1.ListScopeCluster}}
		switch i % 5 {
		case 0:
			m.Clients.UserAgents = []string{fmt.Sprintf("operator-%d", i)}
		case 1:
			m.Clients.UserAgents = []string{fmt.Sprintf("team-%d-*", i)}
		case 2:
			m.Requests[0].Resources = []string{fmt.Sprintf("resource%d", i)}
		case 3:
			m.Requests[0].Namespaces = []string{fmt.Sprintf("namespace-%d", i)}
		case 4:
			m.Clients.SourceCIDRs = []string{fmt.Sprintf("10.%d.0.0/16", i%256)}
			m.Requests[0].Verbs = []string{"delete"}
		}
		entries = append(entries, Entry{Match: m})
	}
	list := v1alpha1.RequestMatch{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	return append(entries,
		Entry{Match: v1alpha1.Match{Requests: []v1alpha1.RequestMatch{list}}},
		Entry{Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"prometheus*"}}}},
		Entry{Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"prometheus-k8s"}}, Requests: []v1alpha1.RequestMatch{list}}})
}

func BenchmarkIndex(b *testing.B) {
	a := attributes(b, "GET", "/api/v1/pods", "prometheus-k8s/v1", "system:serviceaccount:monitoring:prometheus", "system:serviceaccounts", "system:authenticated")
	for _, n := range []int{3, 50, 500, 5000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			index := NewIndex(benchmarkRules(n))
			hits := make([]int32, 0, 16)
			b.ReportAllocs()
			for b.Loop() {
				if hits = index.Find(a, hits[:0]); len(hits) != 3 {
					b.Fatal(hits)
				}
			}
		})
	}
}

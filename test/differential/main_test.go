package differential

import (
	"context"
	"crypto/tls"
	"flag"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/cache"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// bootTimeout covers building the gateway and booting on a busy machine.
const bootTimeout = 10 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	// Many cases wait for a server more than they work.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// table is all cases.
func table() []group {
	return []group{
		reads, encodings, atSeed, resourceVersions, selectors, watches, writes, patches, applies, subresources, customResources,
		nonResource, paths, queries, badBodies, framing, credentials, impersonations, reviews,
	}
}

// variant is a kind of gateway: how it says who the user is, and whether it answers
// reads from a cache.
type variant struct {
	mode   fixture.Mode
	cached bool
}

func (v variant) String() string {
	if v.cached {
		return string(v.mode) + " with a cache"
	}
	return string(v.mode)
}

// variants are all of them.
func variants() (all []variant) {
	for _, cached := range []bool{false, true} {
		for _, mode := range fixture.Modes() {
			all = append(all, variant{mode, cached})
		}
	}
	return all
}

// bench is one kube-apiserver and a gateway of each variant. There is only one
// server, so that all answers come from the same caches.
type bench struct {
	cluster  *cluster.Cluster
	direct   *side
	gateways map[variant]*side
	nodes    map[variant]*fixture.Gateway
}

// sides are all of them.
func (b *bench) sides() []*side {
	all := []*side{b.direct}
	for _, v := range variants() {
		all = append(all, b.gateways[v])
	}
	return all
}

func TestDifferential(t *testing.T) {
	accepted, err := loadExceptions()
	if err != nil {
		t.Fatal(err)
	}
	groups := table()
	for _, wrong := range accepted.misnamed(groups) {
		t.Errorf("exceptions.yaml: %s", wrong)
	}
	b := boot(t)
	stopNoise := startNoise(t, b)
	t.Run("table", func(t *testing.T) {
		for _, g := range groups {
			t.Run(g.name, func(t *testing.T) {
				t.Parallel()
				for _, tc := range g.cases {
					t.Run(tc.name, func(t *testing.T) {
						t.Parallel()
						tc.name = g.name + "/" + tc.name
						b.run(t, tc, accepted)
					})
				}
			})
		}
	})
	stopNoise()
	for _, stale := range accepted.stale() {
		t.Errorf("exceptions.yaml: %s", stale)
	}
	t.Run("audit", func(t *testing.T) { testAudit(t, b) })
	t.Run("revocation", func(t *testing.T) { testRevocation(t, b) })
	t.Run("cache", func(t *testing.T) { testHits(t, b) })
	t.Run("outlines", func(t *testing.T) { testOutlines(t, b) })
	t.Run("cached resources", func(t *testing.T) { testCachedResources(t, b) })
	for _, node := range b.nodes {
		if err := node.Panics(); err != nil {
			t.Error(err)
		}
	}
}

// TestCaseNamesAreUnique keeps cases from sharing objects and exceptions.
func TestCaseNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	count := 0
	for _, g := range table() {
		for _, tc := range g.cases {
			me := variables{}.of(g.name + "/" + tc.name)["ME"]
			if seen[me] {
				t.Errorf("%s/%s: another case has this name, or its $ME", g.name, tc.name)
			}
			if strings.ContainsAny(tc.name, `/*?[\`) {
				t.Errorf("%s/%s: the name has a character that patterns use", g.name, tc.name)
			}
			seen[me] = true
			count++
		}
	}
	if count < 250 {
		t.Errorf("%d cases, want 250 at least", count)
	}
	t.Logf("%d cases", count)
}

func boot(t *testing.T) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{
		Dir: t.TempDir(), MainServers: 1, BypassServers: -1, Progress: t.Output(),
		// For the revision that is compacted, nothing else may compact.
		ExtraAPIServerArgs: []string{"--etcd-compaction-interval=0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	binary, err := fixture.BuildGateway(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certs, err := identities(c)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{cluster: c, gateways: map[variant]*side{}, nodes: map[variant]*fixture.Gateway{}}
	b.direct = newSide(t, c, "direct", c.Servers(cluster.GroupMain)[0], "diff-d", certs)
	for v, namespace := range map[variant]string{
		{fixture.FrontProxy, false}: "diff-f", {fixture.Impersonation, false}: "diff-i",
		{fixture.FrontProxy, true}: "diff-g", {fixture.Impersonation, true}: "diff-j",
	} {
		name, args := "gateway-"+string(v.mode), []string(nil)
		if v.cached {
			name, args = name+"-cached", []string{"--cache-resources", strings.Join(append(cache.Known(), "widgets.v1.diff.example.com"), ",")}
		}
		g, err := fixture.AddGateway(ctx, c, binary, name, v.mode, args...)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.NeverShed(ctx); err != nil {
			t.Fatal(err)
		}
		b.nodes[v] = g
		b.gateways[v] = newSide(t, c, v.String(), g.URL(), namespace, certs)
	}
	if err := seed(ctx, b); err != nil {
		t.Fatal(err)
	}
	for v, node := range b.nodes {
		if !v.cached {
			continue
		}
		// Its definition has come after the gateway.
		if err := node.AwaitCached(ctx, "widgets.diff.example.com"); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func newSide(t *testing.T, c *cluster.Cluster, name, server, namespace string, certs map[string]*tls.Certificate) *side {
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := rootsOf(c)
	if err != nil {
		t.Fatal(err)
	}
	s := &side{
		name: name, host: u.Host, roots: roots, certs: certs,
		variables:  variables{"NS": namespace, "SHARED": "diff-shared"},
		transports: map[string]*http.Transport{},
	}
	t.Cleanup(func() {
		for _, transport := range s.transports {
			transport.CloseIdleConnections()
		}
	})
	return s
}

// run sends a case to all sides and compares.
func (b *bench) run(t *testing.T, tc testCase, accepted *exceptions) {
	sides := b.sides()
	answers := make([][]answer, len(sides))
	errs := make(chan error, len(sides))
	for i, s := range sides {
		go func() {
			var err error
			answers[i], err = s.play(t.Context(), tc)
			errs <- err
		}()
	}
	for range sides {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		return
	}
	for i, a := range answers[0] {
		t.Logf("step %d, direct: %s", i, a.summary())
	}
	for i, v := range variants() {
		accepted.ran(tc.name, v)
		for _, d := range compare(tc, answers[0], answers[1+i]) {
			if !accepted.accept(tc.name, v, d) {
				t.Errorf("%s: %s", v, d)
			}
		}
	}
}

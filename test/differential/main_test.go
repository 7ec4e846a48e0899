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
		reads, encodings, resourceVersions, selectors, watches, writes, patches, applies, subresources, customResources,
		nonResource, paths, queries, badBodies, framing, credentials, impersonations, reviews,
	}
}

// bench is one kube-apiserver and a gateway for each identity mode. There is
// only one server, so that all answers come from the same caches.
type bench struct {
	cluster  *cluster.Cluster
	direct   *side
	gateways map[fixture.Mode]*side
	nodes    map[fixture.Mode]*fixture.Gateway
}

// sides are all of them.
func (b *bench) sides() []*side {
	all := []*side{b.direct}
	for _, mode := range fixture.Modes() {
		all = append(all, b.gateways[mode])
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
	b := &bench{cluster: c, gateways: map[fixture.Mode]*side{}, nodes: map[fixture.Mode]*fixture.Gateway{}}
	b.direct = newSide(t, c, "direct", c.Servers(cluster.GroupMain)[0], "diff-d", certs)
	for mode, namespace := range map[fixture.Mode]string{fixture.FrontProxy: "diff-f", fixture.Impersonation: "diff-i"} {
		g, err := fixture.AddGateway(ctx, c, binary, "gateway-"+string(mode), mode)
		if err != nil {
			t.Fatal(err)
		}
		b.nodes[mode] = g
		b.gateways[mode] = newSide(t, c, string(mode), g.URL(), namespace, certs)
	}
	if err := seed(ctx, b); err != nil {
		t.Fatal(err)
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
	for i, mode := range fixture.Modes() {
		accepted.ran(tc.name, mode)
		for _, d := range compare(tc, answers[0], answers[1+i]) {
			if !accepted.accept(tc.name, mode, d) {
				t.Errorf("%s: %s", mode, d)
			}
		}
	}
}

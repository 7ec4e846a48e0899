package failover

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const bootTimeout = 4 * time.Minute

// What the tests of this process share. Each part is made when a test first needs
// it, so that one test alone does not wait for the rest.
var (
	suite      = fixture.NewSuite("failover")
	theCluster = sync.OnceValues(startCluster)
	// plain is the gateway as it is installed, for what is measured.
	plain  = sync.OnceValues(func() (string, error) { return suite.Compile("asi-gateway-plain", "./cmd/asi-gateway") })
	sender = sync.OnceValues(func() (string, error) { return suite.Compile("traffic", "./test/failover/traffic/cmd") })

	measured   = sync.OnceValues(func() (*fixture.Gateway, error) { return startGateway("measured", plain, fixture.FrontProxy) })
	frontProxy = sync.OnceValues(func() (*fixture.Gateway, error) {
		return startGateway("front-proxy", suite.Gateway, fixture.FrontProxy)
	})
	impersonator = sync.OnceValues(func() (*fixture.Gateway, error) {
		return startGateway("impersonator", suite.Gateway, fixture.Impersonation)
	})
)

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

// startCluster starts two groups of two kube-apiservers, with what clients read.
func startCluster() (*cluster.Cluster, error) {
	c, err := suite.StartCluster(cluster.Options{MainServers: 2, BypassServers: 2})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	return c, seed(ctx, c)
}

// startGateway starts a gateway with the policies of this package in force.
func startGateway(name string, binary func() (string, error), mode fixture.Mode) (*fixture.Gateway, error) {
	c, err := theCluster()
	if err != nil {
		return nil, err
	}
	path, err := binary()
	if err != nil {
		return nil, err
	}
	policies, err := writePolicies()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	g, err := fixture.AddGateway(ctx, c, path, name, mode, "--policy-dir", policies)
	if err != nil {
		return nil, err
	}
	return g, awaitPolicies(ctx, g)
}

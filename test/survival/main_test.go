package survival

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	bootTimeout = 4 * time.Minute
	// nodes are kwok's, for the Deployment.
	nodes = 3
)

// What the tests of this process share. Each part is made when a test first needs
// it, so that one test alone does not wait for the rest.
var (
	suite    = fixture.NewSuite("survival")
	theStack = sync.OnceValues(startStack)
)

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

// stack is two main apiservers and a bypass one, and the gateways before them.
type stack struct {
	*cluster.Cluster
	// gateways are one that asserts identities as a front proxy and, in soak, one that
	// impersonates.
	gateways []*fixture.Gateway
}

func startStack() (*stack, error) {
	binary, err := suite.Gateway()
	if err != nil {
		return nil, err
	}
	// With leases, controllers that cannot reach an apiserver for 10 s end themselves.
	c, err := suite.StartCluster(cluster.Options{LeaderElect: true, Nodes: nodes})
	if err != nil {
		return nil, err
	}
	boot, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	s := &stack{Cluster: c}
	modes := fixture.Modes()
	if !fixture.Soak() {
		modes = modes[:1]
	}
	for _, mode := range modes {
		g, err := fixture.AddGateway(boot, s.Cluster, binary, "gateway-"+string(mode), mode)
		if err != nil {
			return nil, err
		}
		// What survives is the question, and not who waits while it does.
		if err := g.NeverShed(boot); err != nil {
			return nil, err
		}
		s.gateways = append(s.gateways, g)
	}
	return s, nil
}

// servers are all apiservers, those of main first.
func (s *stack) servers() []*cluster.Process {
	var servers []*cluster.Process
	for _, name := range []string{"main-0", "main-1", "bypass-0"} {
		servers = append(servers, s.Process(name))
	}
	return servers
}

package survival

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	bootTimeout  = 4 * time.Minute
	buildTimeout = 40 * time.Minute
	// nodes are kwok's, for the Deployment.
	nodes = 3
)

// soak tells whether there is time for long tests.
var soak = os.Getenv("ASI_SOAK") == "1"

// What the tests of this process share. Each part is made when a test first needs
// it, so that one test alone does not wait for the rest.
var (
	tempDir       = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "asi-survival-") })
	gatewayBinary = sync.OnceValues(buildGateway)
	theStack      = sync.OnceValues(startStack)
)

// started is the cluster, for TestMain to stop it.
var started *cluster.Cluster

func TestMain(m *testing.M) {
	// client-go reports there what tests provoke.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	code := m.Run()
	if started != nil {
		if err := started.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "closing the cluster: %v\n", err)
			code = 1
		}
	}
	dir, err := tempDir()
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintf(os.Stderr, "removing the temporary folder: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func buildGateway() (string, error) {
	dir, err := tempDir()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	return fixture.BuildGateway(ctx, dir)
}

// stack is two main apiservers and a bypass one, and the gateways before them.
type stack struct {
	*cluster.Cluster
	// gateways are one that asserts identities as a front proxy and, in soak, one that
	// impersonates.
	gateways []*fixture.Gateway
}

func startStack() (*stack, error) {
	binary, err := gatewayBinary()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	binDir, err := cluster.Build(ctx, cluster.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	boot, cancelBoot := context.WithTimeout(context.Background(), bootTimeout)
	defer cancelBoot()
	// With leases, controllers that cannot reach an apiserver for 10 s end themselves.
	started, err = cluster.Start(boot, cluster.Options{BinDir: binDir, LeaderElect: true, Nodes: nodes})
	if err != nil {
		return nil, err
	}
	s := &stack{Cluster: started}
	modes := fixture.Modes()
	if !soak {
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

package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
)

// What the tests of this process share. Each part is made when a test first needs
// it, so that one test alone does not wait for the rest.
var (
	tempDir    = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "asi-failover-") })
	theCluster = sync.OnceValues(startCluster)
	// plain is the gateway as it is installed, for what is measured; checked has the
	// race detector, if the test has it.
	plain   = sync.OnceValues(func() (string, error) { return compile("asi-gateway-plain", "./cmd/asi-gateway") })
	checked = sync.OnceValues(func() (string, error) { return build(fixture.BuildGateway) })
	sender  = sync.OnceValues(func() (string, error) { return compile("traffic", "./test/failover/traffic/cmd") })

	measured     = sync.OnceValues(func() (*fixture.Gateway, error) { return startGateway("measured", plain, fixture.FrontProxy) })
	frontProxy   = sync.OnceValues(func() (*fixture.Gateway, error) { return startGateway("front-proxy", checked, fixture.FrontProxy) })
	impersonator = sync.OnceValues(func() (*fixture.Gateway, error) { return startGateway("impersonator", checked, fixture.Impersonation) })
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

// soak tells whether there is time for long tests.
func soak() bool { return os.Getenv("ASI_SOAK") == "1" }

func build(how func(context.Context, string) (string, error)) (string, error) {
	dir, err := tempDir()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	return how(ctx, dir)
}

// compile builds a command of the module as `make build` does.
func compile(name, pkg string) (string, error) {
	return build(func(ctx context.Context, dir string) (string, error) {
		root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
		if err != nil {
			return "", err
		}
		binary := filepath.Join(dir, name)
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", binary, pkg)
		cmd.Dir, cmd.Env = strings.TrimSpace(string(root)), append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
		return binary, nil
	})
}

// startCluster starts two groups of two kube-apiservers, with what clients read.
func startCluster() (*cluster.Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	binDir, err := cluster.Build(ctx, cluster.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	boot, cancelBoot := context.WithTimeout(context.Background(), bootTimeout)
	defer cancelBoot()
	started, err = cluster.Start(boot, cluster.Options{BinDir: binDir, MainServers: 2, BypassServers: 2})
	if err != nil {
		return nil, err
	}
	return started, seed(boot, started)
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

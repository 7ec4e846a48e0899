package consistency

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

const (
	bootTimeout  = 4 * time.Minute
	buildTimeout = 40 * time.Minute
)

// soak tells whether there is time for long tests.
var soak = os.Getenv("ASI_SOAK") == "1"

// What the tests of this process share. Each part is made when a test first needs
// it, so that those of the checks alone do not wait for it.
var (
	tempDir    = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "asi-consistency-") })
	theCluster = sync.OnceValues(startCluster)
)

// started is the cluster, for TestMain to stop it.
var started *cluster.Cluster

func TestMain(m *testing.M) {
	// client-go reports there what tests provoke.
	klog.SetLogger(logr.Discard())
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

// startCluster starts two kube-apiservers in one group: the gateways choose freely
// between them.
func startCluster() (*cluster.Cluster, error) {
	build, cancelBuild := context.WithTimeout(context.Background(), buildTimeout)
	defer cancelBuild()
	binDir, err := cluster.Build(build, cluster.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	boot, cancelBoot := context.WithTimeout(context.Background(), bootTimeout)
	defer cancelBoot()
	started, err = cluster.Start(boot, cluster.Options{BinDir: binDir, MainServers: 2, BypassServers: -1})
	return started, err
}

package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
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
	nodes        = 20
)

// What the tests of this process share. Each part is made when a test first needs
// it, so that one test alone does not wait for the rest.
var (
	tempDir       = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "asi-clients-") })
	gatewayBinary = sync.OnceValues(buildGateway)
	sharedStack   = sync.OnceValues(startShared)
)

// used tells whether a stack has been started, for TestMain to stop it.
var used struct {
	sync.Mutex
	stacks []*stack
}

func TestMain(m *testing.M) {
	// client-go reports there what tests provoke.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	code := m.Run()
	for _, s := range used.stacks {
		if err := s.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "closing a cluster: %v\n", err)
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

// stack is a cluster with a gateway for each identity mode before it.
type stack struct {
	*cluster.Cluster
	binary   string
	gateways map[fixture.Mode]*fixture.Gateway
	// echo answers every port of every pod with the bytes it gets.
	echo net.Listener
}

// startShared starts the stack for all tests that break nothing which others need.
func startShared() (*stack, error) {
	return startStack(cluster.Options{
		LeaderElect: true,
		Nodes:       nodes,
		// Has an aggregated apiserver reached by the name of its Service: on loopback,
		// where it has no endpoint.
		ExtraAPIServerArgs: []string{"--enable-aggregator-routing=false"},
	})
}

func startStack(options cluster.Options, args ...string) (*stack, error) {
	binary, err := gatewayBinary()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	if options.BinDir, err = cluster.Build(ctx, cluster.BuildOptions{Progress: os.Stderr}); err != nil {
		return nil, err
	}
	boot, cancelBoot := context.WithTimeout(context.Background(), bootTimeout)
	defer cancelBoot()
	c, err := cluster.Start(boot, options)
	if err != nil {
		return nil, err
	}
	s := &stack{Cluster: c, binary: binary, gateways: map[fixture.Mode]*fixture.Gateway{}}
	used.Lock()
	used.stacks = append(used.stacks, s)
	used.Unlock()
	if err := s.servePods(); err != nil {
		return nil, err
	}
	for _, mode := range fixture.Modes() {
		if s.gateways[mode], err = fixture.AddGateway(boot, c, binary, "gateway-"+string(mode), mode, args...); err != nil {
			return nil, err
		}
		if err := s.gateways[mode].NeverShed(boot); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close stops everything. A second call does nothing.
func (s *stack) Close() error {
	if s.echo != nil {
		s.echo.Close()
	}
	return s.Cluster.Close()
}

// servePods has port-forwards end at an echo server of this process, so that
// tests know which bytes must come back. It must be called before kwok starts.
func (s *stack) servePods() error {
	var err error
	if s.echo, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	go func() {
		for {
			conn, err := s.echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	path := filepath.Join(s.Dir(), "config", "kwok-pods.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	target := regexp.MustCompile(`(?m)^(\s+)port: \d+$`)
	if len(target.FindAll(config, -1)) != 1 {
		return fmt.Errorf("%s: want one port to forward to", path)
	}
	port := s.echo.Addr().(*net.TCPAddr).Port
	return os.WriteFile(path, target.ReplaceAll(config, fmt.Appendf(nil, "${1}port: %d", port)), 0o644)
}

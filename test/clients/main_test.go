package clients

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	bootTimeout = 4 * time.Minute
	nodes       = 20
)

// What the tests of this process share. Each part is made when a test first needs
// it, so that one test alone does not wait for the rest.
var (
	suite       = fixture.NewSuite("clients")
	sharedStack = sync.OnceValues(startShared)
)

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

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
	binary, err := suite.Gateway()
	if err != nil {
		return nil, err
	}
	c, err := suite.StartCluster(options)
	if err != nil {
		return nil, err
	}
	boot, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	s := &stack{Cluster: c, binary: binary, gateways: map[fixture.Mode]*fixture.Gateway{}}
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

package limits

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	bootTimeout = 4 * time.Minute
	// replicas is how many gateways share an etcd and a Redis.
	replicas = 3
)

// What the tests of this process share. Each part is made when a test first needs
// it, so that one test alone does not wait for the rest.
var (
	suite       = fixture.NewSuite("limits")
	theCluster  = sync.OnceValues(startCluster)
	soloGateway = sync.OnceValues(startSolo)
	theFleet    = sync.OnceValues(startFleet)
	// plain is the gateway as it is installed, without the race detector: for what
	// is measured.
	plain    = sync.OnceValues(func() (string, error) { return suite.Compile("asi-gateway-plain", "./cmd/asi-gateway") })
	loader   = sync.OnceValues(func() (string, error) { return suite.Compile("load", "./test/limits/load/cmd") })
	intruder = sync.OnceValues(func() (string, error) { return suite.Compile("intruder", "./test/limits/intruder") })
)

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

// startCluster starts one kube-apiserver: what is limited does not come to more.
func startCluster() (*cluster.Cluster, error) {
	return suite.StartCluster(cluster.Options{MainServers: 1, BypassServers: -1})
}

// startSolo starts a gateway with a store of its own and the race detector, if the
// test has it.
func startSolo() (*fixture.Gateway, error) {
	c, err := theCluster()
	if err != nil {
		return nil, err
	}
	binary, err := suite.Gateway()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	g, err := fixture.AddGateway(ctx, c, binary, "solo", fixture.FrontProxy)
	if err != nil {
		return nil, err
	}
	// Limits are to be what refuses.
	return g, g.NeverShed(ctx)
}

// fleet is gateways that share an etcd for policies and a Redis for counters.
type fleet struct {
	*cluster.Cluster
	gateways []*fixture.Gateway
	redis    *cluster.Process
}

func startFleet() (*fleet, error) {
	c, err := theCluster()
	if err != nil {
		return nil, err
	}
	binary, err := plain()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	f := &fleet{Cluster: c}
	etcd, err := addEtcd(ctx, c)
	if err != nil {
		return nil, err
	}
	if f.redis, err = addRedis(ctx, c); err != nil {
		return nil, err
	}
	for i := range replicas {
		// The last one meets a client in another identity mode.
		mode := []fixture.Mode{fixture.FrontProxy, fixture.Impersonation}[i/(replicas-1)]
		g, err := fixture.AddGateway(ctx, c, binary, fmt.Sprintf("replica-%d", i), mode,
			"--etcd-servers", etcd.URL(), "--redis", f.redis.URL(),
			// As busy gateways are run: a line for each refusal of a flood is more work
			// than the refusal.
			"--access-log-every", "1000")
		if err != nil {
			return nil, err
		}
		f.gateways = append(f.gateways, g)
	}
	if err := f.gateways[0].NeverShed(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// addEtcd starts an etcd apart from the kube-apiservers', as replicas share it.
func addEtcd(ctx context.Context, c *cluster.Cluster) (*cluster.Process, error) {
	ports, err := fixture.FreePorts(2)
	if err != nil {
		return nil, err
	}
	client, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	etcd, err := c.Add(cluster.Spec{
		Name: "policy-etcd",
		Path: filepath.Join(c.BinDir(), "etcd"),
		Args: []string{
			"--name=policies", "--data-dir=" + filepath.Join(c.Dir(), "policy-etcd"),
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=policies=" + peer, "--unsafe-no-fsync", "--log-level=warn",
		},
		URL:   client,
		Ready: cluster.Probe{URL: client + "/readyz"},
	})
	if err != nil {
		return nil, err
	}
	return etcd, etcd.Start(ctx)
}

// addRedis starts a Redis without persistence: one that is killed forgets.
func addRedis(ctx context.Context, c *cluster.Cluster) (*cluster.Process, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("the Debian package redis-server is not installed (make deps): %w", err)
	}
	ports, err := fixture.FreePorts(1)
	if err != nil {
		return nil, err
	}
	redis, err := c.Add(cluster.Spec{
		Name: "redis",
		Path: path,
		Args: []string{"--bind", "127.0.0.1", "--port", ports[0], "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", c.Dir()},
		URL:  "redis://127.0.0.1:" + ports[0],
	})
	if err != nil {
		return nil, err
	}
	if err := redis.Start(ctx); err != nil {
		return nil, err
	}
	return redis, fixture.Poll(ctx, func(ctx context.Context) error { return listens(ctx, "127.0.0.1:"+ports[0]) })
}

func listens(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	bootTimeout = 4 * time.Minute
	// stallTimeout and requestTimeout are what the gateways are started with.
	stallTimeout   = 2 * time.Second
	requestTimeout = 3 * time.Second
)

// What the tests of this process share, made when a test first needs it.
var (
	suite       = fixture.NewSuite("attack")
	sharedStage = sync.OnceValues(boot)
	// staged tells that there is one.
	staged atomic.Bool
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Most attacks wait more than they work.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(suite.Run(m, func() error {
		if !staged.Load() {
			return nil
		}
		s, err := sharedStage()
		if err != nil {
			return nil // The tests have said so.
		}
		return errors.Join(checkLogs(s), checkGoroutines(s))
	}))
}

// stage is one kube-apiserver, and a gateway for each identity mode.
type stage struct {
	cluster *cluster.Cluster
	admin   *kubernetes.Clientset
	direct  *side
	through []*side
}

// side is a server that attacks are sent to.
type side struct {
	name  string
	host  string // host:port
	roots *x509.CertPool
	certs map[string]*tls.Certificate
	// gateway is nil for the kube-apiserver itself.
	gateway *fixture.Gateway
	mode    fixture.Mode
	// first are the gauges before all tests.
	first map[string]float64
}

// sides are all of them, the kube-apiserver first.
func (s *stage) sides() []*side { return append([]*side{s.direct}, s.through...) }

// theStage returns the shared stage, and fails the test if a gateway panicked.
func theStage(t *testing.T) *stage {
	t.Helper()
	s, err := sharedStage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, side := range s.through {
			if err := side.gateway.Panics(); err != nil {
				t.Error(err)
			}
			if !side.gateway.Running() {
				t.Errorf("%s has ended: %v", side.name, side.gateway.ExitErr())
			}
		}
	})
	return s
}

func boot() (*stage, error) {
	staged.Store(true)
	path, err := suite.Gateway()
	if err != nil {
		return nil, err
	}
	c, err := suite.StartCluster(cluster.Options{
		MainServers: 1, BypassServers: -1,
		// An aggregated server then is reached by the name of its Service, which
		// may be one on loopback.
		ExtraAPIServerArgs: []string{"--enable-aggregator-routing=false"},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	s := &stage{cluster: c}
	if s.admin, err = kubernetes.NewForConfig(c.RESTConfig(c.Servers(cluster.GroupMain)[0])); err != nil {
		return nil, err
	}
	certs, err := identities(c)
	if err != nil {
		return nil, err
	}
	if s.direct, err = newSide(c, "direct", c.Servers(cluster.GroupMain)[0], certs); err != nil {
		return nil, err
	}
	for _, mode := range fixture.Modes() {
		// At debug level, net/http's complaints are in the log, too.
		g, err := fixture.AddGateway(ctx, c, path, "gateway-"+string(mode), mode, "--log-level", "debug",
			"--stall-timeout", stallTimeout.String(), "--request-timeout", requestTimeout.String())
		if err != nil {
			return nil, err
		}
		through, err := newSide(c, string(mode), g.URL(), certs)
		if err != nil {
			return nil, err
		}
		through.gateway, through.mode = g, mode
		if err := g.NeverShed(ctx); err != nil {
			return nil, err
		}
		if through.first, err = through.gauges(ctx); err != nil {
			return nil, err
		}
		s.through = append(s.through, through)
	}
	return s, seed(ctx, s.admin)
}

func newSide(c *cluster.Cluster, name, server string, certs map[string]*tls.Certificate) (*side, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CACert()) {
		return nil, errors.New("the cluster's CA holds no certificate")
	}
	return &side{name: name, host: u.Host, roots: roots, certs: certs}, nil
}

// eventually polls until condition returns nil.
func eventually(t *testing.T, within time.Duration, condition func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %v", within, err)
		case <-t.Context().Done():
			t.Fatal(err)
		}
	}
}

// serviceAccountToken makes an account in namespace attack and a token for it.
func serviceAccountToken(ctx context.Context, admin kubernetes.Interface, name string) (string, error) {
	request, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, tokenRequest(), metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

package consistency

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	bootTimeout  = 4 * time.Minute
	buildTimeout = 40 * time.Minute
)

// What the tests of this process share. Each part is made when a test first needs
// it, so that those of the checks alone do not wait for it.
var (
	suite      = fixture.NewSuite("consistency")
	theCluster = sync.OnceValues(startCluster)
)

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

// startCluster starts two kube-apiservers in one group: the gateways choose freely
// between them.
func startCluster() (*cluster.Cluster, error) {
	return suite.StartCluster(cluster.Options{MainServers: 2, BypassServers: -1})
}

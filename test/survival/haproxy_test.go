package survival

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// haproxyConfig is a plain load balancer as the Kubernetes documentation sets one up
// before a control plane: bytes go through as they are, servers are asked for /readyz
// every two seconds. The bypass server is to it what it is to the gateway.
const haproxyConfig = `global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend in
    bind 127.0.0.1:%s
    default_backend apiservers
backend apiservers
    balance leastconn
    option httpchk
    http-check connect ssl
    http-check send meth GET uri /readyz
    http-check expect status 200
    default-server check check-ssl verify none inter 2s fall 3 rise 2
`

// startHAProxy returns the address of an HAProxy before the apiservers.
func (e *env) startHAProxy(t *testing.T) string {
	t.Helper()
	binary, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatalf("the Debian package haproxy is not installed (make deps): %v", err)
	}
	ports, err := fixture.FreePorts(1)
	must(t, err)
	config := fmt.Sprintf(haproxyConfig, ports[0])
	for _, p := range e.servers() {
		config += fmt.Sprintf("    server %s %s", p.Name(), strings.TrimPrefix(p.URL(), "https://"))
		if strings.HasPrefix(p.Name(), cluster.GroupBypass) {
			config += " backup"
		}
		config += "\n"
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	must(t, os.WriteFile(file, []byte(config), 0o600))
	haproxy, err := e.Add(cluster.Spec{Name: "haproxy", Path: binary, Args: []string{"-db", "-f", file}})
	must(t, err)
	must(t, haproxy.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := haproxy.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	address := "127.0.0.1:" + ports[0]
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return "https://" + address
}

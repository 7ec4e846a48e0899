package deploy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	// clientAddress is where clients connect from; only Linux has more than one
	// loopback address without being told.
	clientAddress = "127.0.0.2"
	// shutdownDelay is the flag's default: what deploy/haproxy.cfg is made for.
	shutdownDelay = 5 * time.Second
	shutdownGrace = 4 * time.Second
	// recovery bounds how long clients may be without service after a kill.
	recovery = 5 * time.Second
)

// TestGatewaysBehindHAProxy kills one of two gateways under load, brings it back,
// and then drains the other.
func TestGatewaysBehindHAProxy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	// HAProxy reaches the gateways by an address that is not loopback, and comes from
	// it. Loopback may not send headers: so asks the fixture whether they are ready.
	own := ownAddress(t)
	var gateways []*fixture.Gateway
	for i, mode := range fixture.Modes() {
		g, err := fixture.AddGateway(ctx, c, binary, fmt.Sprintf("gateway-haproxy-%d", i), mode,
			"--bind-address", "0.0.0.0", "--etcd-servers", c.EtcdURL(),
			"--proxy-protocol-from", own+"/32", "--goaway-chance", "0.02",
			"--shutdown-delay-duration", shutdownDelay.String(), "--shutdown-grace-period", shutdownGrace.String())
		if err != nil {
			t.Fatal(err)
		}
		gateways = append(gateways, g)
	}
	if err := gateways[0].NeverShed(ctx); err != nil {
		t.Fatal(err)
	}
	killed, drained := gateways[0], gateways[1]
	haproxy := startHAProxy(ctx, t, own, gateways)
	direct, err := kubernetes.NewForConfig(c.RESTConfig(c.Servers(cluster.GroupMain)[0]))
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := direct.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "haproxy-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sharePolicies(ctx, t, gateways)

	tr, stop := startTraffic(t, c.RESTConfig(haproxy.URL()), namespace.Name)
	phase := func(name string, fine func(failure) bool, happen func()) {
		t.Helper()
		start, before := time.Now(), tr.reconnects.Load()
		happen()
		calls, wire := tr.failures()
		for _, f := range slices.Concat(calls, wire) {
			t.Logf("%s: %s after %s: %v", name, f.client, f.when.Sub(start).Round(time.Millisecond), f.err)
			if !fine(f) {
				t.Errorf("%s: that was not to happen", name)
			}
		}
		t.Logf("%s: %s, %d calls failed, %d failures on the wire, %d reconnects of 5 clients that keep their connection",
			name, time.Since(start).Round(time.Millisecond), len(calls), len(wire), tr.reconnects.Load()-before)
	}
	none := func(failure) bool { return false }

	phase("both gateways", none, func() {
		tr.mustGoOn(t, direct, 50, 30*time.Second)
		for _, g := range gateways {
			if writes(ctx, t, g) == 0 {
				t.Errorf("%s has had no writes", g.Name())
			}
		}
		checkSource(ctx, t, tr)
	})
	phase("one killed", func(f failure) bool { return connectionLost(f.err) }, func() {
		before := tr.reconnects.Load()
		if err := killed.Kill(); err != nil {
			t.Fatal(err)
		}
		tr.mustGoOn(t, direct, 1, recovery)
		if tr.reconnects.Load() == before {
			t.Error("nobody had a connection to it")
		}
	})
	phase("one dead", none, func() { tr.mustGoOn(t, direct, 50, 30*time.Second) })
	phase("one back", none, func() {
		if err := killed.Start(ctx); err != nil {
			t.Fatal(err)
		}
		// Nobody tells the writers to connect anew but GOAWAYs, and HAProxy gives it its
		// share over 30 s (slowstart).
		fixture.Eventually(t, time.Minute, func(context.Context) error {
			if writes(ctx, t, killed) == 0 {
				return fmt.Errorf("no client has come back to %s", killed.Name())
			}
			return nil
		})
		tr.mustGoOn(t, direct, 50, 30*time.Second)
	})
	phase("the other drained", none, func() {
		if watches(ctx, t, drained) == 0 {
			t.Errorf("%s has no watches to end", drained.Name())
		}
		gone := make(chan error, 1)
		go func() { gone <- drained.Stop(ctx) }()
		// From then on it has every answer end its connection: what came back to it
		// would do so for each request.
		fixture.Eventually(t, shutdownDelay/2, func(context.Context) error {
			log, err := os.ReadFile(haproxy.LogFile())
			if err == nil && !bytes.Contains(log, []byte("Server asi-gateway/gateway-1 is DOWN")) {
				err = errors.New("HAProxy has not noticed that the gateway is on its way out")
			}
			return err
		})
		if err := <-gone; err != nil {
			t.Fatal(err)
		}
		if err := drained.ExitErr(); err != nil {
			t.Errorf("the drained gateway ended with %v", err)
		}
		tr.mustGoOn(t, direct, 50, 30*time.Second)
	})
	stop()
	tr.checkEnd(t, direct)
	for _, g := range gateways {
		checkRemotes(t, g)
		if err := g.Panics(); err != nil {
			t.Error(err)
		}
	}
}

// startHAProxy runs HAProxy with the configuration that is shipped: only addresses,
// ports and the CA file are others.
func startHAProxy(ctx context.Context, t *testing.T, own string, gateways []*fixture.Gateway) *cluster.Process {
	t.Helper()
	binary, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatalf("the Debian package haproxy is not installed (make deps): %v", err)
	}
	shipped, err := os.ReadFile(filepath.Join("..", "..", "deploy", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fixture.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", ports[0])
	adapted := string(shipped)
	for from, to := range map[string]string{
		"bind :6443":                  "bind " + address,
		"192.0.2.10:6443":             net.JoinHostPort(own, gateways[0].Port()),
		"192.0.2.11:6443":             net.JoinHostPort(own, gateways[1].Port()),
		"/etc/haproxy/gateway-ca.pem": c.CAFile(),
	} {
		if strings.Count(adapted, from) != 1 {
			t.Fatalf("deploy/haproxy.cfg: want %q in it once", from)
		}
		adapted = strings.Replace(adapted, from, to, 1)
	}
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	// In place of what the machine's own configuration says.
	site := filepath.Join(t.TempDir(), "site.cfg")
	for file, text := range map[string]string{config: adapted, site: "global\n    log stdout format raw local0\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	haproxy, err := c.Add(cluster.Spec{
		Name: "haproxy", Path: binary,
		// Warnings are errors, so that nothing deprecated is shipped.
		Args: []string{"-dW", "-db", "-f", site, "-f", config},
		URL:  "https://" + address, Ready: cluster.Probe{URL: "https://" + address + "/readyz", CAFile: c.CAFile()},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := haproxy.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return haproxy
}

// sharePolicies checks that a policy made through one gateway is the other's, too.
func sharePolicies(ctx context.Context, t *testing.T, gateways []*fixture.Gateway) {
	t.Helper()
	const path = "/apis/gateway.asi.io/v1alpha1/ratelimits"
	clients := make([]rest.Interface, len(gateways))
	for i, g := range gateways {
		client, err := kubernetes.NewForConfig(g.RESTConfig())
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = client.CoreV1().RESTClient()
	}
	body := `{"apiVersion":"gateway.asi.io/v1alpha1","kind":"RateLimit","metadata":{"name":"shared"},"spec":{"qps":"1","match":{"clients":{"userAgents":["nobody"]}}}}`
	if err := clients[0].Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
	if err := clients[1].Delete().AbsPath(path, "shared").Do(ctx).Error(); err != nil {
		t.Errorf("the other gateway: %v", err)
	}
}

// checkSource asks through HAProxy, and looks the request up in the audit logs: the
// client's address must come first, before the gateway's.
func checkSource(ctx context.Context, t *testing.T, tr *traffic) {
	t.Helper()
	client, err := rest.HTTPClientFor(tr.configFor("audit", "h2", func() {}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, tr.config.Host+"/api/v1/namespaces/"+tr.namespace, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	id := response.Header.Get("Audit-Id")
	var event auditv1.Event
	fixture.Eventually(t, 5*time.Second, func(context.Context) error {
		for i := range c.Servers(cluster.GroupMain) {
			log, err := os.ReadFile(c.AuditLog(fmt.Sprintf("main-%d", i)))
			if err != nil {
				return err
			}
			for line := range bytes.Lines(log) {
				if id != "" && bytes.Contains(line, []byte(id)) && bytes.HasSuffix(line, []byte("\n")) {
					return json.Unmarshal(line, &event)
				}
			}
		}
		return fmt.Errorf("request %q, answered %s, is in no audit log", id, response.Status)
	})
	if want := []string{clientAddress, "127.0.0.1"}; !slices.Equal(event.SourceIPs, want) {
		t.Errorf("source addresses in the audit log: %v, want %v", event.SourceIPs, want)
	}
}

// checkRemotes checks that the access log has the clients' address, and HAProxy's
// only for its own health checks.
func checkRemotes(t *testing.T, g *fixture.Gateway) {
	t.Helper()
	log, err := os.Open(g.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	clients, checks := 0, 0
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct{ Msg, Remote, Path, Client string }
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "request" {
			continue
		}
		host, _, err := net.SplitHostPort(line.Remote)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case line.Client == strings.Split(trafficAgent, "/")[0]:
			clients++
			if host != clientAddress {
				t.Fatalf("%s logged a client at %s: %s", g.Name(), host, lines.Bytes())
			}
		case line.Path == "/readyz" && host != "127.0.0.1":
			checks++
		}
	}
	if err := lines.Err(); err != nil || clients == 0 || checks == 0 {
		t.Errorf("%s logged %d requests of clients and %d health checks (%v)", g.Name(), clients, checks, err)
	}
}

// writes is how many a gateway has answered since it was started.
func writes(ctx context.Context, t *testing.T, g *fixture.Gateway) int {
	t.Helper()
	return sum(ctx, t, g, "asi_gateway_requests_total", `verb="create"`)
}

// watches is how many a gateway has under way.
func watches(ctx context.Context, t *testing.T, g *fixture.Gateway) int {
	t.Helper()
	return sum(ctx, t, g, "asi_gateway_requests_in_flight", `kind="long-running"`)
}

// sum adds up a gateway's series of that name with a label.
func sum(ctx context.Context, t *testing.T, g *fixture.Gateway, name, label string) int {
	t.Helper()
	metrics, err := g.Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return int(metrics.Sum(name, label))
}

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

const (
	gatewayName    = "gateway"
	gatewayHost    = "127.0.0.1"
	gatewayTimeout = time.Minute
)

//go:embed policies/kwok.yaml
var kwokPolicy []byte

// startGateway starts the gateway in front of the cluster, waits until it says that it is
// ready, and writes the kubeconfig for it.
func (r *runner) startGateway(ctx context.Context, c *cluster.Cluster) (*cluster.Process, error) {
	policies := filepath.Join(c.Dir(), "policies")
	if err := os.MkdirAll(policies, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(policies, "kwok.yaml"), kwokPolicy, 0o600); err != nil {
		return nil, err
	}
	process, err := c.Add(r.gatewaySpec(c, policies))
	if err != nil {
		return nil, err
	}
	err = r.step(gatewayName, func() error {
		ctx, cancel := context.WithTimeout(ctx, gatewayTimeout)
		defer cancel()
		return process.Start(ctx)
	})
	if err != nil {
		return nil, err
	}
	// Recorded, so that `cluster down` finds it, too, if we are killed.
	return process, errors.Join(c.Save(), r.writeKubeconfig(c, process.URL()))
}

// gatewaySpec is the gateway's command line, as design.md has it.
func (r *runner) gatewaySpec(c *cluster.Cluster, policies string) cluster.Spec {
	url := "https://" + net.JoinHostPort(gatewayHost, strconv.Itoa(r.port))
	proxyCert, proxyKey := c.FrontProxyClientFiles()
	servingCert, servingKey := c.GatewayServingFiles()
	args := []string{
		"--kubeconfig=" + c.AdminKubeconfig(),
		"--main-servers=" + strings.Join(c.Servers(cluster.GroupMain), ","),
		"--bypass-servers=" + strings.Join(c.Servers(cluster.GroupBypass), ","),
		"--proxy-client-cert-file=" + proxyCert,
		"--proxy-client-key-file=" + proxyKey,
		"--tls-cert-file=" + servingCert,
		"--tls-private-key-file=" + servingKey,
		"--client-ca-file=" + c.CAFile(),
		"--bind-address=" + gatewayHost,
		fmt.Sprintf("--secure-port=%d", r.port),
		"--policy-dir=" + policies,
		"--data-dir=" + filepath.Join(c.Dir(), "gateway"),
	}
	return cluster.Spec{
		Name:  gatewayName,
		Path:  r.gateway,
		Args:  append(args, r.gatewayArgs...),
		URL:   url,
		Ready: cluster.Probe{URL: url + "/readyz", CAFile: c.CAFile()},
	}
}

// writeKubeconfig writes the administrator's kubeconfig for the gateway.
func (r *runner) writeKubeconfig(c *cluster.Cluster, server string) error {
	certFile, keyFile := c.AdminFiles()
	cert, certErr := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return fmt.Errorf("read the administrator's certificate: %w", err)
	}
	return cluster.WriteKubeconfig(r.out, server, c.CACert(), cert, key)
}

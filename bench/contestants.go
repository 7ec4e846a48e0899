package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// stage starts a cluster with one apiserver, and builds the gateway unless a
// binary is given.
func stage(ctx context.Context, gateway string) (c *cluster.Cluster, binary string, err error) {
	c, err = cluster.Start(ctx, cluster.Options{MainServers: 1, BypassServers: -1, Progress: os.Stderr})
	if err != nil {
		return nil, "", err
	}
	if gateway == "" {
		if gateway, err = fixture.BuildGateway(ctx, c.Dir()); err != nil {
			return nil, "", errors.Join(err, c.Close())
		}
	}
	return c, gateway, nil
}

// contestant is a server that answers the same requests.
type contestant struct {
	name string
	url  string
	pid  func() int
	// header is sent with each request, beside is with whom the contestant's latency is
	// compared: direct requests, unless it says otherwise.
	header http.Header
	beside string
}

const (
	// baseline is with whom latencies are compared.
	baseline = "kube-apiserver direct"
	// impersonated requests are what a gateway that impersonates sends: to judge whether
	// it may costs the kube-apiserver time, whoever asks.
	impersonated = "kube-apiserver direct, impersonated"
)

// contestants starts every server to compare, in front of the cluster's only
// apiserver. HAProxy and nginx take part if they are installed.
func contestants(ctx context.Context, c *cluster.Cluster, gatewayBinary string, others []build) ([]contestant, error) {
	server := c.Process("main-0")
	certFile, _ := c.AdminFiles()
	header, err := impersonating(certFile)
	if err != nil {
		return nil, err
	}
	list := []contestant{
		{name: baseline, url: server.URL(), pid: server.Pid},
		{name: impersonated, url: server.URL(), pid: server.Pid, header: header},
	}
	add := func(name string, p *cluster.Process) {
		list = append(list, contestant{name: name, url: p.URL(), pid: p.Pid})
	}

	for _, mode := range fixture.Modes() {
		// With the policies of a new installation: everything in the chain is on.
		g, err := fixture.AddGateway(ctx, c, gatewayBinary, "gateway-"+string(mode), mode, "--default-policies=true")
		if err != nil {
			return nil, err
		}
		add("gateway, "+string(mode), g.Process)
		if mode == fixture.Impersonation {
			list[len(list)-1].beside = impersonated
		}
	}
	for _, other := range others {
		g, err := fixture.AddGateway(ctx, c, other.binary, "gateway-"+other.name, fixture.FrontProxy, "--default-policies=true")
		if err != nil {
			return nil, err
		}
		add("gateway, "+other.name, g.Process)
	}
	for _, r := range []struct{ name, flag string }{
		{rival, "-http2=true"},
		{"httputil.ReverseProxy, HTTP/1.1", "-http2=false"},
	} {
		p, err := startReverseProxy(ctx, c, server.URL(), r.flag)
		if err != nil {
			return nil, err
		}
		add(r.name, p)
		if r.name == rival {
			list = append(list, contestant{name: rival + ", impersonated", url: p.URL(), pid: p.Pid, header: header, beside: impersonated})
		}
	}
	for _, balancer := range []struct {
		name, command, debian string
		start                 func(ctx context.Context, c *cluster.Cluster, binary, target string) (*cluster.Process, error)
	}{
		{"HAProxy", "haproxy", "haproxy", startHAProxy},
		{"nginx, HTTP/1.1 upstream", "nginx", "nginx-light", startNginx},
	} {
		binary, err := exec.LookPath(balancer.command)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s is not installed (Debian package %s): it does not take part\n", balancer.name, balancer.debian)
			continue
		}
		p, err := balancer.start(ctx, c, binary, server.URL())
		if err != nil {
			return nil, err
		}
		add(balancer.name, p)
	}
	return list, nil
}

// impersonating returns the headers by which the user of a client certificate acts as
// himself.
func impersonating(certFile string) (http.Header, error) {
	text, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no certificate", certFile)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return auth.Impersonation(&user.DefaultInfo{Name: certificate.Subject.CommonName, Groups: certificate.Subject.Organization})
}

// startReverseProxy runs this program again as a bare httputil.ReverseProxy.
func startReverseProxy(ctx context.Context, c *cluster.Cluster, target, protocol string) (*cluster.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := fixture.FreePorts(1)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := c.GatewayServingFiles()
	clientCert, clientKey := c.AdminFiles()
	address := "https://127.0.0.1:" + ports[0]
	p, err := c.Add(cluster.Spec{
		Name: "reverseproxy-" + strings.TrimLeft(protocol, "-"),
		Path: self,
		Args: []string{"reverseproxy", protocol, "-listen", "127.0.0.1:" + ports[0], "-target", target,
			"-cert", certFile, "-key", keyFile, "-ca", c.CAFile(), "-client-cert", clientCert, "-client-key", clientKey},
		URL:   address,
		Ready: cluster.Probe{URL: address + "/livez", CAFile: c.CAFile()},
	})
	if err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

// reverseProxy is the rival: net/http and httputil as they come. It checks no
// credentials and presents the administrator's certificate for everybody.
func reverseProxy(args []string) error {
	f := flag.NewFlagSet("reverseproxy", flag.ContinueOnError)
	listen, target := f.String("listen", "", ""), f.String("target", "", "")
	certFile, keyFile := f.String("cert", "", ""), f.String("key", "", "")
	clientCert, clientKey, caFile := f.String("client-cert", "", ""), f.String("client-key", "", ""), f.String("ca", "", "")
	http2 := f.Bool("http2", true, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	upstream, err := url.Parse(*target)
	if err != nil {
		return err
	}
	config, err := clientTLS(*caFile, *clientCert, *clientKey)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.SetXForwarded()
		},
		Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: *http2, DisableCompression: true, MaxIdleConnsPerHost: 256},
	}
	return (&http.Server{Addr: *listen, Handler: proxy}).ListenAndServeTLS(*certFile, *keyFile)
}

func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return trusting(caFile, pair)
}

// trusting is the TLS of a client with a certificate.
func trusting(caFile string, pair tls.Certificate) (*tls.Config, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New(caFile + " holds no certificate")
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, nil
}

const haproxyConfig = `global
    nbthread 2
    maxconn 2000
    tune.ssl.default-dh-param 2048
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend in
    bind 127.0.0.1:%[1]s ssl crt %[2]s alpn h2,http/1.1
    option forwardfor
    default_backend apiserver
backend apiserver
    server main-0 %[3]s ssl verify required ca-file %[4]s crt %[5]s alpn h2,http/1.1
`

// startHAProxy runs HAProxy as a layer 7 proxy, HTTP/2 on both sides.
func startHAProxy(ctx context.Context, c *cluster.Cluster, binary, target string) (*cluster.Process, error) {
	ports, err := fixture.FreePorts(1)
	if err != nil {
		return nil, err
	}
	serving, client := filepath.Join(c.Dir(), "haproxy-serving.pem"), filepath.Join(c.Dir(), "haproxy-client.pem")
	certFile, keyFile := c.GatewayServingFiles()
	clientCert, clientKey := c.AdminFiles()
	if err := errors.Join(join(serving, certFile, keyFile), join(client, clientCert, clientKey)); err != nil {
		return nil, err
	}
	config := filepath.Join(c.Dir(), "haproxy.cfg")
	text := fmt.Sprintf(haproxyConfig, ports[0], serving, strings.TrimPrefix(target, "https://"), c.CAFile(), client)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	address := "https://127.0.0.1:" + ports[0]
	p, err := c.Add(cluster.Spec{
		Name: "haproxy", Path: binary, Args: []string{"-f", config, "-db"},
		URL: address, Ready: cluster.Probe{URL: address + "/livez", CAFile: c.CAFile()},
	})
	if err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

const nginxConfig = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path %[1]s/nginx-body;
    proxy_temp_path %[1]s/nginx-proxy;
    upstream apiserver {
        server %[2]s;
        keepalive 64;
        keepalive_requests 1000000;
    }
    server {
        listen 127.0.0.1:%[3]s ssl http2;
        keepalive_requests 1000000;
        ssl_certificate %[4]s;
        ssl_certificate_key %[5]s;
        location / {
            proxy_pass https://apiserver;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_ssl_certificate %[6]s;
            proxy_ssl_certificate_key %[7]s;
            proxy_ssl_trusted_certificate %[8]s;
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
        }
    }
}
`

// startNginx runs nginx as a layer 7 proxy, in one process: HTTP/2 before it, and
// HTTP/1.1 behind it, which is all that Debian's can.
func startNginx(ctx context.Context, c *cluster.Cluster, binary, target string) (*cluster.Process, error) {
	ports, err := fixture.FreePorts(1)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := c.GatewayServingFiles()
	clientCert, clientKey := c.AdminFiles()
	config := filepath.Join(c.Dir(), "nginx.conf")
	text := fmt.Sprintf(nginxConfig, c.Dir(), strings.TrimPrefix(target, "https://"), ports[0], certFile, keyFile, clientCert, clientKey, c.CAFile())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	address := "https://127.0.0.1:" + ports[0]
	p, err := c.Add(cluster.Spec{
		Name: "nginx", Path: binary, Args: []string{"-c", config, "-p", c.Dir()},
		URL: address, Ready: cluster.Probe{URL: address + "/livez", CAFile: c.CAFile()},
	})
	if err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

func join(to string, from ...string) error {
	var all []byte
	for _, name := range from {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	return os.WriteFile(to, all, 0o600)
}

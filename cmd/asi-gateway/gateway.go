package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/zapr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/proxy"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// gateway is the process: listeners in front of one cluster.
type gateway struct {
	options *options
	logger  *zap.Logger
	cluster *cluster
	// policies are what operators have decided.
	policies *policies
	serving  dynamiccertificates.CertKeyContentProvider
	tls      *dynamiccertificates.DynamicServingCertificateController
	server   *proxy.Server
	// background runs until the gateway has drained.
	background []func(context.Context)
	// started tells that the client port is served.
	started atomic.Bool
}

func newGateway(o *options, logger *zap.Logger) (*gateway, error) {
	// client-go and k8s.io/apiserver log through klog's global logger; this is
	// the one place that sets it.
	klog.SetLogger(zapr.NewLogger(logger.Named("kubernetes")))

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	c, err := newCluster(o, logger, registry)
	if err != nil {
		return nil, err
	}
	var p *policies
	servesStale := func(a *request.Attributes) bool { return p.policy.ServesStale(a) }
	if err := c.remember(o, servesStale, logger, registry); err != nil {
		return nil, err
	}
	if p, err = newPolicies(o, c, logger, registry); err != nil {
		return nil, err
	}
	g := &gateway{options: o, logger: logger, cluster: c, policies: p, background: c.background}
	if err := g.serveTLS(registry); err != nil {
		return nil, err
	}
	loadBalancers, err := parseRanges(o.proxyProtocolFrom)
	if err != nil {
		return nil, fmt.Errorf("--proxy-protocol-from: %w", err)
	}
	serverOptions := proxy.Options{
		TLS: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			GetConfigForClient: g.tls.GetConfigForClient,
		},
		Upstream:       c.upstream,
		Authenticator:  c.authenticator,
		Authorizer:     c.authorizer,
		Assert:         c.assert,
		FrontProxy:     c.frontProxy,
		Limits:         p.limiter,
		Policy:         p.policy,
		Flows:          p.flows,
		API:            p.handler(),
		FrontProxies:   c.frontProxies,
		Discovery:      p.discovery,
		Cache:          c.cache,
		Log:            logger,
		Registry:       registry,
		Clock:          clock.RealClock{},
		Ready:          g.ready,
		AccessLogEvery: o.accessLogEvery,
		RequestTimeout: o.requestTimeout,
		StallTimeout:   o.stallTimeout,
		ShutdownDelay:  o.shutdownDelay,
		ShutdownGrace:  o.shutdownGrace,

		ProxyProtocolFrom: loadBalancers,
		GoawayChance:      o.goawayChance,
	}
	g.server = proxy.New(serverOptions)
	return g, nil
}

// ready returns nil once clients can be served: it is known who they are, and
// what operators have decided about them, and what is to be cached is.
func (g *gateway) ready() error {
	if !g.started.Load() {
		return errors.New("the gateway is starting")
	}
	if err := g.cluster.ready(); err != nil {
		return err
	}
	if err := g.policies.policy.Ready(); err != nil {
		return err
	}
	return g.cluster.cache.Ready()
}

// serveTLS makes the TLS configuration of the client port, which follows its
// certificate files and the client CA.
func (g *gateway) serveTLS(registry prometheus.Registerer) error {
	var err error
	var reload func(context.Context)
	g.serving, reload, err = servingCertificate(g.options, g.logger)
	if err != nil {
		return err
	}
	if err := registry.Register(servingExpiry(g.serving)); err != nil {
		return err
	}
	base := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		// Not verified in the handshake: a bad certificate is answered 401, like
		// kube-apiserver does, and a client without one may have a token.
		ClientAuth: tls.RequestClientCert,
	}
	g.tls = dynamiccertificates.NewDynamicServingCertificateController(base, g.cluster.clientCA, g.serving, nil, nil)
	g.cluster.clientCA.AddListener(g.tls)
	g.serving.AddListener(g.tls)
	if err := g.tls.RunOnce(); err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	g.background = append(g.background, func(ctx context.Context) { g.tls.Run(1, ctx.Done()) })
	if reload != nil {
		g.background = append(g.background, reload)
	}
	return nil
}

// run serves until ctx ends, and then drains.
func (g *gateway) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(g.options.bindAddress, strconv.Itoa(g.options.securePort)))
	if err != nil {
		return fmt.Errorf("--bind-address, --secure-port: %w", err)
	}
	defer listener.Close()
	stopOps, err := g.startOps()
	if err != nil {
		return err
	}
	defer stopOps()
	background, stopBackground := context.WithCancel(context.Background())
	var running errgroup.Group
	for _, run := range g.background {
		running.Go(func() error {
			run(background)
			return nil
		})
	}
	endBackground := func() {
		stopBackground()
		_ = running.Wait()
		g.cluster.upstream.Close()
	}
	stopPolicies, err := g.policies.start(ctx)
	if err != nil {
		endBackground()
		return err
	}
	defer stopPolicies()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case err := <-g.policies.failed:
			// Nobody could change a policy any more, so another gateway is the better one.
			stop(err)
		case <-ctx.Done():
		}
	}()

	g.logger.Info("serving",
		zap.Stringer("address", listener.Addr()),
		zap.String("version", version),
		zap.String("identity", g.cluster.identityMode()),
		zap.Strings("upstreams", g.cluster.upstreamNames()))
	g.started.Store(true)
	err = g.server.Run(ctx, listener)
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	endBackground()
	g.logger.Info("stopped", zap.Error(err))
	return err
}

// startOps serves the ops listener. It outlives the drain, which it reports.
func (g *gateway) startOps() (stop func(), err error) {
	address := g.options.opsBindAddress
	if address == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--ops-bind-address: %w", err)
	}
	open := listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	server := &http.Server{Handler: g.server.Ops(open), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second}
	serve := func() error { return server.Serve(listener) }
	if !open {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: g.tls.GetConfigForClient}
		serve = func() error { return server.ServeTLS(listener, "", "") }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := serve(); err != http.ErrServerClosed {
			g.logger.Error("the ops listener failed", zap.Error(err))
		}
	}()
	return func() {
		_ = server.Close()
		<-done
	}, nil
}

func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "asi_gateway_build_info",
		Help:        "Always 1; the labels tell what is running.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

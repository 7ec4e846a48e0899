package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/pkg/cache"
	"github.com/asi-gateway/asi-gateway/pkg/proxy"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

const (
	// maxTokens bounds the remembered tokens: twice the service accounts of a
	// cluster with 10,000 namespaces and a few in each.
	maxTokens = 65536
	// tokenReviewTimeout bounds a TokenReview, so that during an outage a client
	// hears quickly that its token cannot be verified.
	tokenReviewTimeout = 5 * time.Second
	// authorizationTTL bounds how long a revoked right is still used.
	authorizationTTL = time.Second
)

// cluster is everything that belongs to the one cluster behind the gateway.
// Nothing of it is global, so that a process could hold several.
type cluster struct {
	upstream      *routing.Upstream
	authenticator *auth.Authenticator
	authorizer    authorizer.Authorizer
	assert        auth.Assert
	frontProxy    bool
	frontProxies  *auth.FrontProxies
	clientCA      dynamiccertificates.CAContentProvider
	// cache has what CachedResources say; nothing without any.
	cache      *cache.Cache
	kube       kubernetes.Interface
	kubeConfig *rest.Config
	// seeds are the groups that the flags speak of.
	seeds      []*v1alpha1.UpstreamGroup
	background []func(context.Context)
}

func newCluster(o *options, logger *zap.Logger, registry prometheus.Registerer) (*cluster, error) {
	config, err := loadKubeconfig(o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	c := &cluster{frontProxy: o.proxyClientCert != ""}
	if err := c.connect(o, config, registry); err != nil {
		return nil, err
	}
	// The gateway's own requests go wherever an apiserver can be reached. The
	// host is replaced there; limits on the client side would only queue what
	// clients are waiting for.
	c.kubeConfig = &rest.Config{
		Host:      config.Host,
		Transport: c.upstream.OwnRequests(),
		UserAgent: "asi-gateway/" + version,
		QPS:       -1,
	}
	c.kube, err = kubernetes.NewForConfig(c.kubeConfig)
	if err != nil {
		return nil, err
	}
	if err := c.trustClients(o); err != nil {
		return nil, err
	}
	if err := c.judge(o, registry); err != nil {
		return nil, err
	}
	return c, nil
}

// loadKubeconfig reads the gateway's credential; without a file, the one of its
// pod.
func loadKubeconfig(file string) (*rest.Config, error) {
	if file == "" {
		return rest.InClusterConfig()
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, err
	}
	if config.Insecure {
		return nil, errors.New("insecure-skip-tls-verify is not accepted: whoever can stand in for the kube-apiserver would get every client's identity")
	}
	return config, nil
}

// connect makes the upstream: which servers, and as whom to speak to them.
func (c *cluster) connect(o *options, config *rest.Config, registry prometheus.Registerer) error {
	main := o.mainServers
	if len(main) == 0 {
		main = []string{config.Host}
	}
	group, err := o.flaggedGroup(v1alpha1.GroupMain, main)
	if err != nil {
		return err
	}
	c.seeds = []*v1alpha1.UpstreamGroup{group}
	if len(o.bypassServers) > 0 {
		if group, err = o.flaggedGroup(v1alpha1.GroupBypass, o.bypassServers); err != nil {
			return err
		}
		c.seeds = append(c.seeds, group)
	}
	own, err := ownClient(config)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	anonymous := routing.Client{TLS: withoutCertificate(own.TLS)}
	asserting := own
	c.assert = auth.Impersonation
	var identity *dynamiccertificates.DynamicCertKeyPairContent
	if c.frontProxy {
		c.assert = auth.FrontProxy
		identity, err = dynamiccertificates.NewDynamicServingContentFromFiles("front-proxy", o.proxyClientCert, o.proxyClientKey)
		if err != nil {
			return fmt.Errorf("--proxy-client-cert-file, --proxy-client-key-file: %w", err)
		}
		asserting = routing.Client{TLS: withoutCertificate(own.TLS)}
		asserting.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.X509KeyPair(identity.CurrentCertKeyContent())
			return &pair, err
		}
	}
	c.upstream, err = routing.New(routing.Config{
		Groups:    c.seeds,
		Asserting: asserting, Own: own, Anonymous: anonymous,
		Clock: clock.RealClock{}, Registry: registry,
	})
	if err != nil {
		return err
	}
	c.background = append(c.background, func(ctx context.Context) { _ = c.upstream.Run(ctx) })
	if identity != nil {
		c.renewWith(identity)
	}
	if config.CertFile != "" && len(config.CertData) == 0 {
		kubeconfigPair, err := dynamiccertificates.NewDynamicServingContentFromFiles("kubeconfig", config.CertFile, config.KeyFile)
		if err != nil {
			return fmt.Errorf("--kubeconfig: %w", err)
		}
		c.renewWith(kubeconfigPair)
	}
	return nil
}

// groups are those that the flags speak of, with their defaults.
func (c *cluster) groups() []*v1alpha1.UpstreamGroup { return c.seeds }

// renewWith makes new upstream connections when a client certificate changes:
// kube-apiserver looks at the certificate with every request, so that old
// connections would fail all at once when it expires.
func (c *cluster) renewWith(pair *dynamiccertificates.DynamicCertKeyPairContent) {
	pair.AddListener(renewer{c.upstream})
	c.background = append(c.background, func(ctx context.Context) { pair.Run(ctx, 1) })
}

type renewer struct{ upstream *routing.Upstream }

func (r renewer) Enqueue() { r.upstream.Renew() }

// ownClient is the kubeconfig's credential: certificate, token, token file or
// exec plugin.
func ownClient(config *rest.Config) (routing.Client, error) {
	t, err := config.TransportConfig()
	if err != nil {
		return routing.Client{}, err
	}
	tlsConfig, err := transport.TLSConfigFor(t)
	if err != nil {
		return routing.Client{}, err
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	client := routing.Client{TLS: tlsConfig}
	if t.HasTokenAuth() || t.HasBasicAuth() || t.WrapTransport != nil {
		if _, err := transport.HTTPWrappersForConfig(t, http.DefaultTransport); err != nil {
			return routing.Client{}, err
		}
		client.Wrap = func(rt http.RoundTripper) http.RoundTripper {
			// Only a contradictory configuration fails, and that was tried above.
			wrapped, _ := transport.HTTPWrappersForConfig(t, rt)
			return wrapped
		}
	}
	return client, nil
}

func withoutCertificate(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.Certificates = nil
	c.GetClientCertificate = nil
	return c
}

// trustClients finds the CA bundle for client certificates.
func (c *cluster) trustClients(o *options) error {
	if o.clientCAFile != "" {
		ca, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", o.clientCAFile)
		if err != nil {
			return fmt.Errorf("--client-ca-file: %w", err)
		}
		c.clientCA = ca
		c.background = append(c.background, func(ctx context.Context) { ca.Run(ctx, 1) })
		return nil
	}
	ca, err := dynamiccertificates.NewDynamicCAFromConfigMapController("client-ca", "kube-system", "extension-apiserver-authentication", "client-ca-file", c.kube)
	if err != nil {
		return err
	}
	c.clientCA = ca
	c.background = append(c.background, func(ctx context.Context) { ca.Run(ctx, 1) })
	return nil
}

// judge makes what tells who a client is and what it may do.
func (c *cluster) judge(o *options, registry prometheus.Registerer) error {
	tokens, err := auth.NewTokens(auth.NewReview(c.kube), c.assert, auth.TokenOptions{
		TTL: o.tokenTTL, OutageTTL: o.outageAuthTTL, MaxTokens: maxTokens, ReviewTimeout: tokenReviewTimeout,
		Spared: proxy.Spared,
	}, clock.RealClock{})
	if err != nil {
		return err
	}
	if err := tokens.Register(registry); err != nil {
		return err
	}
	if c.frontProxies, err = auth.NewFrontProxies(c.kube); err != nil {
		return err
	}
	c.background = append(c.background, c.frontProxies.Run)
	c.authenticator = auth.New(c.clientCA, tokens, c.assert, clock.RealClock{})
	c.authorizer, err = auth.NewAuthorizer(c.kube, authorizationTTL)
	return err
}

// remember makes the cache. Policies say what it keeps, and servesStale what they
// allow.
func (c *cluster) remember(o *options, servesStale func(*request.Attributes) bool, logger *zap.Logger, registry prometheus.Registerer) error {
	// The cache remembers permissions itself.
	judge, err := auth.NewAuthorizer(c.kube, 0)
	if err != nil {
		return err
	}
	c.cache, err = cache.New(cache.Config{
		Client: c.upstream.OwnRequests(), Authorizer: judge, OutageTTL: o.outageAuthTTL, ServeStale: servesStale,
		MemoryLimit: o.cacheMemoryLimit.Value(), CheckEvery: o.cacheCheckEvery,
		UserAgent: c.kubeConfig.UserAgent, Clock: clock.RealClock{}, Log: logger.Named("cache"), Registry: registry,
	})
	if err != nil {
		return err
	}
	c.background = append(c.background, c.cache.Run)
	return nil
}

// ready returns nil once clients can be served. Dead apiservers do not count: a
// load balancer that took every gateway away would make an outage worse.
func (c *cluster) ready() error {
	if _, ok := c.clientCA.VerifyOptions(); !ok {
		return errors.New("the CA bundle for client certificates is not known yet: it is read from kube-system/extension-apiserver-authentication; give --client-ca-file to start without a kube-apiserver")
	}
	return nil
}

func (c *cluster) identityMode() string {
	if c.frontProxy {
		return "front-proxy"
	}
	return "impersonation"
}

func (c *cluster) upstreamNames() []string {
	var names []string
	for _, e := range c.upstream.Endpoints() {
		names = append(names, e.Group+"="+e.URL.String())
	}
	return names
}

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache"
)

// maxGoawayChance is kube-apiserver's: beyond it clients do little but connect.
const maxGoawayChance = 0.02

// options are the command line as typed. Field comments are in the flags' help.
type options struct {
	kubeconfig string

	bindAddress    string
	securePort     int
	tlsCertFile    string
	tlsKeyFile     string
	clientCAFile   string
	opsBindAddress string

	proxyProtocolFrom []string
	goawayChance      float64

	mainServers     []string
	bypassServers   []string
	proxyClientCert string
	proxyClientKey  string

	dataDir string

	etcdServers     []string
	etcdPrefix      string
	etcdCAFile      string
	etcdCertFile    string
	etcdKeyFile     string
	policyDir       string
	defaultPolicies bool
	redisURL        string
	// The files take the place of a password in the URL, which all who see processes see.
	redisPasswordFile string
	redisCAFile       string
	replicaName       string
	nodeCount         int

	cacheResources []string
	// cacheNamed tells that these were typed, and are not the default.
	cacheNamed       bool
	cacheMemoryLimit resource.QuantityValue
	cacheCheckEvery  time.Duration

	tokenTTL      time.Duration
	outageAuthTTL time.Duration

	requestTimeout time.Duration
	stallTimeout   time.Duration
	shutdownDelay  time.Duration
	shutdownGrace  time.Duration

	accessLogEvery uint64
	logLevel       string
	logFormat      string

	dryRun      bool
	showVersion bool
}

func newOptions() *options {
	return &options{
		bindAddress:    "0.0.0.0",
		securePort:     6443,
		opsBindAddress: "127.0.0.1:9443",
		dataDir:        "asi-gateway-data",

		etcdPrefix:      "/asi-gateway",
		defaultPolicies: true,
		replicaName:     replicaName(),

		cacheResources:  cache.Usual(),
		cacheCheckEvery: time.Hour,

		tokenTTL:       10 * time.Second,
		outageAuthTTL:  10 * time.Minute,
		requestTimeout: 65 * time.Second,
		stallTimeout:   30 * time.Second,
		shutdownDelay:  5 * time.Second,
		shutdownGrace:  30 * time.Second,
		accessLogEvery: 1,
		logLevel:       "info",
		logFormat:      "json",
	}
}

func (o *options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("asi-gateway", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "kubeconfig `FILE` with the gateway's own credential; its server is the main one unless --main-servers says otherwise")

	f.StringVar(&o.bindAddress, "bind-address", o.bindAddress, "`IP` that clients connect to")
	f.IntVar(&o.securePort, "secure-port", o.securePort, "`PORT` that clients connect to, TLS only; 0 takes a free one")
	f.StringVar(&o.tlsCertFile, "tls-cert-file", o.tlsCertFile, "serving certificate `FILE`, PEM, reloaded when it changes (default: a self-signed one kept in --data-dir)")
	f.StringVar(&o.tlsKeyFile, "tls-private-key-file", o.tlsKeyFile, "`FILE` with the serving certificate's key")
	f.StringVar(&o.clientCAFile, "client-ca-file", o.clientCAFile, "CA bundle `FILE` for client certificates, reloaded when it changes (default: the cluster's own, from the config map kube-system/extension-apiserver-authentication)")
	f.StringVar(&o.opsBindAddress, "ops-bind-address", o.opsBindAddress, "`HOST:PORT` of metrics, livez, readyz and pprof: plain HTTP and open on loopback, TLS with authorisation elsewhere; empty serves none")

	f.StringSliceVar(&o.proxyProtocolFrom, "proxy-protocol-from", o.proxyProtocolFrom, "`CIDR`s of load balancers: connections from there must begin with a PROXY protocol version 2 header, which names the client; nobody else's is read")
	f.Float64Var(&o.goawayChance, "goaway-chance", o.goawayChance, "`FRACTION` of HTTP/2 requests, up to 0.02, whose client is told to connect anew, so that connections spread over the gateways behind a load balancer: 0.001 is a good one there; 0, the default, is for a gateway without")

	f.StringSliceVar(&o.mainServers, "main-servers", o.mainServers, "`URL`s of the main kube-apiservers")
	f.StringSliceVar(&o.bypassServers, "bypass-servers", o.bypassServers, "`URL`s of the bypass kube-apiservers")
	f.StringVar(&o.proxyClientCert, "proxy-client-cert-file", o.proxyClientCert, "client certificate `FILE` from the cluster's requestheader CA, to assert identities as a front proxy (default: impersonation with the kubeconfig's credential)")
	f.StringVar(&o.proxyClientKey, "proxy-client-key-file", o.proxyClientKey, "`FILE` with the key of --proxy-client-cert-file")

	f.StringVar(&o.dataDir, "data-dir", o.dataDir, "`DIR` for what the gateway keeps; created with mode 0700")

	f.StringSliceVar(&o.etcdServers, "etcd-servers", o.etcdServers, "`URL`s of an etcd in which several gateways keep their policies together (default: an etcd of its own in --data-dir)")
	f.StringVar(&o.etcdPrefix, "etcd-prefix", o.etcdPrefix, "what keys in etcd begin with")
	f.StringVar(&o.etcdCAFile, "etcd-cafile", o.etcdCAFile, "CA bundle `FILE` for --etcd-servers")
	f.StringVar(&o.etcdCertFile, "etcd-certfile", o.etcdCertFile, "client certificate `FILE` for --etcd-servers")
	f.StringVar(&o.etcdKeyFile, "etcd-keyfile", o.etcdKeyFile, "`FILE` with the key of --etcd-certfile")
	f.StringVar(&o.policyDir, "policy-dir", o.policyDir, "`DIR` with YAML policies that are made at start if they are not there")
	f.BoolVar(&o.defaultPolicies, "default-policies", o.defaultPolicies, "make the default policies in a new policy store")
	f.StringVar(&o.redisURL, "redis", o.redisURL, "`URL` of the Redis in which gateways count limits of scope Global together: redis://, rediss:// or unix:// (default: every gateway counts by itself)")
	f.StringVar(&o.redisPasswordFile, "redis-password-file", o.redisPasswordFile, "`FILE` with the password of --redis, which need not be in the URL then; read for every connection")
	f.StringVar(&o.redisCAFile, "redis-ca-file", o.redisCAFile, "CA bundle `FILE` for a rediss:// URL (default: the system's)")
	f.StringVar(&o.replicaName, "replica-name", o.replicaName, "`NAME` of this gateway among those of the cluster (default: the host's name)")
	// So that help is the same on every host.
	f.Lookup("replica-name").DefValue = ""
	f.IntVar(&o.nodeCount, "node-count", o.nodeCount, "nodes that limits per node are computed with until nodes could be counted")

	f.StringSliceVar(&o.cacheResources, "cache-resources", o.cacheResources, "`RESOURCES` that are answered from memory, like pods,nodes,deployments.apps,widgets.v1.example.com: CachedResources that are made once; from then on the objects count. An empty list caches nothing")

	f.Var(&o.cacheMemoryLimit, "cache-memory-limit", "`BYTES` that cached objects may take, like 4Gi; a resource that does not fit is not cached. What answers need comes on top, about a quarter as much (default: no limit)")
	f.DurationVar(&o.cacheCheckEvery, "cache-check-interval", o.cacheCheckEvery, "about how often what is cached is compared with a kube-apiserver, byte by byte; 0 never does. What differs is dropped, and counted in asi_gateway_cache_checks_total")

	f.DurationVar(&o.tokenTTL, "authentication-token-ttl", o.tokenTTL, "how long a bearer token that was reviewed is taken as good")
	f.DurationVar(&o.outageAuthTTL, "outage-auth-ttl", o.outageAuthTTL, "how long the last positive review of a token, and the last permission to read from the cache, hold while no kube-apiserver can be asked")

	f.DurationVar(&o.requestTimeout, "request-timeout", o.requestTimeout, "limit for requests that are not long-running; a little above the kube-apiservers' own 60s, whose answer is the better one")
	f.DurationVar(&o.stallTimeout, "stall-timeout", o.stallTimeout, "how long a client may leave a write unread before it is cut off")
	f.DurationVar(&o.shutdownDelay, "shutdown-delay-duration", o.shutdownDelay, "how long readyz fails before connections are closed, for load balancers to notice")
	f.DurationVar(&o.shutdownGrace, "shutdown-grace-period", o.shutdownGrace, "how long requests then have to finish; watches are ended one by one over its first half")

	f.Uint64Var(&o.accessLogEvery, "access-log-every", o.accessLogEvery, "log one of `N` requests, and all that fail or take over a second; 0 logs none")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", o.logFormat, "json or console")

	f.BoolVar(&o.dryRun, "dry-run", false, "check flags, files and the way to every kube-apiserver, print what would run, and exit")
	f.BoolVar(&o.showVersion, "version", false, "print the version and exit")
	return f
}

// validate names every flag at fault, not just the first.
func (o *options) validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if o.kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		fault("--kubeconfig: needed outside of a pod; name a kubeconfig file with a credential for the kube-apiserver")
	}
	if net.ParseIP(o.bindAddress) == nil {
		fault("--bind-address: %q is not an IP address", o.bindAddress)
	}
	if o.securePort < 0 || o.securePort > 65535 {
		fault("--secure-port: %d is not between 0 and 65535", o.securePort)
	}
	if o.opsBindAddress != "" {
		if _, port, err := net.SplitHostPort(o.opsBindAddress); err != nil {
			fault("--ops-bind-address: %v", err)
		} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			fault("--ops-bind-address: port %q is not between 0 and 65535", port)
		}
	}
	if _, err := parseRanges(o.proxyProtocolFrom); err != nil {
		fault("--proxy-protocol-from: %w", err)
	}
	// Written so that NaN is refused, too.
	if !(o.goawayChance >= 0 && o.goawayChance <= maxGoawayChance) {
		fault("--goaway-chance: %g is not between 0 and %g", o.goawayChance, maxGoawayChance)
	}
	pair := func(cert, key, certFlag, keyFlag string) {
		if (cert == "") != (key == "") {
			fault("%s and %s: give both or neither", certFlag, keyFlag)
		}
	}
	pair(o.tlsCertFile, o.tlsKeyFile, "--tls-cert-file", "--tls-private-key-file")
	pair(o.proxyClientCert, o.proxyClientKey, "--proxy-client-cert-file", "--proxy-client-key-file")
	pair(o.etcdCertFile, o.etcdKeyFile, "--etcd-certfile", "--etcd-keyfile")
	for _, server := range o.etcdServers {
		if !isEtcdURL(server) {
			fault("--etcd-servers: %q: want https://HOST:PORT; http:// is for an etcd on loopback only, since who can read or change policies on their way decides about all that passes", server)
		}
	}
	if !strings.HasPrefix(o.etcdPrefix, "/") {
		fault("--etcd-prefix: %q does not begin with a slash", o.etcdPrefix)
	}
	if o.redisURL == "" && (o.redisPasswordFile != "" || o.redisCAFile != "") {
		fault("--redis-password-file, --redis-ca-file: mean nothing without --redis")
	}
	if o.nodeCount < 0 {
		fault("--node-count: %d is negative", o.nodeCount)
	}
	if o.replicaName == "" {
		fault("--replica-name: is empty")
	}
	for group, servers := range map[string][]string{v1alpha1.GroupMain: o.mainServers, v1alpha1.GroupBypass: o.bypassServers} {
		if len(servers) == 0 {
			continue
		}
		if _, err := o.flaggedGroup(group, servers); err != nil {
			fault("%w", err)
		}
	}
	if o.cacheMemoryLimit.Sign() < 0 {
		fault("--cache-memory-limit: %s is negative", &o.cacheMemoryLimit)
	}
	if _, err := parseResources(o.cacheResources); err != nil {
		fault("--cache-resources: %w", err)
	}
	for flag, d := range map[string]time.Duration{
		"--authentication-token-ttl": o.tokenTTL, "--outage-auth-ttl": o.outageAuthTTL,
		"--cache-check-interval": o.cacheCheckEvery, "--shutdown-delay-duration": o.shutdownDelay, "--shutdown-grace-period": o.shutdownGrace,
	} {
		if d < 0 {
			fault("%s: %s is negative", flag, d)
		}
	}
	for flag, d := range map[string]time.Duration{"--request-timeout": o.requestTimeout, "--stall-timeout": o.stallTimeout} {
		if d < time.Second {
			fault("%s: %s is less than a second", flag, d)
		}
	}
	if _, err := zapcore.ParseLevel(o.logLevel); err != nil {
		fault("--log-level: %q is not one of debug, info, warn, error", o.logLevel)
	}
	if o.logFormat != "json" && o.logFormat != "console" {
		fault("--log-format: %q is neither json nor console", o.logFormat)
	}
	return errors.Join(errs...)
}

// replicaName is the host's: one gateway on each is how they are run.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		return "gateway"
	}
	return host
}

func isEtcdURL(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	return slices.Contains([]string{"https", "unix", "unixs"}, u.Scheme) || (u.Scheme == "http" && isLoopback(u.Hostname()))
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func parseRanges(cidrs []string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: want ADDRESS/BITS, like 192.0.2.10/32 or 2001:db8::/64", cidr)
		}
		if masked := prefix.Masked(); masked != prefix {
			return nil, fmt.Errorf("%q: the range begins at %s", cidr, masked)
		}
		ranges = append(ranges, prefix)
	}
	return ranges, nil
}

// logger writes to standard error, buffered: flush must be called at the end.
func (o *options) logger() (logger *zap.Logger, flush func(), err error) {
	level, err := zapcore.ParseLevel(o.logLevel)
	if err != nil {
		return nil, nil, err
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.SecondsDurationEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if o.logFormat == "console" {
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	// Without the Sync of a file: lines need not be on a disk ten times a second, which
	// took 5% of the gateway's CPU time.
	sink := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(struct{ io.Writer }{os.Stderr}), FlushInterval: 100 * time.Millisecond}
	return zap.New(zapcore.NewCore(encoder, sink, level)), func() { _ = sink.Stop() }, nil
}

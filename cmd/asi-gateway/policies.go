package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/alerts"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver/discovery"
	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// storeStart bounds how long the embedded store may take to start.
	storeStart = 40 * time.Second
	// sharedStoreStart is how long a shared store is waited for, if there are the
	// policies of an earlier run to go on with.
	sharedStoreStart = 3 * time.Second
	// seedTimeout bounds an attempt to make policies in a store that can be reached.
	seedTimeout = 10 * time.Second
	// defaultsName is under which the store remembers that it has been given the
	// default policies.
	defaultsName = "default-policies"
	// groupsName is the same for the UpstreamGroups of the flags.
	groupsName = "upstream-groups"
	// cachedName is the beginning of the same for each CachedResource of the flag.
	cachedName = "cached-resource-"
)

// policies is what operators have decided: the API in which they say it, and the
// engines that do it.
type policies struct {
	options *options
	log     *zap.Logger
	api     *apiserver.Server
	limiter *limiter.Limiter
	policy  *policy.Policy
	nodes   *policy.NodeCounter
	flows   *flows.Recorder
	// discovery makes the API known to clients.
	discovery *discovery.Merger
	alerts    *alerts.Watcher
	events    record.EventBroadcaster
	redis     *limiter.Redis
	// router follows the groups, of which the flags name some.
	router  router
	flagged []*v1alpha1.UpstreamGroup
	// cache follows the CachedResources, of which a flag names some.
	cache         cached
	flaggedCached []*v1alpha1.CachedResource
	// seeds are the policies that are made if they are not there.
	seeds []runtime.Object

	// failed tells that the API has ended by itself.
	failed chan error
}

func newPolicies(o *options, c *cluster, logger *zap.Logger, registry *prometheus.Registry) (*policies, error) {
	p := &policies{
		options: o, log: logger, flows: flows.NewRecorder(clock.RealClock{}), failed: make(chan error, 1),
		router: c.upstream, flagged: c.groups(), cache: c.cache,
	}
	var err error
	if p.flaggedCached, err = parseResources(o.cacheResources); err != nil {
		return nil, fmt.Errorf("--cache-resources: %w", err)
	}
	if o.policyDir != "" {
		if p.seeds, err = policy.ReadDir(o.policyDir); err != nil {
			return nil, fmt.Errorf("--policy-dir:\n%w", err)
		}
	}
	if err := p.newLimiter(registry); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	p.api, err = apiserver.New(apiserver.Config{
		DataDir: filepath.Join(o.dataDir, "policies"),
		Etcd: apiserver.Etcd{
			Servers: o.etcdServers, Prefix: o.etcdPrefix,
			CAFile: o.etcdCAFile, CertFile: o.etcdCertFile, KeyFile: o.etcdKeyFile,
		},
		Authorizer: c.authorizer,
		Live:       p,
		Insight:    p,
		Log:        logger.Named("policies"),
		Clock:      clock.RealClock{},
	})
	if err != nil {
		return nil, err
	}
	p.discovery, err = discovery.New(discovery.Options{
		Own: p.api.Handler(), Authorize: authenticated, Log: logger.Named("discovery"), Registry: registry, Clock: clock.RealClock{},
	})
	if err != nil {
		return nil, err
	}
	p.events = record.NewBroadcaster()
	p.events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: c.kube.CoreV1().Events("")})
	source := corev1.EventSource{Component: "asi-gateway", Host: o.replicaName}
	p.alerts = alerts.New(p.limiter, p.events.NewRecorder(scheme.Scheme, source), clock.RealClock{}, logger.Named("limiter"), registry)
	nodes, err := metadata.NewForConfig(c.kubeConfig)
	if err != nil {
		return nil, err
	}
	p.nodes = policy.NewNodeCounter(nodes, filepath.Join(o.dataDir, "nodes"), o.nodeCount, clock.RealClock{}, logger)
	p.policy, err = policy.New(policy.Config{
		Client:    p.api.ClientConfig(),
		Limiter:   p.limiter,
		Router:    p.router,
		Cache:     p.cache,
		StateFile: filepath.Join(o.dataDir, "policies.json"),
		Nodes:     p.nodes,
		Clock:     clock.RealClock{},
		Log:       logger.Named("policies"),
		Registry:  registry,
	})
	if err != nil {
		return nil, err
	}
	if p.policy.Ready() != nil && len(o.etcdServers) == 0 {
		// In a new store that is what will be cached, and it takes longer to read than
		// the store to start.
		p.cache.Update(slices.DeleteFunc(slices.Clone(p.flaggedCached), p.cachedInFiles))
	}
	return p, nil
}

// authenticated tells who may see the last known APIs while nobody can be asked:
// kube-apiserver's system:discovery is for everybody who is authenticated.
func authenticated(r *http.Request) bool { return request.From(r.Context()).Effective() != nil }

func (p *policies) newLimiter(registry *prometheus.Registry) error {
	config := limiter.Config{Clock: clock.RealClock{}, Registry: registry, Replica: p.options.replicaName, Log: p.log.Named("limiter")}
	if p.options.redisURL != "" {
		var err error
		if p.redis, err = limiter.NewRedis(limiter.RedisConfig{
			URL: p.options.redisURL, PasswordFile: p.options.redisPasswordFile, CAFile: p.options.redisCAFile, Prefix: limiter.DefaultRedisPrefix,
		}); err != nil {
			return fmt.Errorf("--redis, --redis-password-file, --redis-ca-file: %w", err)
		}
		config.Shared = p.redis
		// The client logs through a package variable; that it has to dial again is
		// what the limiter tells by itself.
		redis.SetLogger(&logging.VoidLogger{})
	}
	var err error
	p.limiter, err = limiter.New(config)
	return err
}

// start opens the store, and returns once policies are in force: those of the
// store, or while a shared one cannot be reached those of the last run. Stop ends
// everything and waits for it.
func (p *policies) start(ctx context.Context) (stop func(), err error) {
	running, cancel := context.WithCancel(context.Background())
	// The API outlives those who use it.
	apiRunning, endAPI := context.WithCancel(context.Background())
	apiDone, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(apiDone)
		if err := p.api.Run(apiRunning); err != nil {
			p.failed <- fmt.Errorf("the policy API: %w", err)
		}
	}()
	go func() {
		defer close(done)
		p.follow(running)
	}()
	stop = func() {
		cancel()
		<-done
		endAPI()
		<-apiDone
		p.events.Shutdown()
		if p.redis != nil {
			_ = p.redis.Close()
		}
	}
	if err := p.await(ctx); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// await waits for the store.
func (p *policies) await(ctx context.Context) error {
	patience := storeStart
	if len(p.options.etcdServers) > 0 && p.policy.Ready() == nil {
		patience = sharedStoreStart
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- p.api.WaitReady(ctx) }()
	select {
	case err := <-p.failed:
		return err
	case err := <-ready:
		switch {
		case err == nil:
			return nil
		case len(p.options.etcdServers) > 0 && ctx.Err() == context.DeadlineExceeded:
			p.log.Warn("the shared policy store cannot be reached; going on with what was in force before, and trying again", zap.Error(err))
			return nil
		default:
			return err
		}
	}
}

// follow runs what depends on the API until ctx ends.
func (p *policies) follow(ctx context.Context) {
	seeded := make(chan struct{})
	parts := []func(context.Context) error{
		p.limiter.Run,
		func(ctx context.Context) error {
			if p.policy.Ready() != nil {
				// What is made at the first start is in force from the beginning.
				select {
				case <-seeded:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return p.policy.Run(ctx)
		},
		p.alerts.Run,
		func(ctx context.Context) error { p.nodes.Run(ctx); return nil },
		func(ctx context.Context) error { p.seed(ctx, sync.OnceFunc(func() { close(seeded) })); return nil },
		func(ctx context.Context) error { p.publish(ctx); return nil },
	}
	ended := make(chan struct{}, len(parts))
	for _, run := range parts {
		go func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				p.log.Warn("ended with an error", zap.Error(err))
			}
			ended <- struct{}{}
		}()
	}
	for range parts {
		<-ended
	}
}

// seed makes the policies of files, and in a new store the default ones, and the
// groups and cached resources of the flags. What operators have changed or deleted
// stays so; but a file is an operator's word, and what it says is made again at every
// start. It says when it has tried once.
func (p *policies) seed(ctx context.Context, tried func()) {
	for {
		err := p.trySeed(ctx)
		tried()
		if err == nil || ctx.Err() != nil {
			return
		}
		p.log.Warn("policies could not be made; trying again", zap.Error(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Second):
		}
	}
}

func (p *policies) trySeed(ctx context.Context) error {
	if err := p.api.WaitReady(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, seedTimeout)
	defer cancel()
	if err := p.seedGroups(ctx); err != nil {
		return err
	}
	if err := p.seedCached(ctx); err != nil {
		return err
	}
	if p.options.defaultPolicies {
		err := p.api.Once(ctx, defaultsName, func(ctx context.Context) error {
			objects, err := policy.Defaults()
			if err != nil {
				return err
			}
			return p.create(ctx, "default policies made", objects)
		})
		if err != nil {
			return err
		}
	}
	if err := p.create(ctx, "policies of --policy-dir made", p.seeds); err != nil {
		return err
	}
	if err := p.compareGroups(ctx); err != nil {
		return err
	}
	return p.compareCached(ctx)
}

func (p *policies) create(ctx context.Context, what string, objects []runtime.Object) error {
	n, err := p.policy.Create(ctx, objects)
	if n > 0 {
		p.log.Info(what, zap.Int("created", n), zap.Int("of", len(objects)))
	}
	return err
}

// handler serves the API, and says so while it cannot.
func (p *policies) handler() http.Handler { return p.api.Handler() }

package cache

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Config is what a Cache is made of. All fields are needed.
type Config struct {
	// Resources are what is cached.
	Resources []Resource
	// Client reaches upstream as the gateway itself; the host of requests is ignored.
	Client http.RoundTripper
	// Authorizer asks the apiserver who may read. It remembers nothing itself.
	Authorizer authorizer.Authorizer
	// OutageTTL is for how long a permission holds that nobody can be asked about.
	OutageTTL time.Duration
	UserAgent string
	Clock     clock.WithTicker
	Log       *zap.Logger
	Registry  prometheus.Registerer
}

// Cache answers reads. It is safe for concurrent use.
type Cache struct {
	config    Config
	forms     forms
	access    *access
	revoked   *revocations
	resources map[resourceKey]*resource
	metrics   *metrics
	// started has streams that are to be run.
	started chan func(context.Context)
}

type resourceKey struct{ group, version, plural string }

// resource is a cached resource with a stream for every encoding that was asked
// for.
type resource struct {
	Resource
	streams [2]atomic.Pointer[stream]
	mu      sync.Mutex
}

// New returns a Cache that is empty until Run.
func New(config Config) (*Cache, error) {
	c := &Cache{config: config, resources: map[resourceKey]*resource{}, metrics: newMetrics(), started: make(chan func(context.Context), 2*len(config.Resources)+len(revoking))}
	c.revoked = newRevocations(c)
	var err error
	if c.access, err = newAccess(config.Authorizer, config.OutageTTL, config.Clock, c.revoked.followed); err != nil {
		return nil, err
	}
	for _, r := range config.Resources {
		c.resources[resourceKey{r.Group, r.Version, r.Plural}] = &resource{Resource: r}
	}
	c.metrics.register(config.Registry, c)
	return c, nil
}

// Run follows upstream until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	c.revoked.start()
	for _, r := range c.resources {
		// Generated clients ask for it first.
		c.stream(r, preferred(&r.Resource))
	}
	ticker := c.config.Clock.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			c.each(func(_ *resource, s *stream) { s.hub.End(context.Cause(ctx)) })
			return
		case run := <-c.started:
			running.Go(func() { run(ctx) })
		case <-ticker.C():
			now := c.config.Clock.Now()
			c.each(func(_ *resource, s *stream) {
				s.hub.Tick(now)
				s.learned.tick()
			})
		}
	}
}

func preferred(r *Resource) wire.Encoding {
	if r.Custom {
		return wire.JSON
	}
	return wire.Protobuf
}

func (c *Cache) each(do func(*resource, *stream)) {
	for _, r := range c.resources {
		for i := range r.streams {
			if s := r.streams[i].Load(); s != nil {
				do(r, s)
			}
		}
	}
}

// stream returns that of an encoding, which is made when it is first asked for.
func (c *Cache) stream(r *resource, encoding wire.Encoding) *stream {
	if s := r.streams[encoding].Load(); s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[encoding].Load(); s != nil {
		return s
	}
	s := newStream(&r.Resource, encoding, c.config.Clock)
	s.probe = &prober{client: c.config.Client, resource: &r.Resource, encoding: encoding, userAgent: c.config.UserAgent}
	s.restart = c.follow(&r.Resource, encoding, s)
	r.streams[encoding].Store(s)
	return s
}

// follow has a sink fed, and returns how to start over.
func (c *Cache) follow(r *Resource, encoding wire.Encoding, sink upstream.Sink) (restart func(error)) {
	s := upstream.New(upstream.Config{
		Client: c.config.Client, Path: r.Path(), Kind: &r.Kind, Encoding: encoding, MaxObject: maxObject,
		UserAgent: c.config.UserAgent, Clock: c.config.Clock, Log: c.config.Log,
	}, sink)
	c.started <- s.Run
	return s.Restart
}

// Answer says how a request is answered from the cache, or why it is not. Waiting
// for the state that it needs ends with ctx. Attributes have an identity.
func (c *Cache) Answer(ctx context.Context, r *http.Request, a *request.Attributes) (*Answer, Reason) {
	answer, reason := c.answer(ctx, r, a)
	c.metrics.count(a, reason)
	return answer, reason
}

// answer is the whole decision: each step goes on or declines, and nothing of the
// state is looked at before the client may see it.
func (c *Cache) answer(ctx context.Context, r *http.Request, a *request.Attributes) (*Answer, Reason) {
	if !a.IsResourceRequest || r.Method != http.MethodGet || (a.Verb != "get" && a.Verb != "list" && a.Verb != "watch") {
		return nil, NoRead
	}
	res := c.resources[resourceKey{a.APIGroup, a.APIVersion, a.Resource}]
	if res == nil || a.Subresource != "" {
		return nil, NotCached
	}
	namespace, name := a.Namespace, ""
	if !res.Namespaced {
		namespace = ""
	}
	if a.Verb == "get" {
		name = a.Name
	}
	if r.URL.RawPath != "" || r.URL.Path != res.path(namespace, name) {
		return nil, Spelling
	}
	q, plain := parseQuery(r.URL.RawQuery)
	if !plain {
		return nil, Spelling
	}
	form := c.forms.of(r, a.Verb)
	if !form.ok || (form.encoding == wire.Protobuf && res.Custom) {
		return nil, Form
	}
	s := c.stream(res, form.encoding)
	if !s.ready.Load() {
		return nil, Loading
	}
	if s.hub.Formats().Of(form.view) == nil {
		return nil, Form
	}
	selected, err := selection.Parse(s.kind, res.Namespaced, namespace, name, q.labelSelector, q.fieldSelector)
	if err != nil {
		return nil, Selector
	}
	var p point
	var ok bool
	switch a.Verb {
	case "get":
		p, ok = q.ofGet()
	case "list":
		p, ok = q.ofList(selected.Prefix())
	default:
		p, ok = q.ofWatch()
	}
	if !ok {
		return nil, Version
	}
	switch allowed, err := c.access.allowed(ctx, a); {
	case err != nil:
		return nil, Unjudged
	case !allowed:
		return nil, Denied
	}
	answer := &Answer{stream: s, form: form, selection: selected, point: p, query: &q, encoding: contentEncoding(r.Header)}
	return answer.prepare(ctx, a.Verb, c.config.Clock.Now())
}

// Resources returns what is cached and how far it is, for people.
func (c *Cache) Resources() (all []Status) {
	c.each(func(r *resource, s *stream) {
		snapshot := s.hub.Snapshot()
		all = append(all, Status{
			Resource: r.Resource, Encoding: s.encoding, Ready: s.ready.Load(), Objects: snapshot.Len(),
			ResourceVersion: snapshot.ResourceVersion(), Watchers: s.hub.Watchers(),
		})
	})
	return all
}

// Status is how far the cache is with a resource in one encoding.
type Status struct {
	Resource        Resource
	Encoding        wire.Encoding
	Ready           bool
	Objects         int
	ResourceVersion uint64
	Watchers        int
}

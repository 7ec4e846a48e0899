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

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Config is what a Cache is made of. All fields are needed.
type Config struct {
	// Client reaches upstream as the gateway itself; the host of requests is ignored.
	Client http.RoundTripper
	// Authorizer asks the apiserver who may read. It remembers nothing itself.
	Authorizer authorizer.Authorizer
	// OutageTTL is for how long a permission holds that nobody can be asked about.
	OutageTTL time.Duration
	// ServeStale tells whether an operator has allowed reads of the newest state to
	// be answered with the last one that is known while upstream is away.
	ServeStale func(*request.Attributes) bool
	// MemoryLimit bounds the objects in memory, in bytes; 0 for no bound. A resource
	// that does not fit is not cached.
	MemoryLimit int64
	// CheckEvery is how often the cache is compared with upstream; 0 for never.
	CheckEvery time.Duration
	UserAgent  string
	Clock      clock.WithTicker
	Log        *zap.Logger
	Registry   prometheus.Registerer
}

// Cache answers reads. It is safe for concurrent use.
type Cache struct {
	config  Config
	forms   forms
	access  *access
	revoked *revocations
	defined *definitions
	writes  *writes
	budget  budget
	metrics *metrics

	// wanted is what is to be cached, published what is: it is replaced by Run alone.
	wanted    atomic.Pointer[[]*v1alpha1.CachedResource]
	published atomic.Pointer[published]
	// started tells that Ready has been nil.
	started atomic.Bool
	// wake has a message when Run has something to do.
	wake chan struct{}
	mu   sync.Mutex
	// starting are streams that Run is to run.
	starting []func()
}

// published is what is cached. It is immutable.
type published struct {
	// of is what was wanted.
	of *[]*v1alpha1.CachedResource
	// partial tells that of what is wanted some was not known yet.
	partial   bool
	resources map[resourceKey]*resource
	// reasons tell by the names of CachedResources why nothing is cached for them.
	reasons map[string]string
}

// New returns a Cache that is empty until Run.
func New(config Config) (*Cache, error) {
	c := &Cache{config: config, budget: budget{limit: config.MemoryLimit}, writes: newWrites(), metrics: newMetrics(), wake: make(chan struct{}, 1)}
	c.wanted.Store(new([]*v1alpha1.CachedResource))
	c.published.Store(&published{})
	c.revoked = newRevocations(c)
	c.defined = newDefinitions(config.Clock, c.changed)
	var err error
	if c.access, err = newAccess(config.Authorizer, config.OutageTTL, config.Clock, c.revoked.followed); err != nil {
		return nil, err
	}
	c.metrics.register(config.Registry, c)
	return c, nil
}

// Update has these resources cached, and no others. They have their defaults set,
// and no two are for the same resource.
func (c *Cache) Update(resources []*v1alpha1.CachedResource) {
	c.wanted.Store(&resources)
	c.changed()
}

func (c *Cache) changed() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run follows upstream until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.checks(ctx) })
	ticker := c.config.Clock.NewTicker(time.Second)
	defer ticker.Stop()
	c.changed()
	settling := false
	for {
		select {
		case <-ctx.Done():
			c.each(func(_ *resource, s *stream) { s.hub.End(context.Cause(ctx)) })
			return
		case <-c.wake:
			settling = c.reconcile(ctx)
			for _, run := range c.takeStarting() {
				running.Go(run)
			}
		case <-ticker.C():
			if settling {
				c.changed()
			}
			now := c.config.Clock.Now()
			c.each(func(r *resource, s *stream) {
				s.hub.Tick(now)
				s.learned.tick()
				s.proofs.tick()
				if s.relaxed.due(now, s.proofs.newest.Load()) {
					running.Go(func() {
						defer s.relaxed.done()
						s.prove(r.ctx, need{since: now, patient: true})
					})
				}
			})
		}
	}
}

// reconcile publishes what is wanted, as far as it is known: it starts what is new,
// and ends what is not wanted any more or has become something else. It tells
// whether it is to be called again although nothing changes.
func (c *Cache) reconcile(ctx context.Context) (settling bool) {
	before := c.published.Load()
	next := &published{of: c.wanted.Load(), resources: map[resourceKey]*resource{}, reasons: map[string]string{}}
	var fresh []*resource
	next.partial = c.defined.unread()
	for _, o := range *next.of {
		key := keyOf(&o.Spec)
		d, why, wait := c.define(ctx, key)
		settling = settling || wait
		if why != "" {
			next.reasons[o.Name] = why
			continue
		}
		r := before.resources[key]
		if r == nil || !r.same(d, o) {
			r = newResource(ctx, d, o)
			fresh = append(fresh, r)
		}
		next.resources[key] = r
	}
	next.partial = next.partial || c.defined.unread()
	if len(fresh) > 0 {
		// From the first resource on: nobody else needs the right to.
		c.revoked.start(ctx)
	}
	for _, r := range fresh {
		c.stream(r, preferred(&r.Resource))
		c.config.Log.Info("caching", zap.String("resource", r.name()), zap.String("cachedResource", r.object))
	}
	c.published.Store(next)
	for key, r := range before.resources {
		if next.resources[key] != r {
			c.config.Log.Info("not caching any more as before", zap.String("resource", r.name()), zap.String("cachedResource", r.object))
			r.remove(errRemoved)
		}
	}
	return settling
}

// define returns what is known of a resource, or why it cannot be cached; wait tells
// that this changes with time alone.
func (c *Cache) define(ctx context.Context, key resourceKey) (d definition, why string, wait bool) {
	if r := builtinAt(key); r != nil {
		return definition{Resource: *r}, "", false
	}
	if _, err := Cacheable(key.group, key.version, key.plural); err != nil {
		return d, err.Error(), false
	}
	c.defined.follow(ctx, c)
	return c.defined.find(key)
}

func (c *Cache) takeStarting() (runs []func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	runs, c.starting = c.starting, nil
	return runs
}

func (c *Cache) each(do func(*resource, *stream)) {
	for _, r := range c.published.Load().resources {
		r.each(func(s *stream, _ *monitor) { do(r, s) })
	}
}

// stream returns that of an encoding, which is made when it is first asked for. Of
// a resource that has ended it is one that is never ready.
func (c *Cache) stream(r *resource, encoding wire.Encoding) *stream {
	if s := r.streams[encoding].Load(); s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[encoding].Load(); s != nil {
		return s
	}
	ask := c.ask(&r.Resource, encoding)
	s := newStream(&r.Resource, &r.settings, encoding, ask, c.config.Clock)
	s.memory.of = &c.budget
	s.restart = func(error) {}
	if r.ended {
		return s
	}
	m := newMonitor(s, c.config.Clock)
	s.restart = c.follow(r.ctx, ask, m)
	r.monitors[encoding].Store(m)
	r.streams[encoding].Store(s)
	return s
}

// ask returns who asks about a resource in an encoding.
func (c *Cache) ask(r *Resource, encoding wire.Encoding) *asker {
	return &asker{client: c.config.Client, resource: r, encoding: encoding, userAgent: c.config.UserAgent}
}

// follow has a sink fed until ctx ends, and returns how to start over.
func (c *Cache) follow(ctx context.Context, ask *asker, sink upstream.Sink) (restart func(error)) {
	s := upstream.New(upstream.Config{
		Client: ask.client, Path: ask.resource.Path(), Kind: &ask.resource.Kind, Encoding: ask.encoding, MaxObject: maxObject,
		UserAgent: ask.userAgent, Now: ask.probe, Clock: c.config.Clock, Log: c.config.Log,
	}, sink)
	c.mu.Lock()
	c.starting = append(c.starting, func() { s.Run(ctx) })
	c.mu.Unlock()
	c.changed()
	return s.Restart
}

// Allowed tells whether the apiserver lets the request's effective user do what it
// asks for. It says no if it cannot be asked.
func (c *Cache) Allowed(ctx context.Context, a *request.Attributes) bool {
	allowed, err := c.access.allowed(ctx, a)
	return err == nil && allowed
}

// Answer says how a request is answered from the cache, or why it is not. Waiting
// for the state that it needs ends with ctx. Attributes have an identity.
func (c *Cache) Answer(ctx context.Context, r *http.Request, a *request.Attributes) (*Answer, Reason) {
	answer, reason := c.answer(ctx, r, a)
	c.metrics.count(a, reason)
	if answer != nil {
		c.metrics.countAnswer(a, answer)
	}
	return answer, reason
}

// answer is the whole decision: each step goes on or declines, and nothing of the
// state is looked at before the client may see it.
func (c *Cache) answer(ctx context.Context, r *http.Request, a *request.Attributes) (*Answer, Reason) {
	if !a.IsResourceRequest || r.Method != http.MethodGet || (a.Verb != "get" && a.Verb != "list" && a.Verb != "watch") {
		return nil, NoRead
	}
	res := c.published.Load().resources[resourceKey{a.APIGroup, a.APIVersion, a.Resource}]
	if res == nil || a.Subresource != "" || !res.settings.answers(a.Verb) {
		return nil, NotCached
	}
	namespace, name := a.Namespace, ""
	if !res.Namespaced {
		namespace = ""
	}
	if a.Verb == "get" {
		name = a.Name
	}
	if r.URL.RawPath != "" || !res.at(r.URL.Path, namespace, name) {
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
	s := res.streams[form.encoding].Load()
	if s == nil {
		// Nothing is read, and held, for who may not see it.
		if reason, ok := c.permits(ctx, a); !ok {
			return nil, reason
		}
		s = c.stream(res, form.encoding)
	}
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
	if p.kind == newest {
		p = c.freshness(s, a, p)
	}
	if a.Verb == "get" && p.kind == newest && s.forlorn(p.need) {
		return nil, Strict
	}
	if reason, ok := c.permits(ctx, a); !ok {
		return nil, reason
	}
	answer := &Answer{stream: s, form: form, selection: selected, point: p, query: &q, encoding: contentEncoding(r.Header), client: a}
	return answer.prepare(ctx, a.Verb, c.config.Clock.Now())
}

// permits tells whether the request's effective user may do what it asks for, and why
// it is not answered if not.
func (c *Cache) permits(ctx context.Context, a *request.Attributes) (Reason, bool) {
	switch allowed, err := c.access.allowed(ctx, a); {
	case err != nil:
		return Unjudged, false
	case !allowed:
		return Denied, false
	}
	return Hit, true
}

package policy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/switches"
)

// limiter is what enforces RateLimits.
type limiter interface {
	// Update makes the rules take effect; nodes is how many the cluster has.
	Update(rules []*v1alpha1.RateLimit, nodes int)
}

// router is what decides which servers answer a request.
type router interface {
	// Update makes groups, which have their defaults set, Routes and Switches of
	// type ForceGroup take effect. Such a Switch may have expired.
	Update(groups []*v1alpha1.UpstreamGroup, routes []*v1alpha1.Route, forced []*v1alpha1.Switch)
}

// keeper is what answers reads from memory.
type keeper interface {
	// Update has these resources kept, and no others. They have their defaults set,
	// and no two are for the same resource.
	Update(resources []*v1alpha1.CachedResource)
}

// Config is what a Policy is made of. All fields are needed unless they say
// otherwise.
type Config struct {
	// Client reaches the gateway's own API.
	Client *rest.Config
	// Limiter enforces RateLimits.
	Limiter limiter
	// Router follows UpstreamGroups, Routes and Switches of type ForceGroup.
	Router router
	// Cache follows CachedResources.
	Cache keeper
	// StateFile keeps the objects of the last snapshot.
	StateFile string
	// Nodes counts the nodes of the cluster.
	Nodes *NodeCounter

	Clock    clock.WithTicker
	Log      *zap.Logger
	Registry prometheus.Registerer
}

// Policy holds the policies in force.
type Policy struct {
	config  Config
	client  *rest.RESTClient
	current atomic.Pointer[snapshot]

	classes  *table[v1alpha1.ClientClass]
	limits   *table[v1alpha1.RateLimit]
	switches *table[v1alpha1.Switch]
	groups   *table[v1alpha1.UpstreamGroup]
	routes   *table[v1alpha1.Route]
	cached   *table[v1alpha1.CachedResource]
	// wake has one message if something has changed since the last compilation.
	wake chan struct{}

	// Of the compiling goroutine alone:
	active  map[string]*v1alpha1.Switch
	nodes   int
	metrics *metrics
}

// snapshot is what a request meets. It is immutable.
type snapshot struct {
	classifier *request.Classifier
	switches   *switches.Set
}

// New returns a Policy with the objects of an earlier run in force, if there was
// one.
func New(config Config) (*Policy, error) {
	p := &Policy{config: config, wake: make(chan struct{}, 1), active: map[string]*v1alpha1.Switch{}, metrics: newMetrics(config.Registry)}
	p.classes = newTable[v1alpha1.ClientClass](p.changed)
	p.limits = newTable[v1alpha1.RateLimit](p.changed)
	p.switches = newTable[v1alpha1.Switch](p.changed)
	p.groups = newTable[v1alpha1.UpstreamGroup](p.changed)
	p.routes = newTable[v1alpha1.Route](p.changed)
	p.cached = newTable[v1alpha1.CachedResource](p.changed)
	config.Nodes.changed = p.changed

	client := rest.CopyConfig(config.Client)
	client.APIPath = "/apis"
	client.GroupVersion = &v1alpha1.SchemeGroupVersion
	client.NegotiatedSerializer = serializer.NewCodecFactory(newScheme()).WithoutConversion()
	client.QPS = -1
	var err error
	if p.client, err = rest.RESTClientFor(client); err != nil {
		return nil, err
	}
	saved, err := loadState(config.StateFile)
	if err != nil {
		// Not worth refusing to start for: the store has them, too.
		config.Log.Warn("the policies of the last run cannot be read", zap.Error(err))
	}
	if saved != nil {
		p.classes.fill(saved.Classes)
		p.limits.fill(saved.Limits)
		p.switches.fill(saved.Switches)
		p.groups.fill(saved.Groups)
		p.routes.fill(saved.Routes)
		p.cached.fill(saved.Cached)
		p.compile()
	}
	return p, nil
}

// Ready returns nil once there are policies in force.
func (p *Policy) Ready() error {
	if p.current.Load() == nil {
		return errors.New("the policies have not been read yet")
	}
	return nil
}

// Classify returns the class of an authenticated request, and the class it only
// claimed to have (see request.Classifier).
func (p *Policy) Classify(a *request.Attributes) (class, claimed *request.Class) {
	if s := p.current.Load(); s != nil {
		return s.classifier.Classify(a)
	}
	return request.Unknown, nil
}

// Refuse returns the switch that refuses a classified request, nil if none does.
func (p *Policy) Refuse(a *request.Attributes) *switches.Refusal {
	if s := p.current.Load(); s != nil {
		return s.switches.Refuse(a, p.config.Clock.Now)
	}
	return nil
}

// ServesStale tells whether a switch lets a classified read be answered from memory
// while upstream is away, however old that is.
func (p *Policy) ServesStale(a *request.Attributes) bool {
	s := p.current.Load()
	return s != nil && s.switches.ServesStale(a, p.config.Clock.Now)
}

func (p *Policy) changed() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run follows the policies until ctx ends.
func (p *Policy) Run(ctx context.Context) error {
	var running errgroup.Group
	p.reflect(ctx, &running, "clientclasses", &v1alpha1.ClientClass{}, p.classes)
	p.reflect(ctx, &running, "ratelimits", &v1alpha1.RateLimit{}, p.limits)
	p.reflect(ctx, &running, "switches", &v1alpha1.Switch{}, p.switches)
	p.reflect(ctx, &running, "upstreamgroups", &v1alpha1.UpstreamGroup{}, p.groups)
	p.reflect(ctx, &running, "routes", &v1alpha1.Route{}, p.routes)
	p.reflect(ctx, &running, "cachedresources", &v1alpha1.CachedResource{}, p.cached)
	status := newStatusWriter(p)
	running.Go(func() error {
		status.run(ctx)
		return nil
	})
	running.Go(func() error {
		p.follow(ctx, status)
		return nil
	})
	return running.Wait()
}

func (p *Policy) reflect(ctx context.Context, running *errgroup.Group, resource string, kind runtime.Object, store cache.ReflectorStore) {
	lister := cache.NewListWatchFromClient(p.client, resource, "", fields.Everything())
	reflector := cache.NewReflectorWithOptions(lister, kind, store, cache.ReflectorOptions{Name: "policy " + resource})
	running.Go(func() error {
		reflector.RunWithContext(ctx)
		return nil
	})
}

// follow compiles whenever something has changed, or a switch is over.
func (p *Policy) follow(ctx context.Context, status *statusWriter) {
	for {
		// The timer of a switch that was changed meanwhile wakes for nothing, once.
		var expiry <-chan time.Time
		now := p.config.Clock.Now()
		if next := p.nextExpiry(now); !next.IsZero() {
			expiry = p.config.Clock.After(next.Sub(now))
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-expiry:
		}
		if p.compile() {
			status.wake()
		}
	}
}

// nextExpiry returns when the next switch is over after the given time; zero if
// none is on.
func (p *Policy) nextExpiry(now time.Time) (next time.Time) {
	for _, s := range p.active {
		at := s.Status.ExpiresAt.Time
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// compile publishes a snapshot of all objects, and tells whether they were all
// there.
func (p *Policy) compile() bool {
	all, kinds := p.objects()
	complete := kinds == kindCount
	if p.current.Load() == nil && !complete && all.empty() {
		// The first objects arrive kind by kind; half of them is not a policy.
		return false
	}
	if !complete && kinds > 0 {
		return false
	}
	all = p.compilable(all)
	next := &snapshot{classifier: request.NewClassifier(all.Classes), switches: switches.New(all.Switches)}
	p.nodes = p.config.Nodes.Count()
	p.config.Limiter.Update(all.Limits, p.nodes)
	p.config.Router.Update(all.Groups, all.Routes, forced(all.Switches))
	p.config.Cache.Update(firsts(all.Cached))
	p.current.Store(next)
	p.logSwitches(all.Switches)
	p.metrics.observe(all, p.active, p.nodes)
	if complete {
		if err := saveState(p.config.StateFile, all); err != nil {
			p.config.Log.Warn("the policies in force could not be kept for the next start", zap.Error(err))
		}
	}
	return complete
}

// kindCount is how many kinds of policies there are.
const kindCount = 6

// objects returns the objects of all kinds, and how many kinds have been read
// from the store.
func (p *Policy) objects() (all *state, kinds int) {
	all = &state{
		Classes: counted(p.classes, &kinds), Limits: counted(p.limits, &kinds), Switches: counted(p.switches, &kinds),
		Groups: counted(p.groups, &kinds), Routes: counted(p.routes, &kinds), Cached: counted(p.cached, &kinds),
	}
	return all, kinds
}

func counted[T any](t *table[T], kinds *int) []*T {
	objects, synced := t.list()
	if synced {
		*kinds++
	}
	return objects
}

// compilable returns the objects that are valid, with their defaults where an older
// gateway may have known fewer.
func (p *Policy) compilable(all *state) *state {
	groups := make([]*v1alpha1.UpstreamGroup, len(all.Groups))
	for i, group := range all.Groups {
		// Only what an older gateway has kept can lack any.
		groups[i] = group.DeepCopy()
		v1alpha1.SetDefaults_UpstreamGroup(groups[i])
	}
	cached := make([]*v1alpha1.CachedResource, len(all.Cached))
	for i, resource := range all.Cached {
		cached[i] = resource.DeepCopy()
		v1alpha1.SetDefaults_CachedResource(cached[i])
	}
	return &state{
		Classes: valid(p, "ClientClass", all.Classes), Limits: valid(p, "RateLimit", all.Limits), Switches: valid(p, "Switch", all.Switches),
		Groups: valid(p, "UpstreamGroup", groups), Routes: valid(p, "Route", all.Routes),
		Cached: valid(p, "CachedResource", cached),
	}
}

// forced returns the Switches of type ForceGroup.
func forced(all []*v1alpha1.Switch) (forced []*v1alpha1.Switch) {
	for _, s := range all {
		if s.Spec.Type == v1alpha1.SwitchForceGroup {
			forced = append(forced, s)
		}
	}
	return forced
}

// valid returns the objects that can be compiled. Others can only be there if
// an older or newer gateway has stored them.
func valid[T any](p *Policy, kind string, objects []*T) []*T {
	var kept []*T
	for _, o := range objects {
		if faults := Validate(any(o).(runtime.Object)); len(faults) > 0 {
			name, _ := nameOf(o)
			p.config.Log.Warn("a policy is invalid and not in force", zap.String("kind", kind), zap.String("name", name), zap.Error(faults.ToAggregate()))
			continue
		}
		kept = append(kept, o)
	}
	return kept
}

// logSwitches tells when a switch goes on and off.
func (p *Policy) logSwitches(all []*v1alpha1.Switch) {
	now := p.config.Clock.Now()
	active := map[string]*v1alpha1.Switch{}
	for _, s := range all {
		if s.Status.ExpiresAt != nil && now.Before(s.Status.ExpiresAt.Time) {
			active[s.Name] = s
			if p.active[s.Name] == nil {
				p.config.Log.Warn("switch on", switchFields(s)...)
			}
		}
	}
	for name, s := range p.active {
		if active[name] == nil {
			p.config.Log.Warn("switch off", switchFields(s)...)
		}
	}
	p.active = active
}

func switchFields(s *v1alpha1.Switch) []zap.Field {
	return []zap.Field{
		zap.String("switch", s.Name), zap.String("type", string(s.Spec.Type)), zap.String("by", s.Status.RequestedBy),
		zap.String("reason", s.Spec.Reason), zap.Time("expiresAt", s.Status.ExpiresAt.Time),
	}
}

// Read reads the stored object of the kind and name of object into it, and tells
// whether there is one.
func (p *Policy) Read(ctx context.Context, object runtime.Object) (found bool, err error) {
	name, err := nameOf(object)
	if err != nil {
		return false, err
	}
	err = p.client.Get().Resource(resourceOf(object)).Name(name).Do(ctx).Into(object)
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	}
	return false, fmt.Errorf("%s %s: %w", resourceOf(object), name, err)
}

// Create makes the objects that are not there yet, and returns how many it made.
func (p *Policy) Create(ctx context.Context, objects []runtime.Object) (created int, err error) {
	for _, object := range objects {
		name, err := nameOf(object)
		if err != nil {
			return created, err
		}
		err = p.client.Post().Resource(resourceOf(object)).Body(object).Do(ctx).Error()
		switch {
		case err == nil:
			created++
		case !apierrors.IsAlreadyExists(err):
			return created, fmt.Errorf("%s %s: %w", resourceOf(object), name, err)
		}
	}
	return created, nil
}

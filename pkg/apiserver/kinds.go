package apiserver

import (
	"context"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/validation"
)

// kind is what one kind does differently from the others.
type kind struct {
	resource, singular, shortName string

	new, newList func() runtime.Object
	// parts returns pointers to the spec and the status of an object.
	parts func(runtime.Object) (spec, status any)

	validate       func(runtime.Object) field.ErrorList
	validateUpdate func(o, old runtime.Object) field.ErrorList
	// created and updated set what the server itself knows of the status, after a
	// client has created an object or written its spec. kept sees to it that a
	// client's write of the status leaves that alone.
	created func(context.Context, runtime.Object)
	updated func(o, old runtime.Object)
	kept    func(o, old runtime.Object)

	columns []metav1.TableColumnDefinition
	// cells has a row for columns, without the name and the age.
	cells func(runtime.Object) []any

	// live makes the subresource of that name. Nil if there is none.
	live func(Live) *live
}

func kinds(clock clock.PassiveClock) []*kind {
	all := []*kind{clientClass(), rateLimit(), switchKind(clock), upstreamGroup(), route(), cachedResource()}
	for _, k := range all {
		k.fill()
	}
	return all
}

// fill sets what a kind has not got to do.
func (k *kind) fill() {
	nothing := func(_, _ runtime.Object) {}
	if k.validateUpdate == nil {
		k.validateUpdate = func(o, _ runtime.Object) field.ErrorList { return k.validate(o) }
	}
	if k.created == nil {
		k.created = func(context.Context, runtime.Object) {}
	}
	if k.updated == nil {
		k.updated = nothing
	}
	if k.kept == nil {
		k.kept = nothing
	}
}

func clientClass() *kind {
	return &kind{
		resource: "clientclasses", singular: "clientclass", shortName: "cc",
		new:     func() runtime.Object { return &v1alpha1.ClientClass{} },
		newList: func() runtime.Object { return &v1alpha1.ClientClassList{} },
		parts: func(o runtime.Object) (any, any) {
			c := o.(*v1alpha1.ClientClass)
			return &c.Spec, &c.Status
		},
		validate: func(o runtime.Object) field.ErrorList {
			return validation.ValidateClientClass(o.(*v1alpha1.ClientClass))
		},
		columns: clientClassColumns(),
		cells:   func(o runtime.Object) []any { return clientClassCells(o.(*v1alpha1.ClientClass)) },
	}
}

func rateLimit() *kind {
	return &kind{
		resource: "ratelimits", singular: "ratelimit", shortName: "rl",
		new:     func() runtime.Object { return &v1alpha1.RateLimit{} },
		newList: func() runtime.Object { return &v1alpha1.RateLimitList{} },
		parts: func(o runtime.Object) (any, any) {
			l := o.(*v1alpha1.RateLimit)
			return &l.Spec, &l.Status
		},
		validate: func(o runtime.Object) field.ErrorList {
			return validation.ValidateRateLimit(o.(*v1alpha1.RateLimit))
		},
		columns: rateLimitColumns(),
		cells:   func(o runtime.Object) []any { return rateLimitCells(o.(*v1alpha1.RateLimit)) },
		live:    rateLimitLive,
	}
}

func upstreamGroup() *kind {
	return &kind{
		resource: "upstreamgroups", singular: "upstreamgroup", shortName: "ug",
		new:     func() runtime.Object { return &v1alpha1.UpstreamGroup{} },
		newList: func() runtime.Object { return &v1alpha1.UpstreamGroupList{} },
		parts: func(o runtime.Object) (any, any) {
			g := o.(*v1alpha1.UpstreamGroup)
			return &g.Spec, &g.Status
		},
		validate: func(o runtime.Object) field.ErrorList {
			return validation.ValidateUpstreamGroup(o.(*v1alpha1.UpstreamGroup))
		},
		columns: upstreamGroupColumns(),
		cells:   func(o runtime.Object) []any { return upstreamGroupCells(o.(*v1alpha1.UpstreamGroup)) },
		live:    upstreamGroupLive,
	}
}

func route() *kind {
	return &kind{
		resource: "routes", singular: "route", shortName: "rt",
		new:     func() runtime.Object { return &v1alpha1.Route{} },
		newList: func() runtime.Object { return &v1alpha1.RouteList{} },
		parts: func(o runtime.Object) (any, any) {
			r := o.(*v1alpha1.Route)
			return &r.Spec, &r.Status
		},
		validate: func(o runtime.Object) field.ErrorList {
			return validation.ValidateRoute(o.(*v1alpha1.Route))
		},
		columns: routeColumns(),
		cells:   func(o runtime.Object) []any { return routeCells(o.(*v1alpha1.Route)) },
	}
}

func cachedResource() *kind {
	return &kind{
		resource: "cachedresources", singular: "cachedresource", shortName: "cached",
		new:     func() runtime.Object { return &v1alpha1.CachedResource{} },
		newList: func() runtime.Object { return &v1alpha1.CachedResourceList{} },
		parts: func(o runtime.Object) (any, any) {
			c := o.(*v1alpha1.CachedResource)
			return &c.Spec, &c.Status
		},
		validate: func(o runtime.Object) field.ErrorList {
			return validation.ValidateCachedResource(o.(*v1alpha1.CachedResource))
		},
		columns: cachedResourceColumns(),
		cells:   func(o runtime.Object) []any { return cachedResourceCells(o.(*v1alpha1.CachedResource)) },
		live:    cachedResourceLive,
	}
}

// switchKind's status tells who turned a switch on and until when. Nobody can
// write these two.
func switchKind(clock clock.PassiveClock) *kind {
	expires := func(s *v1alpha1.Switch) *metav1.Time {
		if s.Spec.Duration == nil {
			return nil
		}
		// Whole seconds, as it is stored, and never less than was asked for.
		t := metav1.NewTime(clock.Now().Add(s.Spec.Duration.Duration + time.Second - 1)).Rfc3339Copy()
		return &t
	}
	return &kind{
		resource: "switches", singular: "switch", shortName: "sw",
		new:     func() runtime.Object { return &v1alpha1.Switch{} },
		newList: func() runtime.Object { return &v1alpha1.SwitchList{} },
		parts: func(o runtime.Object) (any, any) {
			s := o.(*v1alpha1.Switch)
			return &s.Spec, &s.Status
		},
		validate: func(o runtime.Object) field.ErrorList {
			return validation.ValidateSwitch(o.(*v1alpha1.Switch))
		},
		validateUpdate: func(o, old runtime.Object) field.ErrorList {
			return validation.ValidateSwitchUpdate(o.(*v1alpha1.Switch), old.(*v1alpha1.Switch))
		},
		created: func(ctx context.Context, o runtime.Object) {
			s := o.(*v1alpha1.Switch)
			if u, ok := apirequest.UserFrom(ctx); ok {
				s.Status.RequestedBy = u.GetName()
			}
			s.Status.ExpiresAt = expires(s)
		},
		updated: func(o, old runtime.Object) {
			s := o.(*v1alpha1.Switch)
			if !apiequality.Semantic.DeepEqual(s.Spec.Duration, old.(*v1alpha1.Switch).Spec.Duration) {
				s.Status.ExpiresAt = expires(s)
			}
		},
		kept: func(o, old runtime.Object) {
			s, was := o.(*v1alpha1.Switch), old.(*v1alpha1.Switch)
			s.Status.RequestedBy = was.Status.RequestedBy
			s.Status.ExpiresAt = was.Status.ExpiresAt.DeepCopy()
		},
		columns: switchColumns(),
		cells:   func(o runtime.Object) []any { return switchCells(o.(*v1alpha1.Switch), clock.Now()) },
	}
}

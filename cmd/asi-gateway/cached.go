package main

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
)

// cached answers reads from memory.
type cached interface {
	Update(resources []*v1alpha1.CachedResource)
	// Live returns the states of all CachedResources, by name.
	Live() map[string]v1alpha1.CacheState
}

// parseResources makes CachedResources of a flag.
func parseResources(names []string) ([]*v1alpha1.CachedResource, error) {
	var resources []*v1alpha1.CachedResource
	for _, name := range names {
		if name == "" {
			continue
		}
		group, version, plural, err := cache.ParseName(name)
		if err != nil {
			return nil, err
		}
		o := &v1alpha1.CachedResource{
			ObjectMeta: metav1.ObjectMeta{Name: plural},
			Spec:       v1alpha1.CachedResourceSpec{Group: group, Version: version, Resource: plural},
		}
		if group != "" {
			o.Name += "." + group
		}
		v1alpha1.SetDefaults_CachedResource(o)
		if faults := policy.Validate(o); len(faults) > 0 {
			return nil, fmt.Errorf("%q: %w", name, faults.ToAggregate())
		}
		if slices.ContainsFunc(resources, func(r *v1alpha1.CachedResource) bool { return r.Name == o.Name }) {
			return nil, fmt.Errorf("%q is named twice", o.Name)
		}
		resources = append(resources, o)
	}
	return resources, nil
}

// seedCached makes a CachedResource of each that the flag names, once: one that an
// operator has changed or deleted stays so. One that a policy file describes is made
// of the file.
func (p *policies) seedCached(ctx context.Context) error {
	for _, o := range p.flaggedCached {
		err := p.api.Once(ctx, cachedName+o.Name, func(ctx context.Context) error {
			if p.cachedInFiles(o) {
				return nil
			}
			return p.create(ctx, "cached resource made of the flag", []runtime.Object{o})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *policies) cachedInFiles(o *v1alpha1.CachedResource) bool {
	return slices.ContainsFunc(p.seeds, func(seed runtime.Object) bool {
		c, ok := seed.(*v1alpha1.CachedResource)
		return ok && c.Spec.Group == o.Spec.Group && c.Spec.Resource == o.Spec.Resource
	})
}

// compareCached warns of what the flag names and no object does.
func (p *policies) compareCached(ctx context.Context) error {
	if !p.options.cacheNamed {
		return nil
	}
	for _, o := range p.flaggedCached {
		stored := &v1alpha1.CachedResource{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}
		found, err := p.policy.Read(ctx, stored)
		if err != nil {
			return err
		}
		if !found && !p.cachedInFiles(o) {
			p.log.Warn("the flag is not in force: its CachedResource has been deleted, and the object counts; make it again, or leave the flag out",
				zap.String("flag", "--cache-resources"), zap.String("cachedResource", o.Name))
		}
	}
	return nil
}

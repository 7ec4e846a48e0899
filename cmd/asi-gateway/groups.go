package main

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

// router decides which servers answer a request.
type router interface {
	Update(groups []*v1alpha1.UpstreamGroup, routes []*v1alpha1.Route, forced []*v1alpha1.Switch)
	// LiveGroups returns the states of all groups, by name.
	LiveGroups() map[string]v1alpha1.GroupState
	// Explain tells which Route or Switch decides about a request, which group would
	// serve it, and whether that one's limits refuse it.
	Explain(a *request.Attributes) (route, group string, refused bool)
}

// flaggedGroup makes the UpstreamGroup of a flag. One that the API would not take
// could never become an object.
func (o *options) flaggedGroup(name string, servers []string) (*v1alpha1.UpstreamGroup, error) {
	group := routing.StaticGroup(name, servers...)
	if faults := policy.Validate(group); len(faults) > 0 {
		return nil, fmt.Errorf("%s: %w", o.flagOf(name), faults.ToAggregate())
	}
	return group, nil
}

// seedGroups makes UpstreamGroups of the flags, once: from then on the objects
// count, and what operators do to them. A group that a policy file describes is
// made of the file: it says more.
func (p *policies) seedGroups(ctx context.Context) error {
	return p.api.Once(ctx, groupsName, func(ctx context.Context) error {
		var objects []runtime.Object
		// Main, the first, comes last: it is there without an object, so that at no
		// moment there is main alone.
		for _, group := range slices.Backward(p.flagged) {
			if !p.inFiles(group.Name) {
				objects = append(objects, group)
			}
		}
		return p.create(ctx, "upstream groups made of the flags", objects)
	})
}

func (p *policies) inFiles(group string) bool {
	return slices.ContainsFunc(p.seeds, func(o runtime.Object) bool {
		g, ok := o.(*v1alpha1.UpstreamGroup)
		return ok && g.Name == group
	})
}

// compareGroups warns of flags that say something else than what counts. Without
// any UpstreamGroup the flags count.
func (p *policies) compareGroups(ctx context.Context) error {
	var warnings []func()
	none := true
	for _, group := range p.flagged {
		stored := &v1alpha1.UpstreamGroup{}
		stored.Name = group.Name
		found, err := p.policy.Read(ctx, stored)
		if err != nil {
			return err
		}
		none = none && !found
		fields := []zap.Field{zap.String("flag", p.options.flagOf(group.Name)), zap.String("upstreamGroup", group.Name)}
		switch {
		case !found && group.Name == v1alpha1.GroupMain:
			// The router goes by the flag then.
		case !found:
			warnings = append(warnings, func() {
				p.log.Warn("the flag is not in force: its UpstreamGroup has been deleted, and the object counts; make it again, or leave the flag out", fields...)
			})
		case !slices.Equal(serversOf(group), serversOf(stored)):
			fields = append(fields, zap.Strings("servers", serversOf(stored)), zap.Strings("flagged", serversOf(group)))
			warnings = append(warnings, func() {
				p.log.Warn("the flag is not in force: its UpstreamGroup has other servers, and the object counts; change the object, or the flag", fields...)
			})
		}
	}
	if none {
		return nil
	}
	for _, warn := range warnings {
		warn()
	}
	return nil
}

func serversOf(group *v1alpha1.UpstreamGroup) []string {
	var urls []string
	for _, server := range group.Spec.Servers {
		urls = append(urls, server.URL)
	}
	slices.Sort(urls)
	return urls
}

// flagOf names the flag that has the servers of a group.
func (o *options) flagOf(group string) string {
	switch {
	case group == v1alpha1.GroupBypass:
		return "--bypass-servers"
	case len(o.mainServers) == 0:
		return "--kubeconfig"
	default:
		return "--main-servers"
	}
}

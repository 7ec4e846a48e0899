package cache

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// maxDecisions bounds what is remembered: every node of a large cluster with a
	// few reads each, and the controllers. About 300 bytes each.
	maxDecisions = 131072
	// grantedFor is how long a permission is remembered that a role gives, while changes
	// of roles and bindings are followed, which take it back at once; and what every
	// kube-apiserver lets a node read. Kubelets ask for their node every ten seconds. It
	// is not for ever because a webhook that is asked first may refuse from some moment
	// on; of what a webhook allows kube-apiserver itself is sure for five minutes
	// (--authorization-webhook-cache-authorized-ttl).
	grantedFor = 5 * time.Minute
	// trustFor is for permissions of which nobody knows where they come from.
	trustFor = time.Minute
	// doubtFor is for how long where they are not followed, where they have just
	// changed, where a permission depends on more than them, and for a refusal.
	doubtFor = 500 * time.Millisecond
	// settleFor is how long after a change an apiserver may still answer as before
	// it: it follows roles and bindings by a watch of its own.
	settleFor = time.Second
)

// byRole is how the reason of a decision begins that a role has made
// (plugin/pkg/auth/authorizer/rbac in Kubernetes).
const byRole = "RBAC: allowed by "

// access tells who may read what, as the apiserver says.
type access struct {
	judge authorizer.Authorizer
	clock clock.PassiveClock

	// outage is for how long a permission holds that nobody can be asked about.
	outage time.Duration

	decisions *lru.Cache[string, decision]
	asking    singleflight.Group
	// changed is when roles or bindings changed last, in Unix nanoseconds, and
	// generation counts their changes; what was decided before is not used.
	changed    atomic.Int64
	generation atomic.Uint64
	// followed tells that changes are known of.
	followed func() bool
}

type decision struct {
	allowed    bool
	generation uint64
	// asked is when the apiserver said so, until is for how long that is believed.
	asked, until time.Time
}

// newAccess returns access that asks judge, which remembers nothing itself.
func newAccess(judge authorizer.Authorizer, outage time.Duration, clock clock.PassiveClock, followed func() bool) (*access, error) {
	decisions, err := lru.New[string, decision](maxDecisions)
	if err != nil {
		return nil, err
	}
	return &access{judge: judge, outage: outage, clock: clock, decisions: decisions, followed: followed}, nil
}

// revoke forgets all decisions.
func (x *access) revoke() {
	x.changed.Store(x.clock.Now().UnixNano())
	x.generation.Add(1)
}

// allowed asks whether the request's effective user may do what it asks for. An
// error means that nobody could be asked.
//
// Who may list or watch all may do so with any selector. That is asked first: one
// answer is for all nodes' agents then, who have one user and a selector each. Nodes
// may not, as every kube-apiserver knows.
func (x *access) allowed(ctx context.Context, a *request.Attributes) (bool, error) {
	u := a.Effective().Info
	if (a.FieldSelector != "" || a.LabelSelector != "") && a.Name == "" && !isNode(u) {
		all := *a.RequestInfo
		all.FieldSelector, all.LabelSelector = "", ""
		if allowed, err := x.ask(ctx, u, &request.Attributes{RequestInfo: &all}); allowed && err == nil {
			return true, nil
		}
	}
	return x.ask(ctx, u, a)
}

func isNode(u user.Info) bool { return slices.Contains(u.GetGroups(), user.NodesGroup) }

// ask asks once for all who come with the same user and question meanwhile, and anew
// for who comes after a change.
func (x *access) ask(ctx context.Context, u user.Info, a *request.Attributes) (bool, error) {
	key := question(u, a)
	now := x.clock.Now()
	// Counted before the question: a change that comes with the answer is newer.
	generation := x.generation.Load()
	known, ok := x.decisions.Get(key)
	ok = ok && known.generation == generation
	if ok && now.Before(known.until) {
		return known.allowed, nil
	}
	// The answer is for everybody who waits, so it does not end with the first.
	ctx = context.WithoutCancel(ctx)
	answered := x.asking.DoChan(strconv.FormatUint(generation, 36)+"\x00"+key, func() (any, error) {
		verdict, reason, err := x.judge.Authorize(ctx, attributesOf(u, a))
		if err != nil && verdict != authorizer.DecisionAllow {
			return false, err
		}
		d := decision{allowed: verdict == authorizer.DecisionAllow, generation: generation, asked: x.clock.Now()}
		d.until = d.asked.Add(x.holds(u, a, d.allowed, strings.HasPrefix(reason, byRole)))
		x.decisions.Add(key, d)
		return d.allowed, nil
	})
	result := <-answered
	if result.Err != nil {
		if ok && known.allowed && now.Sub(known.asked) < x.outage {
			return true, nil
		}
		return false, result.Err
	}
	return result.Val.(bool), nil
}

// holds is for how long a decision is remembered.
func (x *access) holds(u user.Info, a *request.Attributes, allowed, granted bool) time.Duration {
	switch {
	case !allowed, !x.followed(), x.clock.Since(time.Unix(0, x.changed.Load())) < settleFor:
		return doubtFor
	case granted, isNode(u) && lasts(a):
		return grantedFor
	case isNode(u):
		return doubtFor
	}
	return trustFor
}

// lasts tells reads that a node may make whatever runs there. Others follow from that,
// and end with it (plugin/pkg/auth/authorizer/node in Kubernetes): a secret may be read,
// listed and watched by its name while a pod on the node needs it.
func lasts(a *request.Attributes) bool {
	switch a.Resource {
	case "nodes", "services":
		return true
	case "pods":
		return a.Verb != "get"
	}
	return false
}

// question is everything that a decision depends on. Names and selectors come from
// clients, so each part stands with its length's end: no part holds a nought byte
// that could pass for the next.
func question(u user.Info, a *request.Attributes) string {
	var b strings.Builder
	b.Grow(256)
	part := func(s string) {
		if strings.IndexByte(s, 0) >= 0 {
			s = strings.ReplaceAll(s, "\x00", "\x00\x00")
		}
		b.WriteString(s)
		b.WriteString("\x00\x01")
	}
	part(u.GetName())
	part(u.GetUID())
	for _, group := range u.GetGroups() {
		part(group)
	}
	part("")
	if extra := u.GetExtra(); len(extra) > 0 {
		keys := make([]string, 0, len(extra))
		for key := range extra {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			part(key)
			for _, value := range extra[key] {
				part(value)
			}
			part("")
		}
	}
	for _, s := range [...]string{a.Verb, a.APIGroup, a.APIVersion, a.Resource, a.Subresource, a.Namespace, a.Name, a.LabelSelector, a.FieldSelector} {
		part(s)
	}
	return b.String()
}

// attributesOf are those that kube-apiserver itself would judge (k8s.io/apiserver
// pkg/endpoints/filters GetAuthorizerAttributes), selectors included: a node may
// list the pods that are bound to it, and no others.
func attributesOf(u user.Info, a *request.Attributes) authorizer.Attributes {
	attributes := authorizer.AttributesRecord{
		User: u, Verb: a.Verb, ResourceRequest: true, Path: a.Path,
		APIGroup: a.APIGroup, APIVersion: a.APIVersion, Resource: a.Resource, Subresource: a.Subresource,
		Namespace: a.Namespace, Name: a.Name,
	}
	if a.FieldSelector != "" {
		if parsed, err := fields.ParseSelector(a.FieldSelector); err != nil {
			attributes.FieldSelectorParsingErr = err
		} else if requirements := parsed.Requirements(); len(requirements) > 0 {
			attributes.FieldSelectorRequirements = requirements
		}
	}
	if a.LabelSelector != "" {
		if parsed, err := labels.Parse(a.LabelSelector); err != nil {
			attributes.LabelSelectorParsingErr = err
		} else if requirements, _ := parsed.Requirements(); len(requirements) > 0 {
			attributes.LabelSelectorRequirements = requirements
		}
	}
	return attributes
}

package cache

import (
	"context"
	"crypto/sha256"
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
	// few reads each, and the controllers. 256 bytes each, however long what was asked for.
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
	// patientFor is how long is waited for a review that decides whether what is remembered
	// still holds while changes are not followed; if none comes, nobody is waited for in the
	// next unansweredFor.
	patientFor    = 250 * time.Millisecond
	unansweredFor = time.Second
)

// byRole is how the reason of a decision begins that a role has made
// (plugin/pkg/auth/authorizer/rbac in Kubernetes).
const byRole = "RBAC: allowed by "

// access tells who may read what, as the apiserver says.
type access struct {
	judge authorizer.Authorizer
	clock clock.Clock

	// outage is for how long a permission holds that nobody can be asked about.
	outage time.Duration

	decisions *lru.Cache[question, decision]
	asking    singleflight.Group
	// unanswered is when a review was waited for in vain last, in Unix nanoseconds.
	unanswered atomic.Int64
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
	// asked is when the apiserver was asked, until is for how long it is believed.
	asked, until time.Time
}

// newAccess returns access that asks judge, which remembers nothing itself.
func newAccess(judge authorizer.Authorizer, outage time.Duration, clock clock.Clock, followed func() bool) (*access, error) {
	decisions, err := lru.New[question, decision](maxDecisions)
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
	key := questionOf(u, a)
	now := x.clock.Now()
	// Counted before the question: a change that comes with the answer is newer.
	generation := x.generation.Load()
	known, ok := x.decisions.Get(key)
	ok = ok && known.generation == generation
	holds := ok && now.Before(known.until)
	if holds && (now.Sub(known.asked) < doubtFor || x.followed() || now.Sub(time.Unix(0, x.unanswered.Load())) < unansweredFor) {
		return known.allowed, nil
	}
	// The answer is for everybody who waits, so it does not end with the first.
	ctx = context.WithoutCancel(ctx)
	answered := x.asking.DoChan(strconv.FormatUint(generation, 36)+string(key[:]), func() (any, error) {
		// Before it is asked: what changes from now on may not be in the answer.
		d := decision{generation: generation, asked: x.clock.Now()}
		verdict, reason, err := x.judge.Authorize(ctx, attributesOf(u, a))
		if err != nil && verdict != authorizer.DecisionAllow {
			x.unanswered.Store(x.clock.Now().UnixNano())
			return false, err
		}
		d.allowed = verdict == authorizer.DecisionAllow
		d.until = d.asked.Add(x.holds(u, a, d, strings.HasPrefix(reason, byRole)))
		x.decisions.Add(key, d)
		return d.allowed, nil
	})
	var impatient <-chan time.Time
	if holds {
		timer := x.clock.NewTimer(patientFor)
		defer timer.Stop()
		impatient = timer.C()
	}
	select {
	case result := <-answered:
		if result.Err == nil {
			return result.Val.(bool), nil
		}
		if holds || (ok && known.allowed && now.Sub(known.asked) < x.outage) {
			return known.allowed, nil
		}
		return false, result.Err
	case <-impatient:
		x.unanswered.Store(x.clock.Now().UnixNano())
		return known.allowed, nil
	}
}

// holds is for how long a decision is remembered, from when it was asked for.
func (x *access) holds(u user.Info, a *request.Attributes, d decision, granted bool) time.Duration {
	switch {
	case !d.allowed, !x.followed(), d.asked.Sub(time.Unix(0, x.changed.Load())) < settleFor:
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

// question stands for everything that a decision depends on. It is a digest: clients
// can ask for names and selectors of any length.
type question [sha256.Size]byte

// questionOf puts the end of each part where no byte of a part, which come from
// clients, can pass for it.
func questionOf(u user.Info, a *request.Attributes) question {
	var room [1024]byte
	b := room[:0]
	part := func(s string) {
		for {
			nought := strings.IndexByte(s, 0)
			if nought < 0 {
				break
			}
			b = append(append(b, s[:nought]...), 0, 0)
			s = s[nought+1:]
		}
		b = append(append(b, s...), 0, 1)
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
	return sha256.Sum256(b)
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

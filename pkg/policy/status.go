package policy

import (
	"context"
	"maps"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	// keepExpired is how long a switch that is over stays to be looked at.
	keepExpired = 24 * time.Hour
	// statusRetry is when status that could not be written is tried again, and
	// expired switches are looked for.
	statusRetry = time.Minute
)

// statusWriter keeps the conditions of the objects, and deletes old switches.
// What it writes is a function of objects and time, so that replicas agree: the
// first one writes, the others find nothing to do.
type statusWriter struct {
	policy  *Policy
	pending chan struct{}
	// written are the conditions that were written last, and when: who would write
	// another one, a gateway of another version for instance, is not answered at once.
	written map[types.UID]writtenCondition
}

type writtenCondition struct {
	metav1.Condition
	at time.Time
}

func newStatusWriter(p *Policy) *statusWriter {
	return &statusWriter{policy: p, pending: make(chan struct{}, 1), written: map[types.UID]writtenCondition{}}
}

func (w *statusWriter) wake() {
	select {
	case w.pending <- struct{}{}:
	default:
	}
}

func (w *statusWriter) run(ctx context.Context) {
	ticker := w.policy.config.Clock.NewTicker(statusRetry)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.pending:
		case <-ticker.C():
		}
		w.writeAll(ctx)
	}
}

func (w *statusWriter) writeAll(ctx context.Context) {
	all, kinds := w.policy.objects()
	if kinds < kindCount {
		return
	}
	now := w.policy.config.Clock.Now()
	maps.DeleteFunc(w.written, func(_ types.UID, c writtenCondition) bool { return now.Sub(c.at) >= statusRetry })
	groups := groupNames(all.Groups)
	for _, o := range all.Limits {
		updated := o.DeepCopy()
		w.keep(ctx, updated, &updated.Status, limitCondition(o))
	}
	for _, o := range all.Classes {
		updated := o.DeepCopy()
		w.keep(ctx, updated, &updated.Status, classCondition(o))
	}
	for _, o := range all.Groups {
		updated := o.DeepCopy()
		w.keep(ctx, updated, &updated.Status, groupCondition(o))
	}
	for _, o := range all.Routes {
		updated := o.DeepCopy()
		w.keep(ctx, updated, &updated.Status, routeCondition(o, groups))
	}
	first := cachedAs(all.Cached)
	for _, o := range all.Cached {
		updated := o.DeepCopy()
		w.keep(ctx, updated, &updated.Status, cachedCondition(o, first))
	}
	for _, o := range all.Switches {
		if o.Status.ExpiresAt != nil && now.Sub(o.Status.ExpiresAt.Time) > keepExpired {
			w.log("deleted", o, w.policy.client.Delete().Resource("switches").Name(o.Name).
				Body(&metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(o.UID))}).Do(ctx).Error())
			continue
		}
		updated := o.DeepCopy()
		w.keep(ctx, updated, &updated.Status.PolicyStatus, switchCondition(o, now, groups))
	}
}

// object is a policy.
type object interface {
	runtime.Object
	metav1.Object
}

// keep writes a condition into the status of o, a copy of an object, unless it is
// there already.
func (w *statusWriter) keep(ctx context.Context, o object, status *v1alpha1.PolicyStatus, c metav1.Condition) {
	was := status.DeepCopy()
	now := w.policy.config.Clock.Now()
	c.ObservedGeneration = o.GetGeneration()
	if last, ok := w.written[o.GetUID()]; ok && last.Condition == c {
		return
	}
	status.ObservedGeneration = o.GetGeneration()
	changed := c
	changed.LastTransitionTime = metav1.NewTime(now)
	meta.SetStatusCondition(&status.Conditions, changed)
	if equality.Semantic.DeepEqual(was, status) {
		return
	}
	err := w.policy.client.Put().Resource(resourceOf(o)).Name(o.GetName()).SubResource("status").Body(o).Do(ctx).Error()
	if err == nil {
		w.written[o.GetUID()] = writtenCondition{c, now}
	}
	w.log("updated", o, err)
}

// log says what could not be done; somebody else's change is what the next round
// is for.
func (w *statusWriter) log(what string, o runtime.Object, err error) {
	if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return
	}
	name, _ := nameOf(o)
	w.policy.config.Log.Debug("a policy could not be "+what, zap.String("resource", resourceOf(o)), zap.String("name", name), zap.Error(err))
}

func resourceOf(o runtime.Object) string {
	switch o.(type) {
	case *v1alpha1.ClientClass:
		return "clientclasses"
	case *v1alpha1.Switch:
		return "switches"
	case *v1alpha1.UpstreamGroup:
		return "upstreamgroups"
	case *v1alpha1.Route:
		return "routes"
	case *v1alpha1.CachedResource:
		return "cachedresources"
	default:
		return "ratelimits"
	}
}

package policy

import (
	"context"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

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
}

func newStatusWriter(p *Policy) *statusWriter {
	return &statusWriter{policy: p, pending: make(chan struct{}, 1)}
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
	groups := groupNames(all.Groups)
	for _, o := range all.Limits {
		updated := o.DeepCopy()
		w.setActive(updated, &updated.Status, limitCondition(o))
		w.write(ctx, updated, o.Status, updated.Status)
	}
	for _, o := range all.Classes {
		updated := o.DeepCopy()
		w.setActive(updated, &updated.Status, classCondition(o))
		w.write(ctx, updated, o.Status, updated.Status)
	}
	for _, o := range all.Groups {
		updated := o.DeepCopy()
		w.setActive(updated, &updated.Status, groupCondition(o))
		w.write(ctx, updated, o.Status, updated.Status)
	}
	for _, o := range all.Routes {
		updated := o.DeepCopy()
		w.setActive(updated, &updated.Status, routeCondition(o, groups))
		w.write(ctx, updated, o.Status, updated.Status)
	}
	first := cachedAs(all.Cached)
	for _, o := range all.Cached {
		updated := o.DeepCopy()
		w.setActive(updated, &updated.Status, cachedCondition(o, first))
		w.write(ctx, updated, o.Status, updated.Status)
	}
	now := w.policy.config.Clock.Now()
	for _, o := range all.Switches {
		if o.Status.ExpiresAt != nil && now.Sub(o.Status.ExpiresAt.Time) > keepExpired {
			w.log("deleted", o, w.policy.client.Delete().Resource("switches").Name(o.Name).
				Body(&metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(o.UID))}).Do(ctx).Error())
			continue
		}
		updated := o.DeepCopy()
		w.setActive(updated, &updated.Status.PolicyStatus, switchCondition(o, now, groups))
		w.write(ctx, updated, o.Status, updated.Status)
	}
}

func (w *statusWriter) setActive(o metav1.Object, status *v1alpha1.PolicyStatus, c metav1.Condition) {
	c.ObservedGeneration = o.GetGeneration()
	c.LastTransitionTime = metav1.NewTime(w.policy.config.Clock.Now())
	status.ObservedGeneration = o.GetGeneration()
	meta.SetStatusCondition(&status.Conditions, c)
}

// write writes the status of an object, unless it is already what it was.
func (w *statusWriter) write(ctx context.Context, o runtime.Object, was, is any) {
	if equality.Semantic.DeepEqual(was, is) {
		return
	}
	name, err := nameOf(o)
	if err == nil {
		err = w.policy.client.Put().Resource(resourceOf(o)).Name(name).SubResource("status").Body(o).Do(ctx).Error()
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

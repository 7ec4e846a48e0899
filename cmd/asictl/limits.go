package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) limitsCommand() *cobra.Command {
	command := c.limitsListCommand("limits [NAME...]")
	command.Aliases = []string{"limit", "ratelimits", "ratelimit", "rl"}
	command.Short = "Show limits and their counters; change, try and propose them"
	command.AddCommand(
		c.limitsListCommand("list [NAME...]"), c.limitsSetCommand(),
		c.limitsModeCommand("enforce", "Refuse what is over the limits", v1alpha1.ModeEnforce),
		c.limitsModeCommand("dry-run", "Count what is over the limits, refuse nothing", v1alpha1.ModeDryRun),
		c.limitsModeCommand("off", "Do nothing about the limits", v1alpha1.ModeOff),
		c.limitsDeleteCommand(), c.limitsRecommendCommand(), c.limitsSimulateCommand(),
	)
	return command
}

func (c *cli) limitsListCommand(use string) *cobra.Command {
	var o output
	command := &cobra.Command{
		Use: use, Short: "Show limits and their counters",
		Long: `Shows limits and their counters, summed over all gateway replicas.

QPS is the limit in force, with the nodes of the cluster counted in. REFUSED/S is
what a limit refuses or, in dry run, would refuse. A limit of scope Replica is
counted by each replica by itself. Rates are means over the last ten seconds.`,
		Args:                  cobra.ArbitraryArgs,
		ValidArgsFunction:     c.completeNames(namesOf(rateLimits), true),
		DisableFlagsInUseLine: true,
	}
	o.bind(command, "table", "wide", "json", "yaml", "name")
	c.shows(command, &o, func(ctx context.Context, client *client, names []string, out, notes io.Writer) error {
		limits, missing := readAll(ctx, client, rateLimits, names, limitsOf)
		if len(limits) == 0 && missing != nil {
			return missing
		}
		var err error
		if o.table() {
			err = printLimits(ctx, client, limits, &o, out, notes)
		} else {
			err = objects(out, o.format, "RateLimit", rateLimits, limits, limitName, len(names) == 1)
		}
		return errors.Join(err, missing)
	})
	return command
}

func limitName(l *v1alpha1.RateLimit) string { return l.Name }

func limitsOf(list *v1alpha1.RateLimitList) []v1alpha1.RateLimit { return list.Items }

// readAll reads the objects of those names, or all of them; ordered by name. The
// error is about those that are missing.
func readAll[T, L any, P interface {
	*T
	runtime.Object
	metav1.Object
}, PL interface {
	*L
	runtime.Object
}](ctx context.Context, client *client, resource string, names []string, items func(*L) []T) ([]T, error) {
	var all []T
	var errs []error
	if len(names) == 0 {
		var list L
		if err := client.list(ctx, resource, PL(&list)); err != nil {
			return nil, err
		}
		all = items(&list)
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		var one T
		if err := client.get(ctx, resource, name, P(&one)); err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(P(&a).GetName(), P(&b).GetName()) })
	return all, errors.Join(errs...)
}

// counters are those of a limit over all replicas.
type counters struct {
	// replicas is how many could be asked; nothing else is known if it is 0.
	replicas          int
	rate              float64
	admitted, refused float64
	inFlight, buckets int64
	fallback          bool
}

func sum(live *v1alpha1.RateLimitLive) counters {
	s := counters{replicas: len(live.Replicas)}
	for i := range live.Replicas {
		r := &live.Replicas[i]
		// The same everywhere, but for replicas that have not counted the nodes yet.
		s.rate = max(s.rate, r.Rate.AsApproximateFloat64())
		s.admitted += r.AdmittedPerSecond.AsApproximateFloat64()
		s.refused += r.RefusedPerSecond.AsApproximateFloat64()
		s.inFlight += r.InFlight
		s.buckets += r.Buckets
		s.fallback = s.fallback || r.Fallback
	}
	return s
}

// readLive returns the counters of each limit. Without them a limit can still be
// shown and changed, so the error is for a note.
func readLive(ctx context.Context, client *client, limits []v1alpha1.RateLimit) ([]counters, error) {
	all := make([]counters, len(limits))
	return all, eachLive(len(limits), func(i int) error {
		live := &v1alpha1.RateLimitLive{}
		if err := client.live(ctx, rateLimits, limits[i].Name, live); err != nil {
			return err
		}
		all[i] = sum(live)
		return nil
	})
}

func printLimits(ctx context.Context, client *client, limits []v1alpha1.RateLimit, o *output, out, notes io.Writer) error {
	live, err := readLive(ctx, client, limits)
	if err != nil {
		note(notes, "counters cannot be read: %v", err)
	}
	if len(limits) == 0 {
		note(notes, "there are no limits")
		return nil
	}
	t := table{headers: []string{"NAME", "MODE", "QPS", "BURST", "SCOPE", "PER", "ADMITTED/S", "REFUSED/S", "INFLIGHT", "REPLICAS", "ACTIVE"}}
	wide := o.format == "wide"
	if wide {
		t.headers = append(t.headers, "FLOOR", "PER-NODE", "MAX-INFLIGHT", "BUCKETS", "CLIENTS", "REQUESTS")
	}
	for i := range limits {
		l, s := &limits[i], live[i]
		cells := []string{l.Name, string(l.Spec.Mode)}
		rate, burst := effective(&l.Spec, s)
		scope := string(l.Spec.Scope)
		if s.fallback {
			// Its shared counters cannot be reached.
			scope += "/fallback"
		}
		cells = append(cells, rate, burst, scope, join(l.Spec.Per, none))
		if s.replicas == 0 {
			cells = append(cells, unknown, unknown, unknown, unknown)
		} else {
			cells = append(cells, formatRate(s.admitted), formatRate(s.refused), strconv.FormatInt(s.inFlight, 10), strconv.Itoa(s.replicas))
		}
		cells = append(cells, active(&l.Status, l.Generation))
		if wide {
			floor, perNode, inFlight := none, none, none
			if l.Spec.QPS != nil {
				floor = exact(*l.Spec.QPS)
			}
			if l.Spec.QPSPerNode != nil {
				perNode = exact(*l.Spec.QPSPerNode)
			}
			if l.Spec.MaxInFlight != nil {
				inFlight = strconv.Itoa(int(*l.Spec.MaxInFlight))
			}
			cells = append(cells, floor, perNode, inFlight, strconv.FormatInt(s.buckets, 10),
				describeClients(&l.Spec.Match.Clients), describeRequests(&l.Spec.Match))
		}
		t.add(cells...)
	}
	return t.print(out, o.noHeaders)
}

// effective is the limit in force. Without counters it is not known where it
// follows the nodes.
func effective(spec *v1alpha1.RateLimitSpec, s counters) (rate, burst string) {
	if spec.QPS == nil {
		return none, none
	}
	floor, nodes := spec.QPS.AsApproximateFloat64(), 0
	perNode := 0.0
	if spec.QPSPerNode != nil {
		perNode = spec.QPSPerNode.AsApproximateFloat64()
	}
	switch {
	case perNode == 0:
	case s.replicas == 0:
		return ">=" + formatRate(floor), unknown
	case s.rate > floor:
		nodes = int(math.Round(s.rate / perNode))
	}
	r, b := v1alpha1.EffectiveRate(spec, nodes)
	return formatRate(r), formatRate(b)
}

// active is what a policy's condition says of its present generation.
func active(status *v1alpha1.PolicyStatus, generation int64) string {
	condition := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionActive)
	if condition == nil || status.ObservedGeneration != generation {
		return string(metav1.ConditionUnknown)
	}
	if condition.Status == metav1.ConditionFalse {
		return "False/" + condition.Reason
	}
	return string(condition.Status)
}

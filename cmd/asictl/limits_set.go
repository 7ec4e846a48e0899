package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/util/retry"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// quantityValue is a rate on the command line.
type quantityValue struct{ q *resource.Quantity }

func (v quantityValue) String() string {
	if v.q.IsZero() {
		return ""
	}
	return exact(*v.q)
}
func (v quantityValue) Type() string { return "rate" }
func (v quantityValue) Set(s string) error {
	// No suffixes: 1m would be one request in a thousand seconds.
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 {
		if *v.q, err = resource.ParseQuantity(s); err == nil {
			return nil
		}
	}
	return errors.New("want requests per second, e.g. 20 or 0.5")
}

// limitFlags are the fields of a limit that can be set.
type limitFlags struct {
	qps, perNode resource.Quantity
	// qpsGiven tells a qps of 0 from none.
	qpsGiven        bool
	burst, inFlight int32
	mode            v1alpha1.Mode

	// The others are for a new limit only: another match or other buckets make
	// another limit of it.
	create   bool
	everyone bool
	scope    v1alpha1.Scope
	per      []v1alpha1.BucketKey
	match    matchFlags
}

func (f *limitFlags) bind(command *cobra.Command) {
	flags := command.Flags()
	flags.Var(quantityValue{&f.qps}, "qps", "requests per second in the long run; 0 refuses all")
	flags.Var(quantityValue{&f.perNode}, "qps-per-node", "requests per second for each node of the cluster, where that is more; 0 for none")
	flags.Int32Var(&f.burst, "burst", 0, "requests at once after a pause; 0 for the default, which is the rate")
	flags.Int32Var(&f.inFlight, "max-in-flight", 0, "requests under way at a time; 0 for no limit")
	flags.Var(oneOfValue[v1alpha1.Mode]{&f.mode, allModes}, "mode", "Enforce, DryRun or Off; a new limit is enforced")
	completeFlag(command, "mode", stringsOf(allModes)...)
	flags.BoolVar(&f.create, "create", false, "make a new limit")
	flags.Var(oneOfValue[v1alpha1.Scope]{&f.scope, allScopes}, "scope", "with --create: Replica (each gateway counts by itself) or Global")
	completeFlag(command, "scope", stringsOf(allScopes)...)
	flags.Var(listOfValue[v1alpha1.BucketKey]{&f.per, allBucketKeys}, "per", "with --create: what gets a bucket of its own: "+strings.Join(stringsOf(allBucketKeys), ", "))
	completeFlag(command, "per", stringsOf(allBucketKeys)...)
	flags.BoolVar(&f.everyone, "match-all", false, "with --create: for the requests of every client")
	f.match.bind(command)
	for _, name := range f.match.names {
		flag := flags.Lookup(name)
		flag.Usage = "with --create: " + flag.Usage
	}
}

// check finds combinations that make no sense.
func (f *limitFlags) check(flags *pflag.FlagSet) error {
	matching := f.match.given(flags)
	if f.burst < 0 || f.inFlight < 0 {
		return usagef("--burst and --max-in-flight cannot be negative")
	}
	if f.create {
		switch {
		case !flags.Changed("qps") && f.inFlight == 0:
			return usagef("a new limit needs --qps or --max-in-flight")
		case len(matching) == 0 && !f.everyone:
			return usagef("a new limit without --user-agent, --verb, --resource or the like is for the requests of every client; say --match-all if that is meant")
		case len(matching) > 0 && f.everyone:
			return usagef("--match-all and %s cannot be together", matching[0])
		}
		return nil
	}
	for _, name := range []string{"scope", "per", "match-all"} {
		if flags.Changed(name) {
			matching = append(matching, "--"+name)
		}
	}
	if len(matching) > 0 {
		return usagef("%s is for a new limit (--create); those that exist are for what they are for", strings.Join(matching, ", "))
	}
	for _, name := range []string{"qps", "qps-per-node", "burst", "max-in-flight", "mode"} {
		if flags.Changed(name) {
			return nil
		}
	}
	return usagef("nothing to set: say --qps, --qps-per-node, --burst, --max-in-flight or --mode")
}

func (c *cli) limitsSetCommand() *cobra.Command {
	var f limitFlags
	var dryRun bool
	command := &cobra.Command{
		Use: "set NAME", Short: "Change the rate of a limit, or make a new one",
		Example: c.example(`
# Change a limit; it says what it was before.
%[1]s limits set list-pods --qps 5 --burst 10

# Stop one client's lists of pods.
%[1]s limits set stop-x --create --user-agent x --verb list --resource pods --qps 0`),
		Args: oneName, ValidArgsFunction: c.completeNames(namesOf(rateLimits), false),
	}
	f.bind(command)
	bindDryRun(command, &dryRun)
	command.RunE = c.runs(func(ctx context.Context, args []string) error {
		if err := f.check(command.Flags()); err != nil {
			return err
		}
		f.qpsGiven = command.Flags().Changed("qps")
		client, err := c.connect()
		if err != nil {
			return err
		}
		if f.create {
			return c.createLimit(ctx, client, args[0], &f, dryRun)
		}
		return c.setLimit(ctx, client, args[0], f.edits(command.Flags()), dryRun)
	})
	return command
}

func bindDryRun(command *cobra.Command, dryRun *bool) {
	command.Flags().BoolVar(dryRun, "dry-run", false, "have the gateway check it, and change nothing")
}

func (c *cli) createLimit(ctx context.Context, client *client, name string, f *limitFlags, dryRun bool) error {
	limit := &v1alpha1.RateLimit{}
	limit.Name = name
	limit.Spec = v1alpha1.RateLimitSpec{Match: f.match.match(), Per: f.per, Scope: f.scope, Mode: f.mode}
	if f.qpsGiven {
		limit.Spec.QPS = &f.qps
	}
	if !f.perNode.IsZero() {
		limit.Spec.QPSPerNode = &f.perNode
	}
	limit.Spec.Burst, limit.Spec.MaxInFlight = unlessZero(f.burst), unlessZero(f.inFlight)
	err := client.create(ctx, rateLimits, limit, dryRun)
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%w\nTo change its rate leave --create and what it is for out; to make it anew delete it first", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s created: %s, qps %s, for %s%s\n", ref(rateLimits, name), limit.Spec.Mode, rateOrNone(limit.Spec.QPS), printable(describeMatch(&limit.Spec.Match)), dryRunSuffix(dryRun))
	c.noteMode(limit)
	return nil
}

// noteMode tells who sets a rate in an emergency that it does nothing yet.
func (c *cli) noteMode(limit *v1alpha1.RateLimit) {
	if limit.Spec.Mode != v1alpha1.ModeEnforce {
		note(c.err, "%s is in mode %s and refuses nothing; '%s limits enforce %s' changes that", limit.Name, limit.Spec.Mode, c.program.shown, limit.Name)
	}
}

func unlessZero(n int32) *int32 {
	if n == 0 {
		return nil
	}
	return &n
}

// edit is a field to set.
type edit struct {
	// path is the field's name in the spec, shown what it is called here.
	path, shown string
	value       any
	now         func(*v1alpha1.RateLimitSpec) string
}

func (f *limitFlags) edits(flags *pflag.FlagSet) []edit {
	var edits []edit
	add := func(flag, path string, value any, now func(*v1alpha1.RateLimitSpec) string) {
		if flags.Changed(flag) {
			edits = append(edits, edit{path, flag, value, now})
		}
	}
	// null takes a field away.
	orNull := func(zero bool, value any) any {
		if zero {
			return nil
		}
		return value
	}
	add("qps", "qps", f.qps.String(), func(s *v1alpha1.RateLimitSpec) string { return rateOrNone(s.QPS) })
	add("qps-per-node", "qpsPerNode", orNull(f.perNode.IsZero(), f.perNode.String()), func(s *v1alpha1.RateLimitSpec) string { return rateOrNone(s.QPSPerNode) })
	add("burst", "burst", orNull(f.burst == 0, f.burst), func(s *v1alpha1.RateLimitSpec) string {
		if s.Burst == nil {
			_, burst := v1alpha1.EffectiveRate(s, 0)
			return fmt.Sprintf("%d (default)", int64(burst))
		}
		return strconv.Itoa(int(*s.Burst))
	})
	add("max-in-flight", "maxInFlight", orNull(f.inFlight == 0, f.inFlight), func(s *v1alpha1.RateLimitSpec) string {
		if s.MaxInFlight == nil {
			return "no limit"
		}
		return strconv.Itoa(int(*s.MaxInFlight))
	})
	add("mode", "mode", string(f.mode), func(s *v1alpha1.RateLimitSpec) string { return string(s.Mode) })
	return edits
}

// setLimit changes a limit and says what it was.
func (c *cli) setLimit(ctx context.Context, client *client, name string, edits []edit, dryRun bool) error {
	old, limit, err := editLimit(ctx, client, name, edits, dryRun)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s %s%s\n", ref(rateLimits, name), changes(edits, old, limit), dryRunSuffix(dryRun))
	c.noteMode(limit)
	return nil
}

// changes says what was and what is.
func changes(edits []edit, old, limit *v1alpha1.RateLimit) string {
	var said []string
	for _, e := range edits {
		if before, after := e.now(&old.Spec), e.now(&limit.Spec); before != after {
			said = append(said, fmt.Sprintf("%s %s -> %s", e.shown, before, after))
		}
	}
	if len(said) == 0 {
		return "unchanged"
	}
	return "changed: " + strings.Join(said, ", ")
}

// editLimit patches the version that it has read, so that the old value is true,
// and tries again if somebody else was faster.
func editLimit(ctx context.Context, client *client, name string, edits []edit, dryRun bool) (old, limit *v1alpha1.RateLimit, err error) {
	spec := map[string]any{}
	for _, e := range edits {
		spec[e.path] = e.value
	}
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		old, limit = &v1alpha1.RateLimit{}, &v1alpha1.RateLimit{}
		if err := client.get(ctx, rateLimits, name, old); err != nil {
			return err
		}
		patch := map[string]any{"metadata": map[string]any{"resourceVersion": old.ResourceVersion}, "spec": spec}
		return client.patch(ctx, rateLimits, name, patch, dryRun, limit)
	})
	return old, limit, err
}

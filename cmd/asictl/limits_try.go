package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
)

func (c *cli) limitsRecommendCommand() *cobra.Command {
	var o output
	var count int
	command := &cobra.Command{
		Use: "recommend", Short: "Propose limits from what clients did in the last hour",
		Long: `Proposes limits for the flows that cost most: what each client asked for in its
busiest ten seconds of the last hour, plus half as much. They are in dry run, for
kubectl apply or the gateway's --policy-dir.`,
		Example: c.example(`
%[1]s limits recommend > limits.yaml
%[1]s limits simulate -f limits.yaml
kubectl apply -f limits.yaml`),
		Args: cobra.NoArgs,
	}
	o.bind(command, "yaml", "table")
	command.Flags().IntVar(&count, "count", 20, "how many at most")
	command.RunE = c.runs(func(ctx context.Context, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		if count < 1 {
			return usagef("--count must be at least 1")
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		list := &v1alpha1.FlowList{}
		if err := client.list(ctx, flowsResource, list); err != nil {
			return err
		}
		limits := first(c.valid(flows.Recommend(list.Items, len(list.Items))), count)
		if len(limits) == 0 {
			note(c.err, "nothing was asked of the gateway in the last hour that needs a limit")
			return nil
		}
		c.noteExisting(ctx, client, limits)
		if o.format == "table" {
			return printRecommended(c.out, limits, o.noHeaders)
		}
		for i, limit := range limits {
			if i > 0 {
				fmt.Fprintln(c.out, "---")
			}
			m, err := manifest("RateLimit", limit)
			if err != nil {
				return err
			}
			delete(m, "status")
			if err := encode(c.out, "yaml", m); err != nil {
				return err
			}
		}
		return nil
	})
	return command
}

// valid leaves out what the gateway would not take: a client can have a name
// that no limit can have in its match.
func (c *cli) valid(limits []*v1alpha1.RateLimit) []*v1alpha1.RateLimit {
	return slices.DeleteFunc(limits, func(limit *v1alpha1.RateLimit) bool {
		whole := limit.DeepCopy()
		v1alpha1.SetDefaults_RateLimit(whole)
		faults := policy.Validate(whole)
		if len(faults) > 0 {
			note(c.err, "nothing is proposed for %s: %s", join(limit.Spec.Match.Clients.UserAgents, "*"), faults.ToAggregate())
		}
		return len(faults) > 0
	})
}

// noteExisting warns of limits that kubectl apply would put back into dry run.
func (c *cli) noteExisting(ctx context.Context, client *client, recommended []*v1alpha1.RateLimit) {
	var existing v1alpha1.RateLimitList
	if client.list(ctx, rateLimits, &existing) != nil {
		// The proposals are good without it.
		return
	}
	for _, limit := range recommended {
		for i := range existing.Items {
			if e := &existing.Items[i]; e.Name == limit.Name && e.Spec.Mode == v1alpha1.ModeEnforce {
				note(c.err, "%s exists and is enforced, at qps %s; applying this puts it into dry run", limit.Name, rateOrNone(e.Spec.QPS))
			}
		}
	}
}

func printRecommended(w io.Writer, limits []*v1alpha1.RateLimit, noHeaders bool) error {
	t := table{headers: []string{"NAME", "CLIENT", "REQUESTS", "QPS", "BURST"}}
	for _, limit := range limits {
		t.add(limit.Name, join(limit.Spec.Match.Clients.UserAgents, "*"), describeRequests(&limit.Spec.Match), rateOrNone(limit.Spec.QPS), strconv.Itoa(int(*limit.Spec.Burst)))
	}
	return t.print(w, noHeaders)
}

func (c *cli) limitsSimulateCommand() *cobra.Command {
	var o output
	var files []string
	var existing, failIfRefused bool
	command := &cobra.Command{
		Use: "simulate {-f FILE... | --existing}", Short: "Tell what limits would have refused in the last hour",
		Long: `Tells what limits would have refused in the last hour, each by itself, whatever
their modes are. Nothing is changed. Clients of which nothing would have been
refused are left out.

With --fail-if-refused the exit code is 3 if anything would have been refused.`,
		Args: cobra.NoArgs, DisableFlagsInUseLine: true,
	}
	o.bind(command, "table", "json", "yaml")
	command.Flags().StringArrayVarP(&files, "filename", "f", nil, "file or directory with limits in YAML, - for standard input; can be repeated")
	command.Flags().BoolVar(&existing, "existing", false, "the limits that there are; those of files are used in place of theirs")
	command.Flags().BoolVar(&failIfRefused, "fail-if-refused", false, "exit code 3 if anything would have been refused")
	command.RunE = c.runs(func(ctx context.Context, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		if len(files) == 0 && !existing {
			return usagef("say what to simulate: -f FILE, -f - or --existing")
		}
		limits, err := c.readLimits(files)
		if err != nil {
			return err
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		if existing {
			var list v1alpha1.RateLimitList
			if err := client.list(ctx, rateLimits, &list); err != nil {
				return err
			}
			for i := range list.Items {
				l := &list.Items[i]
				if !slices.ContainsFunc(limits, func(s v1alpha1.SimulatedLimit) bool { return s.Name == l.Name }) {
					limits = append(limits, v1alpha1.SimulatedLimit{Name: l.Name, Spec: l.Spec})
				}
			}
		}
		if len(limits) == 0 {
			return errors.New("there is no limit to simulate")
		}
		simulation := &v1alpha1.LimitSimulation{Spec: v1alpha1.LimitSimulationSpec{Limits: limits}}
		if err := client.create(ctx, limitSimulations, simulation, false); err != nil {
			return err
		}
		return c.printSimulation(simulation, &o, failIfRefused)
	})
	return command
}

// readLimits reads the RateLimits of files. Policies of other kinds are left out
// with a note, so that a whole --policy-dir can be given.
func (c *cli) readLimits(files []string) ([]v1alpha1.SimulatedLimit, error) {
	var limits []v1alpha1.SimulatedLimit
	var errs []error
	others := 0
	from := map[string]string{}
	for _, file := range files {
		policies, err := c.readPolicies(file)
		errs = append(errs, err)
		for _, o := range policies {
			limit, ok := o.(*v1alpha1.RateLimit)
			if !ok {
				others++
				continue
			}
			if earlier, twice := from[limit.Name]; twice {
				errs = append(errs, fmt.Errorf("%s: the limit %s is in %s already", file, limit.Name, earlier))
				continue
			}
			from[limit.Name] = file
			limits = append(limits, v1alpha1.SimulatedLimit{Name: limit.Name, Spec: limit.Spec})
		}
	}
	if others > 0 {
		note(c.err, "%s of other kinds left out", plural(others, "object"))
	}
	return limits, errors.Join(errs...)
}

func (c *cli) readPolicies(file string) ([]runtime.Object, error) {
	if file == "-" {
		data, err := io.ReadAll(c.in)
		if err != nil {
			return nil, err
		}
		return policy.Parse("standard input", data)
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return policy.ReadDir(file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return policy.Parse(file, data)
}

func (c *cli) printSimulation(simulation *v1alpha1.LimitSimulation, o *output, failIfRefused bool) error {
	results := simulation.Status.Results
	slices.SortStableFunc(results, func(a, b v1alpha1.SimulationResult) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Client, b.Client))
	})
	if !o.table() {
		m, err := manifest("LimitSimulation", simulation)
		if err != nil {
			return err
		}
		if err := encode(c.out, o.format, m); err != nil {
			return err
		}
	} else {
		for _, n := range simulation.Status.Notes {
			note(c.err, "%s", n)
		}
		if len(results) == 0 {
			fmt.Fprintf(c.err, "Nothing would have been refused in the last hour by %s.\n", plural(len(simulation.Spec.Limits), "limit"))
		} else {
			t := table{headers: []string{"LIMIT", "CLIENT", "REQUESTS", "REFUSED", "%"}}
			for _, r := range results {
				t.add(r.Limit, quoted(r.Client), strconv.FormatInt(r.Requests, 10), strconv.FormatInt(r.Refused, 10), percent(r.Refused, r.Requests))
			}
			if err := t.print(c.out, o.noHeaders); err != nil {
				return err
			}
		}
	}
	if failIfRefused && len(results) > 0 {
		return exitCode(exitRefused)
	}
	return nil
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return unknown
	}
	return formatRate(100 * float64(part) / float64(whole))
}

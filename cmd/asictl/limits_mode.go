package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) limitsModeCommand(name, short string, mode v1alpha1.Mode) *cobra.Command {
	var all, yes, dryRun bool
	command := &cobra.Command{
		Use: name + " {NAME... | --all}", Short: short,
		ValidArgsFunction: c.completeNames(namesOf(rateLimits), true), DisableFlagsInUseLine: true,
		Args: namesOrAll(&all),
	}
	command.Flags().BoolVar(&all, "all", false, "all limits; asks before it does so")
	command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	bindDryRun(command, &dryRun)
	command.RunE = c.runs(func(ctx context.Context, names []string) error {
		client, err := c.connect()
		if err != nil {
			return err
		}
		limits, missing := readAll(ctx, client, rateLimits, names, limitsOf)
		if len(limits) == 0 && missing != nil {
			return missing
		}
		var others []v1alpha1.RateLimit
		for _, limit := range limits {
			if limit.Spec.Mode != mode {
				others = append(others, limit)
			} else if !all {
				fmt.Fprintf(c.out, "%s unchanged\n", ref(rateLimits, limit.Name))
			}
		}
		if all && !yes && !dryRun && len(others) > 0 {
			if err := c.confirmMode(ctx, client, mode, others, len(limits)); err != nil {
				return err
			}
		}
		errs := []error{missing}
		changed := 0
		edits := []edit{{"mode", "mode", string(mode), func(s *v1alpha1.RateLimitSpec) string { return string(s.Mode) }}}
		for i := range others {
			old, limit, err := editLimit(ctx, client, others[i].Name, edits, dryRun)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			changed++
			fmt.Fprintf(c.out, "%s %s%s\n", ref(rateLimits, limit.Name), changes(edits, old, limit), dryRunSuffix(dryRun))
		}
		fmt.Fprintf(c.out, "%d of %s changed%s\n", changed, plural(max(len(limits), len(names)), "limit"), dryRunSuffix(dryRun))
		return errors.Join(errs...)
	})
	return command
}

// oneName wants one name, someNames any.
func oneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one name, not %d", len(args))
	}
	return nil
}

func someNames(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("say which by their names")
	}
	return nil
}

// namesOrAll wants names or --all, and not both.
func namesOrAll(all *bool) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case *all && len(args) > 0:
			return errors.New("names and --all cannot be together")
		case !*all && len(args) == 0:
			return errors.New("say which by their names, or --all")
		}
		return nil
	}
}

// confirmMode shows what the change means at this moment.
func (c *cli) confirmMode(ctx context.Context, client *client, mode v1alpha1.Mode, limits []v1alpha1.RateLimit, of int) error {
	live, err := readLive(ctx, client, limits)
	if err != nil {
		note(c.err, "counters cannot be read: %v", err)
	}
	t := table{headers: []string{"NAME", "MODE", "REFUSED/S"}}
	total := 0.0
	for i := range limits {
		refused := unknown
		if live[i].replicas > 0 {
			refused = formatRate(live[i].refused)
			total += live[i].refused
		}
		t.add(limits[i].Name, string(limits[i].Spec.Mode), refused)
	}
	if err := t.print(c.err, false); err != nil {
		return err
	}
	effect := map[v1alpha1.Mode]string{
		v1alpha1.ModeEnforce: "They would refuse %s requests/s now.",
		v1alpha1.ModeDryRun:  "They refuse, or would refuse, %s requests/s now.",
		v1alpha1.ModeOff:     "They refuse, or would refuse, %s requests/s now.",
	}[mode]
	fmt.Fprintf(c.err, effect+"\n", formatRate(total))
	return c.confirm(fmt.Sprintf("Set %d of %s at %s to %s?", len(limits), plural(of, "limit"), client.server, mode))
}

func (c *cli) limitsDeleteCommand() *cobra.Command {
	var dryRun bool
	command := &cobra.Command{
		Use: "delete NAME...", Short: "Delete limits",
		ValidArgsFunction: c.completeNames(namesOf(rateLimits), true), Args: someNames,
	}
	bindDryRun(command, &dryRun)
	command.RunE = c.runs(func(ctx context.Context, names []string) error {
		client, err := c.connect()
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range names {
			if err := client.delete(ctx, rateLimits, name, "", dryRun); err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintf(c.out, "%s deleted%s\n", ref(rateLimits, name), dryRunSuffix(dryRun))
		}
		return errors.Join(errs...)
	})
	return command
}

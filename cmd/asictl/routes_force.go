package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) routeForceCommand() *cobra.Command {
	f := switchFlags{kind: v1alpha1.SwitchForceGroup}
	var name string
	var dryRun bool
	command := &cobra.Command{
		Use: "force GROUP --reason TEXT", Short: "Have one group serve requests, whatever their route",
		Long: `Has one group serve requests, whatever their route, for a time. Without flags that
match, these are all requests. Nothing else serves them meanwhile, even if no server
of the group is ready; its limits hold.

It makes a switch of type ForceGroup. Where several match a request, the first by
name decides.`,
		Example: c.example(`
# Main is sick, but does not say so: everybody is served by bypass.
%[1]s route force bypass --for 30m --reason "apiserver-1 and -2 answer slowly"

# One class of clients tries the new version.
%[1]s route force canary --class platform --for 2h --reason "trying v1.38"`),
		Args: oneName, ValidArgsFunction: c.completeNames(groupNames, false),
	}
	f.bindWhy(command)
	command.Flags().StringVar(&name, "name", "", "name of the switch; default force-GROUP")
	completeFlag(command, "name")
	f.match.bind(command)
	bindDryRun(command, &dryRun)
	command.RunE = c.runs(func(ctx context.Context, args []string) error {
		f.group = args[0]
		if err := f.check(command.Flags()); err != nil {
			return err
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		return c.switchOn(ctx, client, cmp.Or(name, "force-"+f.group), f.spec(), dryRun)
	})
	return command
}

// groupNames reads which groups there are. Main needs no object: the gateway's
// flags say what it is.
func groupNames(ctx context.Context, client *client) ([]string, error) {
	names, err := client.names(ctx, upstreamGroups)
	if err == nil && !slices.Contains(names, v1alpha1.GroupMain) {
		names = append(names, v1alpha1.GroupMain)
	}
	return names, err
}

// checkGroup refuses a group that there is not: the switch would do nothing.
func checkGroup(ctx context.Context, client *client, group string) error {
	names, err := groupNames(ctx, client)
	if err != nil || slices.Contains(names, group) {
		return err
	}
	slices.Sort(names)
	return fmt.Errorf("there is no group %q; there are %s", group, strings.Join(names, ", "))
}

// noteUnready warns that nobody serves what was just forced. It can tell only if
// the replicas can be asked.
func (c *cli) noteUnready(ctx context.Context, client *client, group string) {
	ctx, cancel := context.WithTimeout(ctx, suggestTimeout)
	defer cancel()
	live := &v1alpha1.UpstreamGroupLive{}
	if err := client.live(ctx, upstreamGroups, group, live); err != nil {
		return
	}
	if gone := replicasWithout(live, ready); len(gone) > 0 {
		note(c.err, "%s has no server that is ready on %s; '%s route status' shows them", group, strings.Join(gone, ", "), c.program.shown)
	}
}

func (c *cli) routeUnforceCommand() *cobra.Command {
	var all, yes, dryRun bool
	command := &cobra.Command{
		Use: "unforce {NAME... | --all}", Short: "Have routes decide again",
		Long:              "Has routes decide again: turns switches of type ForceGroup off.",
		ValidArgsFunction: c.completeNames(forceNames, true), Args: namesOrAll(&all), DisableFlagsInUseLine: true,
	}
	command.Flags().BoolVar(&all, "all", false, "all switches of type ForceGroup; asks before it does so")
	command.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	bindDryRun(command, &dryRun)
	command.RunE = c.runs(func(ctx context.Context, names []string) error {
		client, err := c.connect()
		if err != nil {
			return err
		}
		items, missing := readAll(ctx, client, switches, names, switchesOf)
		if len(items) == 0 && missing != nil {
			return missing
		}
		errs := []error{missing}
		var forces []v1alpha1.Switch
		for i := range items {
			switch s := &items[i]; {
			case s.Spec.Type == v1alpha1.SwitchForceGroup:
				forces = append(forces, *s)
			case !all:
				errs = append(errs, fmt.Errorf("the switch %s is of type %s; to turn it off: '%s'", s.Name, s.Spec.Type, c.turnsOff(s)))
			}
		}
		return errors.Join(append(errs, c.switchesOff(ctx, client, forces, all, all && !yes, dryRun))...)
	})
	return command
}

// forceNames reads the names of switches of type ForceGroup.
func forceNames(ctx context.Context, client *client) (names []string, err error) {
	list := &v1alpha1.SwitchList{}
	if err := client.list(ctx, switches, list); err != nil {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].Spec.Type == v1alpha1.SwitchForceGroup {
			names = append(names, list.Items[i].Name)
		}
	}
	return names, nil
}

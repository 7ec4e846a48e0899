package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) routeCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "route", Short: "Show which kube-apiservers serve whom, and change it for a time",
		Long: `Shows which groups of kube-apiservers serve whom, and changes it for a time. What
groups and routes there are is said by objects: upstreamgroups and routes.`,
		Aliases: []string{"routes", "rt"}, DisableFlagsInUseLine: true,
		// Without these cobra answers a misspelt command with help and success.
		Args: knownCommand,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(c.routeStatusCommand(), c.routeListCommand(), c.routeForceCommand(), c.routeUnforceCommand())
	return command
}

func (c *cli) routeListCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use: "list [NAME...]", Short: "Show routes in the order in which they win", Aliases: []string{"ls"},
		Long: `Shows routes in the order in which they win: the first that matches a request
decides about it. Of its groups the first that has a server that is ready serves
the request; a group of spill does if none of them can.`,
		ValidArgsFunction: c.completeNames(namesOf(routes), true), DisableFlagsInUseLine: true,
	}
	o.bind(command, "table", "json", "yaml", "name")
	command.RunE = c.runs(func(ctx context.Context, names []string) error {
		if err := o.check(); err != nil {
			return err
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		items, missing := readAll(ctx, client, routes, names, func(l *v1alpha1.RouteList) []v1alpha1.Route { return l.Items })
		if len(items) == 0 && missing != nil {
			return missing
		}
		slices.SortStableFunc(items, func(a, b v1alpha1.Route) int { return cmp.Compare(b.Spec.Precedence, a.Spec.Precedence) })
		if !o.table() {
			err := objects(c.out, o.format, "Route", routes, items, func(o *v1alpha1.Route) string { return o.Name }, len(names) == 1)
			return errors.Join(err, missing)
		}
		if len(items) == 0 {
			note(c.err, "there are no routes: %s serves everybody, or %s while %s is gone", v1alpha1.GroupMain, v1alpha1.GroupBypass, v1alpha1.GroupMain)
			return nil
		}
		return errors.Join(routeTable(items).print(c.out, o.noHeaders), missing)
	})
	return command
}

func routeTable(items []v1alpha1.Route) *table {
	t := &table{headers: []string{"NAME", "PRECEDENCE", "GROUPS", "SPILL", "SHARE", "MATCH", "ACTIVE"}}
	for i := range items {
		r := &items[i]
		share := int32(100)
		if r.Spec.Share != nil {
			share = *r.Spec.Share
		}
		// All groups, however many: the order is what counts.
		t.add(r.Name, strconv.Itoa(int(r.Spec.Precedence)), strings.Join(r.Spec.Groups, ","), cmp.Or(strings.Join(r.Spec.Spill, ","), none),
			fmt.Sprintf("%d%%", share), describeRoute(&r.Spec), active(&r.Status, r.Generation))
	}
	return t
}

// describeRoute says which requests a route is for.
func describeRoute(spec *v1alpha1.RouteSpec) string {
	what := describeScope(&spec.Match, &spec.Except)
	if spec.Header == nil {
		return what
	}
	header := "header " + strings.TrimSuffix(spec.Header.Name+"="+join(spec.Header.Values, ""), "=")
	if what == "*" {
		return header
	}
	return what + " " + header
}

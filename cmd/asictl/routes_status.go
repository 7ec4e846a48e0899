package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) routeStatusCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use: "status [GROUP...]", Short: "Show the kube-apiservers as each gateway sees them",
		Long: `Shows the kube-apiservers as each gateway replica sees them, and above them what
is out of the ordinary: requests that are forced to a group, groups without a
server that is ready, groups that refuse low priorities because their servers are
overloaded, and groups to which clients are returning.

LATENCY is the mean time to the first byte of small answers. INFLIGHT and WATCHES
are under way; REQUESTS and FAILURES (no answer came) count from the replica's
start.`,
		ValidArgsFunction: c.completeNames(namesOf(upstreamGroups), true), DisableFlagsInUseLine: true,
	}
	o.bind(command, "table", "json", "yaml")
	c.shows(command, &o, func(ctx context.Context, client *client, names []string, out, notes io.Writer) error {
		groups, missing := readAll(ctx, client, upstreamGroups, names, func(l *v1alpha1.UpstreamGroupList) []v1alpha1.UpstreamGroup { return l.Items })
		if len(groups) == 0 && missing != nil {
			return missing
		}
		live, err := readGroups(ctx, client, groups)
		if !o.table() {
			if err == nil {
				err = objects(out, o.format, "UpstreamGroupLive", upstreamGroups, live, func(l *v1alpha1.UpstreamGroupLive) string { return l.Name }, len(names) == 1)
			}
			return errors.Join(err, missing)
		}
		if err != nil {
			note(notes, "what the replicas see cannot be read: %v", err)
		}
		if !o.noHeaders {
			c.printUnusual(ctx, client, live, out, notes)
		}
		if len(names) == 0 && !slices.ContainsFunc(groups, func(g v1alpha1.UpstreamGroup) bool { return g.Name == v1alpha1.GroupMain }) {
			note(notes, "%s has no object: it is what each gateway's flags say, and not shown", v1alpha1.GroupMain)
		}
		if len(groups) == 0 {
			return missing
		}
		return errors.Join(c.endpointTable(groups, live).print(out, o.noHeaders), missing)
	})
	return command
}

// readGroups returns what the replicas see of each group; without replicas where
// nobody could be asked. The error is for a note.
func readGroups(ctx context.Context, client *client, groups []v1alpha1.UpstreamGroup) ([]v1alpha1.UpstreamGroupLive, error) {
	all := make([]v1alpha1.UpstreamGroupLive, len(groups))
	for i := range groups {
		all[i].Name = groups[i].Name
	}
	return all, eachLive(len(groups), func(i int) error {
		var live v1alpha1.UpstreamGroupLive
		if err := client.live(ctx, upstreamGroups, groups[i].Name, &live); err != nil {
			return err
		}
		all[i] = live
		return nil
	})
}

// printUnusual says what is not as routes and groups say.
func (c *cli) printUnusual(ctx context.Context, client *client, live []v1alpha1.UpstreamGroupLive, out, notes io.Writer) {
	var lines []string
	list := &v1alpha1.SwitchList{}
	if err := client.list(ctx, switches, list); err != nil {
		note(notes, "switches cannot be read: %v", err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		force := s.Spec.ForceGroup
		if left := c.left(s); force != nil && left > 0 {
			what := describeScope(&force.Match, &force.Except)
			if what == "*" {
				what = "everything"
			}
			lines = append(lines, fmt.Sprintf("Forced: %s serves %s for another %s (switch %s of %s: %s)",
				force.Group, what, formatTime(left), s.Name, cmp.Or(s.Status.RequestedBy, none), s.Spec.Reason))
		}
	}
	for i := range live {
		lines = append(lines, unusual(&live[i])...)
	}
	for _, line := range lines {
		fmt.Fprintln(out, printable(line))
	}
	if len(lines) > 0 {
		fmt.Fprintln(out)
	}
}

// unusual has a line for each thing that is out of the ordinary in a group.
func unusual(l *v1alpha1.UpstreamGroupLive) (lines []string) {
	if gone := replicasWithout(l, ready); len(gone) > 0 {
		lines = append(lines, fmt.Sprintf("Gone: %s has no server that is ready on %s", l.Name, strings.Join(gone, ", ")))
	}
	var shedding, returning []string
	for i := range l.Replicas {
		r := &l.Replicas[i]
		if r.Shedding != "" {
			shedding = append(shedding, fmt.Sprintf("%s and below on %s", r.Shedding, r.Name))
		}
		if r.Returning != nil {
			returning = append(returning, fmt.Sprintf("%d%% on %s", *r.Returning, r.Name))
		}
	}
	if len(shedding) > 0 {
		lines = append(lines, fmt.Sprintf("Shedding: %s refuses %s, because its servers are overloaded", l.Name, strings.Join(shedding, ", ")))
	}
	if len(returning) > 0 {
		lines = append(lines, fmt.Sprintf("Returning: %s has so many of its clients back: %s", l.Name, strings.Join(returning, ", ")))
	}
	return lines
}

// ready tells a server that gets requests.
func ready(e *v1alpha1.EndpointState) bool {
	return e.Health == v1alpha1.EndpointReady || e.Health == v1alpha1.EndpointUnknown
}

// replicasWithout returns the names of the replicas that see no such server.
func replicasWithout(l *v1alpha1.UpstreamGroupLive, such func(*v1alpha1.EndpointState) bool) (names []string) {
	for i := range l.Replicas {
		found := false
		for j := range l.Replicas[i].Endpoints {
			found = found || such(&l.Replicas[i].Endpoints[j])
		}
		if !found {
			names = append(names, l.Replicas[i].Name)
		}
	}
	return names
}

// endpointTable has a row for each server as each replica sees it. Where nobody
// could be asked it has the servers alone.
func (c *cli) endpointTable(groups []v1alpha1.UpstreamGroup, live []v1alpha1.UpstreamGroupLive) *table {
	t := &table{headers: []string{"GROUP", "REPLICA", "ENDPOINT", "HEALTH", "VERSION", "LATENCY", "INFLIGHT", "WATCHES", "REQUESTS", "FAILURES", "REASON"}}
	for i := range groups {
		if len(live[i].Replicas) == 0 {
			for _, server := range groups[i].Spec.Servers {
				t.add(groups[i].Name, unknown, address(server.URL), unknown, unknown, unknown, unknown, unknown, unknown, unknown, none)
			}
		}
		for j := range live[i].Replicas {
			r := &live[i].Replicas[j]
			for k := range r.Endpoints {
				e := &r.Endpoints[k]
				t.add(groups[i].Name, r.Name, address(e.URL), string(e.Health), cmp.Or(e.Version, unknown), formatLatency(e.Latency.Duration),
					strconv.FormatInt(e.InFlight, 10), strconv.FormatInt(e.LongRunning, 10),
					strconv.FormatInt(e.Requests, 10), strconv.FormatInt(e.Failures, 10), c.reason(e))
			}
		}
	}
	return t
}

// address is a server's URL without what they all have.
func address(url string) string { return strings.TrimPrefix(url, "https://") }

// reason is why a server is not ready, and for how long.
func (c *cli) reason(e *v1alpha1.EndpointState) string {
	if ready(e) {
		return cmp.Or(e.Reason, none)
	}
	why := cmp.Or(e.Reason, "not told")
	if e.Since.IsZero() {
		return why
	}
	return fmt.Sprintf("%s, for %s", why, formatTime(max(0, c.server.now().Sub(e.Since.Time))))
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) switchCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "switch", Short: "Stop or divert requests at once, for a time",
		Long: `Stops or diverts requests at once, for a time. Leases, authentication and
authorization reviews, nodes/status and pods/status are not stopped, and neither
is the gateway's own API: a switch can always be turned off.`,
		Aliases: []string{"switches", "sw"}, DisableFlagsInUseLine: true,
		// Without these cobra answers a misspelt command with help and success.
		Args: knownCommand,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(c.switchOnCommand(), c.switchExtendCommand(), c.switchOffCommand(), c.switchListCommand())
	return command
}

// switchFlags are what a switch is made of.
type switchFlags struct {
	kind     v1alpha1.SwitchType
	reason   string
	duration time.Duration
	priority v1alpha1.Priority
	group    string
	match    matchFlags
}

func (f *switchFlags) bind(c *cli, command *cobra.Command) {
	flags := command.Flags()
	flags.Var(oneOfValue[v1alpha1.SwitchType]{&f.kind, allSwitchTypes}, "type", "ReadOnly refuses writes, Freeze what the other flags match, ShedPriority clients of low priority; ForceGroup sends what the other flags match to one group of kube-apiservers, ServeStale answers reads from memory while none of them can be asked")
	completeFlag(command, "type", stringsOf(allSwitchTypes)...)
	f.bindWhy(command)
	flags.Var(oneOfValue[v1alpha1.Priority]{&f.priority, sheddable}, "priority", "for ShedPriority: the highest priority that is refused, P2 to P4; those below it are, too")
	completeFlag(command, "priority", stringsOf(sheddable)...)
	flags.StringVar(&f.group, "group", "", "for ForceGroup: the group")
	// Fails for a flag that does not exist only.
	_ = command.RegisterFlagCompletionFunc("group", c.completeValue(groupNames))
	f.match.bind(command)
}

// bindWhy adds what every switch needs.
func (f *switchFlags) bindWhy(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.reason, "reason", "", "why; refused clients are told")
	completeFlag(command, "reason")
	flags.DurationVar(&f.duration, "for", v1alpha1.DefaultSwitchDuration, "how long, from 1s to 168h")
	completeFlag(command, "for", "10m", "30m", "1h", "4h")
}

func (f *switchFlags) check(flags *pflag.FlagSet) error {
	given := f.match.given(flags)
	switch {
	case f.kind == "":
		return usagef("--type is needed: %s", strings.Join(stringsOf(allSwitchTypes), ", "))
	case strings.TrimSpace(f.reason) == "":
		return errNoReason
	case f.kind == v1alpha1.SwitchShedPriority && f.priority == "":
		return usagef("--type ShedPriority needs --priority: P2, P3 or P4")
	case f.kind == v1alpha1.SwitchShedPriority && len(given) > 0:
		return usagef("%s is not for --type ShedPriority", given[0])
	case f.kind != v1alpha1.SwitchShedPriority && f.priority != "":
		return usagef("--priority is for --type ShedPriority; to match clients by their priority use --client-priority")
	case f.kind == v1alpha1.SwitchForceGroup && f.group == "":
		return usagef("--type ForceGroup needs --group: the group of kube-apiservers that serves the requests")
	case f.kind != v1alpha1.SwitchForceGroup && f.group != "":
		return usagef("--group is for --type ForceGroup; to match clients by the group of their user use --user-group")
	case f.kind == v1alpha1.SwitchFreeze && len(given) == 0:
		return usagef("--type Freeze needs to know what: --user-agent, --verb, --resource, --namespace or the like; to stop all writes use --type ReadOnly")
	}
	return checkDuration(f.duration)
}

var errNoReason = usagef("--reason is needed: tell those who are refused, and those who look later, why")

// maxSwitch is the API's.
const maxSwitch = 7 * 24 * time.Hour

func checkDuration(d time.Duration) error {
	if d < time.Second || d > maxSwitch {
		return usagef("--for must be from 1s to 168h")
	}
	return nil
}

func (f *switchFlags) spec() v1alpha1.SwitchSpec {
	spec := v1alpha1.SwitchSpec{Type: f.kind, Reason: f.reason, Duration: &metav1.Duration{Duration: f.duration}}
	switch f.kind {
	case v1alpha1.SwitchReadOnly:
		spec.ReadOnly = &v1alpha1.SwitchScope{Match: f.match.match()}
	case v1alpha1.SwitchFreeze:
		spec.Freeze = &v1alpha1.SwitchScope{Match: f.match.match()}
	case v1alpha1.SwitchShedPriority:
		spec.ShedPriority = &v1alpha1.ShedPriority{Priority: f.priority}
	case v1alpha1.SwitchForceGroup:
		match := f.match.match()
		spec.ForceGroup = &v1alpha1.ForceGroup{Group: f.group, Match: match}
	case v1alpha1.SwitchServeStale:
		spec.ServeStale = &v1alpha1.SwitchScope{Match: f.match.match()}
	}
	return spec
}

func (c *cli) switchOnCommand() *cobra.Command {
	var f switchFlags
	var dryRun bool
	command := &cobra.Command{
		Use: "on NAME --type TYPE --reason TEXT", Short: "Stop or divert requests at once",
		Example: c.example(`
# No writes for ten minutes.
%[1]s switch on upgrade --type ReadOnly --for 10m --reason "etcd is being moved"

# Nobody deletes namespaces or pods.
%[1]s switch on no-deletes --type Freeze --verb delete --verb deletecollection \
    --resource pods,namespaces --reason "a cleanup job has run wild"

# P3 (observability, tools) and P4 (unknown clients) have to wait.
%[1]s switch on shed --type ShedPriority --priority P3 --for 30m --reason "apiserver-2 is down"

# Everybody is served by bypass.
%[1]s switch on shift --type ForceGroup --group bypass --for 30m --reason "main is being upgraded"

# Reads are answered with what the gateway remembers, as long as no kube-apiserver can be asked.
%[1]s switch on stale --type ServeStale --for 30m --reason "etcd is being restored"`),
		Args: oneName, ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.bind(c, command)
	bindDryRun(command, &dryRun)
	command.RunE = c.runs(func(ctx context.Context, args []string) error {
		if err := f.check(command.Flags()); err != nil {
			return err
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		return c.switchOn(ctx, client, args[0], f.spec(), dryRun)
	})
	return command
}

func (c *cli) switchOn(ctx context.Context, client *client, name string, spec v1alpha1.SwitchSpec, dryRun bool) error {
	if force := spec.ForceGroup; force != nil {
		if err := checkGroup(ctx, client, force.Group); err != nil {
			return err
		}
	}
	made := func() (*v1alpha1.Switch, error) {
		s := &v1alpha1.Switch{Spec: *spec.DeepCopy()}
		s.Name = name
		return s, client.create(ctx, switches, s, dryRun)
	}
	s, err := made()
	if apierrors.IsAlreadyExists(err) {
		var old v1alpha1.Switch
		if getErr := client.get(ctx, switches, name, &old); getErr != nil {
			return getErr
		}
		if left := c.left(&old); left > 0 {
			return fmt.Errorf("the switch %s is on for another %s: %s\nTo make it longer: '%s switch extend %s --for 10m'; to replace it: '%s' first",
				name, formatTime(left), old.Spec.Reason, c.program.shown, name, c.turnsOff(&old))
		}
		// One that has expired stays for a day to be looked at. It must not be in the
		// way now.
		if err := client.delete(ctx, switches, name, old.UID, dryRun); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		note(c.err, "replaces the switch of that name that expired %s ago", formatTime(-c.left(&old)))
		if dryRun {
			// The old one is still there, so nobody could check the new one.
			fmt.Fprintf(c.out, "%s would be on: %s%s\n", ref(switches, name), printable(describeSwitch(&spec)), dryRunSuffix(dryRun))
			return nil
		}
		s, err = made()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s on for %s: %s%s\n", ref(switches, name), formatTime(s.Spec.Duration.Duration), printable(describeSwitch(&s.Spec)), dryRunSuffix(dryRun))
	if !dryRun {
		fmt.Fprintf(c.err, "Turn it off with '%s'.\n", c.turnsOff(s))
	}
	if force := spec.ForceGroup; force != nil {
		c.noteUnready(ctx, client, force.Group)
	}
	return nil
}

// turnsOff is the command that turns a switch off.
func (c *cli) turnsOff(s *v1alpha1.Switch) string {
	if s.Spec.Type == v1alpha1.SwitchForceGroup {
		return fmt.Sprintf("%s route unforce %s", c.program.shown, s.Name)
	}
	return fmt.Sprintf("%s switch off %s", c.program.shown, s.Name)
}

// left is how long a switch is on; negative since it has expired.
func (c *cli) left(s *v1alpha1.Switch) time.Duration {
	if s.Status.ExpiresAt == nil {
		return 0
	}
	return s.Status.ExpiresAt.Sub(c.server.now())
}

// describeSwitch says what a switch does.
func describeSwitch(spec *v1alpha1.SwitchSpec) string {
	what := string(spec.Type)
	add := func(scope *v1alpha1.SwitchScope) {
		if scope == nil {
			return
		}
		if m := describeScope(&scope.Match, &scope.Except); m != "*" {
			what += " " + strings.TrimPrefix(m, "* ")
		}
	}
	add(spec.ReadOnly)
	add(spec.Freeze)
	add(spec.ServeStale)
	if spec.ShedPriority != nil {
		what += " " + string(spec.ShedPriority.Priority) + " and below"
	}
	if force := spec.ForceGroup; force != nil {
		what += " " + force.Group
		add(&v1alpha1.SwitchScope{Match: force.Match, Except: force.Except})
	}
	return what
}

func (c *cli) switchExtendCommand() *cobra.Command {
	var duration time.Duration
	command := &cobra.Command{
		Use: "extend NAME --for DURATION", Short: "Keep a switch on for longer, counted from now",
		Args: oneName, ValidArgsFunction: c.completeNames(namesOf(switches), false), DisableFlagsInUseLine: true,
	}
	command.Flags().DurationVar(&duration, "for", 0, "how long from now, from 1s to 168h")
	completeFlag(command, "for", "10m", "30m", "1h", "4h")
	command.RunE = c.runs(func(ctx context.Context, args []string) error {
		if !command.Flags().Changed("for") {
			return usagef("--for is needed: how long from now")
		}
		if err := checkDuration(duration); err != nil {
			return err
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		var s v1alpha1.Switch
		if err := client.get(ctx, switches, args[0], &s); err != nil {
			return err
		}
		d := duration
		if s.Spec.Duration != nil && s.Spec.Duration.Duration == d {
			// The time counts from the last change of the field, so it must be one.
			d += time.Millisecond
			if d > maxSwitch {
				d -= 2 * time.Millisecond
			}
		}
		before := c.left(&s)
		patch := map[string]any{"spec": map[string]any{"duration": d.String()}}
		if err := client.patch(ctx, switches, s.Name, patch, false, &s); err != nil {
			return err
		}
		was := "had expired"
		if before > 0 {
			was = "was " + formatTime(before)
		}
		fmt.Fprintf(c.out, "%s on for %s (%s)\n", ref(switches, s.Name), formatTime(duration), was)
		return nil
	})
	return command
}

func (c *cli) switchOffCommand() *cobra.Command {
	var all, yes, dryRun bool
	command := &cobra.Command{
		Use: "off {NAME... | --all}", Short: "Turn switches off",
		ValidArgsFunction: c.completeNames(namesOf(switches), true), Args: namesOrAll(&all), DisableFlagsInUseLine: true,
	}
	command.Flags().BoolVar(&all, "all", false, "all switches; asks before it does so")
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
		return errors.Join(missing, c.switchesOff(ctx, client, items, all, all && !yes, dryRun))
	})
	return command
}

// switchesOff deletes switches. All tells that nobody has named them, so that they
// are counted; ask that they are shown before.
func (c *cli) switchesOff(ctx context.Context, client *client, items []v1alpha1.Switch, all, ask, dryRun bool) error {
	if ask && !dryRun && len(items) > 0 {
		if err := c.switchTable(items).print(c.err, false); err != nil {
			return err
		}
		if err := c.confirm(fmt.Sprintf("Turn %s at %s off?", plural(len(items), "switch"), client.server)); err != nil {
			return err
		}
	}
	var errs []error
	off := 0
	for i := range items {
		// Not one that somebody has made of that name since.
		err := client.delete(ctx, switches, items[i].Name, items[i].UID, dryRun)
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
			continue
		}
		off++
		fmt.Fprintf(c.out, "%s off%s\n", ref(switches, items[i].Name), dryRunSuffix(dryRun))
	}
	if all {
		fmt.Fprintf(c.out, "%s turned off%s\n", plural(off, "switch"), dryRunSuffix(dryRun))
	}
	return errors.Join(errs...)
}

func switchesOf(list *v1alpha1.SwitchList) []v1alpha1.Switch { return list.Items }

func (c *cli) switchListCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use: "list [NAME...]", Short: "Show switches", Aliases: []string{"ls"},
		Long:              "Shows switches. Those that have expired can be looked at for a day.",
		ValidArgsFunction: c.completeNames(namesOf(switches), true), DisableFlagsInUseLine: true,
	}
	o.bind(command, "table", "wide", "json", "yaml", "name")
	command.RunE = c.runs(func(ctx context.Context, names []string) error {
		if err := o.check(); err != nil {
			return err
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		items, missing := readAll(ctx, client, switches, names, switchesOf)
		if len(items) == 0 && missing != nil {
			return missing
		}
		if !o.table() {
			err := objects(c.out, o.format, "Switch", switches, items, func(o *v1alpha1.Switch) string { return o.Name }, len(names) == 1)
			return errors.Join(err, missing)
		}
		if len(items) == 0 {
			note(c.err, "no switch is on")
			return nil
		}
		t := c.switchTable(items)
		if o.format == "wide" {
			t.headers = append(t.headers, "EFFECT")
			for i := range items {
				t.rows[i] = append(t.rows[i], describeSwitch(&items[i].Spec))
			}
		}
		return errors.Join(t.print(c.out, o.noHeaders), missing)
	})
	return command
}

func (c *cli) switchTable(items []v1alpha1.Switch) *table {
	t := &table{headers: []string{"NAME", "TYPE", "STATE", "EXPIRES-IN", "BY", "REASON"}}
	for i := range items {
		s := &items[i]
		state, expires := "On", none
		switch left := c.left(s); {
		case left <= 0:
			// Also without a time: the gateway does not act on such a switch.
			state = "Expired"
			if s.Status.ExpiresAt != nil {
				expires = formatTime(-left) + " ago"
			}
		default:
			expires = formatTime(left)
		}
		t.add(s.Name, string(s.Spec.Type), state, expires, cmp.Or(s.Status.RequestedBy, none), s.Spec.Reason)
	}
	return t
}

package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) classesCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use: "classes [NAME...]", Short: "Show the classes of clients",
		Long: `Shows the classes of clients. A request belongs to the matching class of the
highest precedence. P0 is the control plane, P4 what nobody knows.`,
		Aliases:           []string{"class", "clientclasses", "clientclass"},
		ValidArgsFunction: c.completeNames(namesOf(clientClasses), true), DisableFlagsInUseLine: true,
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
		classes, missing := readAll(ctx, client, clientClasses, names, func(l *v1alpha1.ClientClassList) []v1alpha1.ClientClass { return l.Items })
		if len(classes) == 0 && missing != nil {
			return missing
		}
		if !o.table() {
			err := objects(c.out, o.format, "ClientClass", clientClasses, classes, func(o *v1alpha1.ClientClass) string { return o.Name }, len(names) == 1)
			return errors.Join(err, missing)
		}
		if len(classes) == 0 {
			note(c.err, "there are no classes: every client is of the class %s", v1alpha1.ClassUnknown)
			return nil
		}
		return errors.Join(c.printClasses(classes, &o), missing)
	})
	return command
}

func (c *cli) printClasses(classes []v1alpha1.ClientClass, o *output) error {
	t := table{headers: []string{"NAME", "PRIORITY", "PRECEDENCE", "READS", "CLIENTS", "ACTIVE"}}
	wide := o.format == "wide"
	if wide {
		t.headers = append(t.headers, "REQUESTS", "EXPECTED")
	}
	for i := range classes {
		class := &classes[i]
		reads := string(class.Spec.Reads.Mode)
		if stale := class.Spec.Reads.MaxStaleness; stale != nil {
			reads += "/" + formatTime(stale.Duration)
		}
		cells := []string{
			class.Name, string(class.Spec.Priority), strconv.Itoa(int(class.Spec.Precedence)), reads,
			describeClients(&class.Spec.Match.Clients), active(&class.Status, class.Generation),
		}
		if wide {
			expected := "*"
			if e := class.Spec.ExpectedIdentities; e != nil {
				expected = describeClients(&v1alpha1.ClientMatch{Users: e.Users, Groups: e.Groups, ServiceAccounts: e.ServiceAccounts})
			}
			cells = append(cells, describeRequests(&class.Spec.Match), expected)
		}
		t.add(cells...)
	}
	return t.print(c.out, o.noHeaders)
}

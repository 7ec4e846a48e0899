package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// root is the tree of all commands.
func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   c.program.file,
		Short: "Govern a gateway: limits, switches, routes, and what is going on",
		Long: `Governs a gateway: what clients may do (limits), who they are (classes), what
stops at once (switch), which kube-apiservers serve them (route), what is answered
from memory (cache), and what is going on (top, explain).

It speaks to the gateway's own API only, and works while every kube-apiserver is
dead. The kubeconfig's server must be a gateway, or use --server.`,
		Example: c.example(`
# Who is hammering the cluster?
%[1]s top

# Stop one client's lists of pods now, and let it go on later.
%[1]s limits set stop-x --create --user-agent x --verb list --resource pods --qps 0
%[1]s limits delete stop-x

# Shed dashboards and scripts for ten minutes.
%[1]s switch on shed --type ShedPriority --priority P3 --for 10m --reason "apiserver-2 is down"

# The main kube-apiservers are sick: everybody is served by bypass.
%[1]s route force bypass --for 30m --reason "main answers slowly"

# Why is this client refused?
%[1]s explain --user-agent x --verb list --resource pods`),
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: c.program.shown},
		Args:          knownCommand,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,

		DisableFlagsInUseLine: true,
		// completion is a command of our own: it knows about kubectl.
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	c.connection.bind(root)
	root.AddCommand(
		c.limitsCommand(), c.classesCommand(), c.switchCommand(), c.routeCommand(), c.cacheCommand(), c.topCommand(), c.explainCommand(),
		c.versionCommand(), c.completionCommand(), c.optionsCommand(),
	)
	root.SetUsageTemplate(usageTemplate)
	return root
}

// example fills in how the program is called.
func (c *cli) example(text string) string {
	return indent(fmt.Sprintf(text, c.program.shown))
}

// knownCommand refuses what should be a command and is none.
func knownCommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q for %q", args[0], command.CommandPath())
	command.SuggestionsMinimumDistance = 2
	if names := command.SuggestionsFor(args[0]); len(names) > 0 {
		message += "; did you mean " + strings.Join(names, ", ") + "?"
	}
	return errors.New(message)
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, DisableFlagsInUseLine: true,
		RunE: c.runs(func(context.Context, []string) error {
			fmt.Fprintf(c.out, "%s %s (%s, %s/%s)\n", c.program.shown, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		}),
	}
}

func (c *cli) optionsCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "options", Short: "List the flags that every command has", Args: cobra.NoArgs, DisableFlagsInUseLine: true,
	}
	command.RunE = c.runs(func(context.Context, []string) error {
		fmt.Fprint(c.out, "Every command has these flags:\n\n", command.InheritedFlags().FlagUsagesWrapped(width))
		return nil
	})
	return command
}

// width is that of help; it does not follow the terminal, so that it reads the
// same everywhere.
const width = 100

// usageTemplate is cobra's, with the flags that every command has in a command
// of their own.
const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}{{if gt (len .Aliases) 0}}

Aliases:
  {{.NameAndAliases}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{(.LocalNonPersistentFlags.FlagUsagesWrapped 100) | trimTrailingWhitespaces}}{{end}}

See '{{.Root.CommandPath}} options' for the flags that every command has{{if .HasAvailableSubCommands}}, and
'{{.CommandPath}} COMMAND --help' for more about a command{{end}}.
`

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

func (c *cli) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	long := `Prints a script that completes commands, flags and names in a shell.

  bash   source <(%[1]s completion bash)
  zsh    source <(%[1]s completion zsh)
  fish   %[1]s completion fish | source`
	if c.program.plugin {
		long = `Prints a script that completes commands, flags and names. kubectl looks for it
under the name kubectl_complete-` + c.pluginName() + ` in the PATH, whatever the shell:

  %[1]s completion bash > ~/bin/kubectl_complete-` + c.pluginName() + `
  chmod +x ~/bin/kubectl_complete-` + c.pluginName()
	}
	command := &cobra.Command{
		Use: "completion {bash|zsh|fish}", Short: "Print a script for completion in a shell",
		Long:      fmt.Sprintf(long, c.program.shown),
		ValidArgs: shells, Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), DisableFlagsInUseLine: true,
	}
	command.RunE = c.runs(func(_ context.Context, args []string) error {
		if c.program.plugin {
			_, err := fmt.Fprintf(c.out, "#!/bin/sh\nexec %s __complete \"$@\"\n", c.program.shown)
			return err
		}
		root := command.Root()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(c.out, true)
		case "zsh":
			return root.GenZshCompletion(c.out)
		default:
			return root.GenFishCompletion(c.out, true)
		}
	})
	return command
}

// pluginName is the file's name as kubectl looks for completions.
func (c *cli) pluginName() string { return c.program.file[len("kubectl-"):] }

// namesReader reads what can be completed.
type namesReader func(context.Context, *client) ([]string, error)

// namesOf reads the names of all objects of a resource.
func namesOf(resource string) namesReader {
	return func(ctx context.Context, client *client) ([]string, error) { return client.names(ctx, resource) }
}

// completeNames completes names that are not on the command line yet, one or any
// number of them.
func (c *cli) completeNames(read namesReader, many bool) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, directive := c.completeValue(read)(command, args, word)
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), directive
	}
}

// completeValue completes a flag whose value is a name.
func (c *cli) completeValue(read namesReader) cobra.CompletionFunc {
	return func(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		// Completion sets no context.
		ctx := command.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		names := c.namesInTime(ctx, read)
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes the values of a flag; without any, nothing, and no
// files either.
func completeFlag(command *cobra.Command, flag string, values ...string) {
	// Fails for a flag that does not exist only.
	_ = command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

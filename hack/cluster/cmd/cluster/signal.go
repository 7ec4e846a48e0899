package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// restartTimeout covers the start of an apiserver on a busy machine.
const restartTimeout = 2 * time.Minute

// newSignalCommands makes the commands that break one part of a running cluster, and
// mend it again.
func newSignalCommands(stateDir dirFunc) []*cobra.Command {
	command := func(use, short string, do func(context.Context, *cluster.Cluster, *cluster.Process) error) *cobra.Command {
		return &cobra.Command{
			Use:   use + " NAME",
			Short: short,
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, process, err := openProcess(stateDir, args[0])
				if err != nil {
					return err
				}
				if err := do(cmd.Context(), c, process); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", process.Name(), stateOf(process))
				return nil
			},
		}
	}
	return []*cobra.Command{
		command("kill", "End a part at once (SIGKILL), as a crash would", func(_ context.Context, _ *cluster.Cluster, p *cluster.Process) error {
			if !p.Running() {
				return fmt.Errorf("kill %s: %w", p.Name(), cluster.ErrNotRunning)
			}
			return p.Kill()
		}),
		command("pause", "Freeze a part (SIGSTOP): it accepts connections and never answers", func(_ context.Context, _ *cluster.Cluster, p *cluster.Process) error {
			return p.Pause()
		}),
		command("resume", "Continue a paused part (SIGCONT)", func(_ context.Context, _ *cluster.Cluster, p *cluster.Process) error {
			return p.Resume()
		}),
		command("restart", "Stop a part if it runs, start it and wait until it is ready", restart),
	}
}

// restart starts a part again and records its new pid.
func restart(ctx context.Context, c *cluster.Cluster, p *cluster.Process) error {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	if err := p.Restart(ctx); err != nil {
		return err
	}
	return c.Save()
}

// openProcess finds a part of the cluster by its name.
func openProcess(stateDir dirFunc, name string) (*cluster.Cluster, *cluster.Process, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, nil, err
	}
	c, err := cluster.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	if process := c.Process(name); process != nil {
		return c, process, nil
	}
	var names []string
	for _, process := range c.Processes() {
		names = append(names, process.Name())
	}
	return nil, nil, fmt.Errorf("the cluster has no part %q; it has %s", name, strings.Join(names, ", "))
}

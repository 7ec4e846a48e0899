package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// addSizeFlags adds the flags that say how large the cluster is.
func addSizeFlags(flags *pflag.FlagSet, opts *cluster.Options, nodes int) {
	flags.IntVar(&opts.MainServers, "main-servers", 2, "number of main apiservers")
	flags.IntVar(&opts.BypassServers, "bypass-servers", 1, "number of bypass apiservers; -1 for none")
	flags.IntVar(&opts.Nodes, "nodes", nodes, "number of simulated nodes")
	flags.IntVar(&opts.BasePort, "base-port", cluster.DefaultBasePort, "port of main-0; the other apiservers follow, etcd (client, peer), kube-controller-manager, kube-scheduler and kwok are at +10 to +14; 0 for free ports")
	flags.BoolVar(&opts.LeaderElect, "leader-elect", false, "let kube-controller-manager and kube-scheduler hold leases")
	flags.StringArrayVar(&opts.ExtraAPIServerArgs, "apiserver-arg", nil, "an argument more for every apiserver; may be repeated")
}

func newUpCommand(stateDir dirFunc) *cobra.Command {
	opts := cluster.Options{KubeControllers: true, Detached: true}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster that keeps running; `cluster down` ends it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if opts.Dir, err = stateDir(); err != nil {
				return err
			}
			opts.Progress = cmd.ErrOrStderr()
			begin := time.Now()
			c, err := cluster.Start(cmd.Context(), opts)
			if err != nil {
				return err
			}
			printStatus(cmd.OutOrStdout(), c)
			fmt.Fprintf(cmd.OutOrStdout(), "\nup in %s; try\n  %s/kubectl --kubeconfig %s get nodes\n",
				time.Since(begin).Round(100*time.Millisecond), c.BinDir(), c.AdminKubeconfig())
			return nil
		},
	}
	addSizeFlags(cmd.Flags(), &opts, 3)
	return cmd
}

func newDownCommand(stateDir dirFunc) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the cluster that `cluster up` or `cluster run` has started",
		Long:  "End the cluster that `cluster up` or `cluster run` has started: the recorded pids, if they still are the recorded programs.\nThe folder with data and logs stays, and `cluster up` uses it again, unless --delete is given.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := stateDir()
			if err != nil {
				return err
			}
			c, err := cluster.Open(dir)
			if errors.Is(err, cluster.ErrNoState) {
				fmt.Fprintf(cmd.ErrOrStderr(), "no cluster in %s\n", dir)
				return nil
			}
			if err != nil {
				return err
			}
			if err := c.Close(); err != nil || !remove {
				return err
			}
			return os.RemoveAll(c.Dir())
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "delete the folder, data and logs included")
	return cmd
}

func newStatusCommand(stateDir dirFunc) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the parts of the cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := stateDir()
			if err != nil {
				return err
			}
			c, err := cluster.Open(dir)
			if err != nil {
				return err
			}
			printStatus(cmd.OutOrStdout(), c)
			return nil
		},
	}
}

// printStatus writes a line for each part.
func printStatus(out io.Writer, c *cluster.Cluster) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTATE\tPID\tURL\tLOG")
	for _, p := range c.Processes() {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", p.Name(), stateOf(p), p.Pid(), p.URL(), p.LogFile())
	}
	_ = table.Flush() // as lossy as printing is
}

func stateOf(p *cluster.Process) string {
	switch {
	case p.Paused():
		return "paused"
	case p.Running():
		return "running"
	default:
		return "ended"
	}
}

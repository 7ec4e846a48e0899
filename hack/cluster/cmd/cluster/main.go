// Command cluster builds and runs a real Kubernetes control plane on this machine, alone
// or behind an ASI gateway. See package hack/cluster for what it is made of.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// newRootCommand puts the commands together; each lives in the file of its name.
func newRootCommand() *cobra.Command {
	var dir string
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "Build and run a real Kubernetes control plane on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&dir, "dir", "", "folder of the cluster (default: $ASI_CLUSTER_DIR, or asi-gateway/cluster in the user's cache folder)")
	stateDir := func() (string, error) {
		if dir != "" {
			return dir, nil
		}
		return cluster.DefaultDir()
	}
	root.AddCommand(newBuildCommand(), newUpCommand(stateDir), newDownCommand(stateDir), newStatusCommand(stateDir), newRunCommand(stateDir))
	root.AddCommand(newSignalCommands(stateDir)...)
	return root
}

// dirFunc finds the folder of the cluster once flags have been parsed.
type dirFunc func() (string, error)

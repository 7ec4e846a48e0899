package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// newBuildCommand makes the command that prints the folder of the binaries, alone on
// standard output for use in scripts.
func newBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build etcd, Kubernetes and kwok if they are not there yet, and print their folder",
		Long:  "Build etcd, Kubernetes and kwok into $ASI_KUBE_DIR (default: asi-gateway/kube in the user's cache folder) and print their folder.\nFrom nothing that takes 12 minutes on 2 cores; what is there in the right version is kept.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := cluster.Build(cmd.Context(), cluster.BuildOptions{Progress: cmd.ErrOrStderr()})
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), dir)
			}
			return err
		},
	}
}

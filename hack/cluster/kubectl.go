package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// kubectlGrace is what an interrupted kubectl gets to end by itself.
const kubectlGrace = 5 * time.Second

// Kubectl returns a command that runs kubectl with a kubeconfig; an empty one means the
// administrator's for main-0. When ctx is done, kubectl is interrupted.
func (c *Cluster) Kubectl(ctx context.Context, kubeconfig string, args ...string) *exec.Cmd {
	if kubeconfig == "" {
		kubeconfig = c.AdminKubeconfig()
	}
	// Its caches go to the cluster's folder: the user's would remember the discovery of
	// an earlier cluster on the same port.
	flags := []string{"--kubeconfig=" + kubeconfig, fmt.Sprintf("--cache-dir=%s/kubectl", c.dir)}
	cmd := exec.CommandContext(ctx, c.binary(binKubectl), append(flags, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = kubectlGrace
	return cmd
}

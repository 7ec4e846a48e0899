package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// sampleReplicas is the number of pods of the sample Deployment.
const sampleReplicas = 3

// runner is one `cluster run`.
type runner struct {
	opts        cluster.Options
	gateway     string   // path of the gateway's binary
	gatewayArgs []string // added behind ours
	port        int      // the gateway's
	out         string   // kubeconfig to write
	// direct lets the controllers talk to main-0 instead of the gateway.
	direct bool
	print  io.Writer
	begin  time.Time
}

func newRunCommand(stateDir dirFunc) *cobra.Command {
	r := &runner{}
	cmd := &cobra.Command{
		Use:   "run --gateway PATH [-- GATEWAY FLAGS]",
		Short: "Run a cluster with a gateway in front of it until Ctrl-C",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.opts.Dir, err = stateDir(); err != nil {
				return err
			}
			r.gatewayArgs, r.print, r.begin = args, cmd.OutOrStdout(), time.Now()
			r.opts.Progress = r.print
			return r.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	addSizeFlags(flags, &r.opts, 20)
	flags.StringVar(&r.gateway, "gateway", "", "path of the asi-gateway binary (required)")
	flags.IntVar(&r.port, "port", 6443, "port of the gateway on loopback")
	flags.StringVar(&r.out, "out", "gateway.kubeconfig", "administrator's kubeconfig for the gateway, to be written")
	flags.BoolVar(&r.direct, "direct-controllers", false, "let the controllers talk to main-0 instead of the gateway: they stall while main-0 is away")
	_ = cmd.MarkFlagRequired("gateway") // fails only for an unknown flag
	return cmd
}

// run brings everything up, waits for the end of ctx or of the gateway, and takes
// everything down.
func (r *runner) run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	c, err := cluster.Start(ctx, r.clusterOptions())
	if err != nil {
		return quietIfStopped(ctx, err)
	}
	err = r.serve(ctx, c)
	fmt.Fprintln(r.print, "stopping")
	if gateway := c.Process(gatewayName); gateway != nil {
		err = errors.Join(err, gateway.Stop(context.Background()))
	}
	// Parts that another terminal has started again are not our children.
	return errors.Join(err, c.CloseRecorded(context.Background()), c.Close())
}

// check finds mistakes before minutes are spent on a cluster.
func (r *runner) check() (err error) {
	if r.gateway, err = exec.LookPath(r.gateway); err != nil {
		return fmt.Errorf("--gateway: %w: build it first (make build)", err)
	}
	if r.gateway, err = filepath.Abs(r.gateway); err != nil {
		return fmt.Errorf("--gateway: %w", err)
	}
	if r.out, err = filepath.Abs(r.out); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if err := cluster.CheckPort(r.port); err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	return nil
}

// clusterOptions leave nodes and controllers for later, when the gateway is there.
func (r *runner) clusterOptions() cluster.Options {
	opts := r.opts
	opts.Nodes, opts.KubeControllers = 0, false
	return opts
}

// serve runs what belongs to the gateway until ctx is done, which is no error, or the
// gateway ends, which is one.
func (r *runner) serve(ctx context.Context, c *cluster.Cluster) error {
	gateway, err := r.startGateway(ctx, c)
	if err != nil {
		return quietIfStopped(ctx, err)
	}
	if err := r.populate(ctx, c); err != nil {
		return quietIfStopped(ctx, err)
	}
	r.printHints(c)
	select {
	case <-ctx.Done():
		return nil
	case <-gateway.Exited():
		return fmt.Errorf("the gateway has ended (%v): see %s", gateway.ExitErr(), gateway.LogFile())
	}
}

// populate starts the controllers and fills the cluster.
func (r *runner) populate(ctx context.Context, c *cluster.Cluster) error {
	target := cluster.Target{Server: c.Process(gatewayName).URL()}
	if r.direct {
		target.Server = c.Servers(cluster.GroupMain)[0]
	}
	if err := r.step("controllers", func() error { return c.StartControllers(ctx, target) }); err != nil {
		return err
	}
	nodes := func() error {
		return errors.Join(c.CreateNodes(ctx, 0, r.opts.Nodes), c.WaitNodesReady(ctx, r.opts.Nodes))
	}
	if err := r.step(fmt.Sprintf("%d nodes", r.opts.Nodes), nodes); err != nil {
		return err
	}
	if err := r.step("sample", func() error { return r.createSample(ctx, c) }); err != nil {
		return err
	}
	return r.step("node list", func() error { return r.listNodes(ctx, c) })
}

// createSample needs a node to put pods on.
func (r *runner) createSample(ctx context.Context, c *cluster.Cluster) error {
	if r.opts.Nodes == 0 {
		return nil
	}
	return c.CreateSample(ctx, sampleReplicas)
}

// listNodes makes sure that the kubeconfig that was written works.
func (r *runner) listNodes(ctx context.Context, c *cluster.Cluster) error {
	output, err := c.Kubectl(ctx, r.out, "get", "nodes", "--output=name").CombinedOutput()
	if err != nil {
		return fmt.Errorf("list nodes through the gateway: %w: %s", err, output)
	}
	return nil
}

// step runs one part of the start and tells how long it took.
func (r *runner) step(what string, do func() error) error {
	begin := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(r.print, "%-14s ready in %s\n", what, time.Since(begin).Round(10*time.Millisecond))
	return nil
}

// printHints says what can be tried.
func (r *runner) printHints(c *cluster.Cluster) {
	self := os.Args[0] + " --dir " + c.Dir()
	fmt.Fprintf(r.print, `
Everything is up after %[1]s. In another terminal, in the repository:

  export PATH=%[2]s:$PATH KUBECONFIG=%[3]s
  kubectl get nodes
  kubectl -n %[4]s get pods -w
  kubectl -n %[4]s scale deployment/%[5]s --replicas=10
  kubectl -n %[4]s exec deploy/%[5]s -- date
  kubectl -n %[4]s logs -f deploy/%[5]s

Who asks for what, what limits do about it, and what would become of a request:

  bin/asictl --kubeconfig %[3]s top
  bin/asictl --kubeconfig %[3]s limits
  bin/asictl --kubeconfig %[3]s explain --user-agent curl --verb list --resource pods
  kubectl explain ratelimits.spec

Break a part, see whether the commands above still work, and mend it:

  %[6]s status
  %[6]s kill main-0        (then: restart main-0)
  %[6]s pause main-1       (then: resume main-1)

Logs:       %[7]s
Audit logs: %[8]s/audit
Ctrl-C ends everything.
`, time.Since(r.begin).Round(100*time.Millisecond), c.BinDir(), r.out, cluster.SampleNamespace, cluster.SampleName,
		self, filepath.Dir(c.Process(gatewayName).LogFile()), c.Dir())
}

// quietIfStopped drops the errors that Ctrl-C causes.
func quietIfStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

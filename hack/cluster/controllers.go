package cluster

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Target is an apiserver, or a gateway in front of some, for the controllers to use.
type Target struct {
	// Server is the URL, like https://127.0.0.1:6443.
	Server string
	// CAFile verifies its certificate; empty means the cluster CA.
	CAFile string
}

// StartControllers starts kube-controller-manager, kube-scheduler and kwok as clients
// of target and waits until they are ready. Controllers that run are stopped first, so
// that a second call moves them to another target.
func (c *Cluster) StartControllers(ctx context.Context, target Target) error {
	if target.CAFile == "" {
		target.CAFile = c.CAFile()
	}
	if err := c.StopControllers(ctx); err != nil {
		return err
	}
	// A kwok that ran before would keep the nodes from its successor for the validity
	// of their leases.
	if err := c.ReleaseNodeLeases(ctx); err != nil {
		return err
	}
	specs, err := c.controllerSpecs(target)
	if err != nil {
		return fmt.Errorf("set the controllers up: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, spec := range specs {
		process := c.add(spec)
		group.Go(func() error { return process.Start(ctx) })
	}
	return errors.Join(group.Wait(), c.saveState())
}

// StopControllers stops kube-controller-manager, kube-scheduler and kwok. Nodes and
// pods stay as they are, and nobody keeps them alive any more.
func (c *Cluster) StopControllers(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range controllerNames() {
		if process := c.Process(name); process != nil {
			group.Go(func() error { return process.Stop(ctx) })
		}
	}
	return group.Wait()
}

// controllerNames are the names of the controllers' processes.
func controllerNames() []string {
	return []string{binControllerManager, binScheduler, binKwok}
}

// controllerSpecs writes the controllers' kubeconfigs and says how to run them.
func (c *Cluster) controllerSpecs(target Target) ([]Spec, error) {
	var specs []Spec
	for _, controller := range []struct {
		name string
		spec func(kubeconfig string) Spec
	}{
		{certControllerManager, c.controllerManagerSpec},
		{certScheduler, c.schedulerSpec},
		{certKwok, c.kwokSpec},
	} {
		kubeconfig, err := c.writeClientKubeconfig(controller.name, target)
		if err != nil {
			return nil, err
		}
		specs = append(specs, controller.spec(kubeconfig))
	}
	return specs, nil
}

// controllerManagerSpec is a kube-controller-manager whose controllers act as service
// accounts of their own, as in production: their tokens pass through target, too.
func (c *Cluster) controllerManagerSpec(kubeconfig string) Spec {
	return c.controllerSpec(binControllerManager, c.ports.ControllerManager, "/healthz", kubeconfig,
		"--use-service-account-credentials=true",
		"--root-ca-file="+c.CAFile(),
		"--service-account-private-key-file="+c.pki.serviceAccountKey(),
		"--cluster-signing-cert-file="+c.CAFile(),
		"--cluster-signing-key-file="+c.pki.keyFile(certCA),
		// CreateNodes gives each node its range.
		"--allocate-node-cidrs=false",
	)
}

func (c *Cluster) schedulerSpec(kubeconfig string) Spec {
	return c.controllerSpec(binScheduler, c.ports.Scheduler, "/readyz", kubeconfig)
}

// controllerSpec is what kube-controller-manager and kube-scheduler have in common.
func (c *Cluster) controllerSpec(name string, port int, ready, kubeconfig string, args ...string) Spec {
	url := "https://" + address(port)
	return Spec{
		Name: name,
		Path: c.binary(name),
		Args: append([]string{
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=" + loopback,
			fmt.Sprintf("--secure-port=%d", port),
			"--tls-cert-file=" + c.pki.certFile(name+"-serving"),
			"--tls-private-key-file=" + c.pki.keyFile(name+"-serving"),
			fmt.Sprintf("--leader-elect=%t", c.opts.LeaderElect),
			// The default of 20 to 50 requests a second makes thousands of pods wait.
			"--kube-api-qps=1000",
			"--kube-api-burst=2000",
		}, args...),
		URL:     url,
		LogFile: c.logFile(name),
		Ready:   Probe{URL: url + ready, CAFile: c.CAFile()},
	}
}

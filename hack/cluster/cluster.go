package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
)

// Options say what cluster to start. The zero value is two main apiservers and one
// bypass apiserver on free ports, without controllers and nodes, in a temporary folder.
type Options struct {
	// Dir holds the cluster's files; empty means a temporary folder that Close
	// removes. Data of an earlier cluster in it is used again.
	Dir string
	// BinDir holds the binaries, as Build returns it; empty means to call Build.
	BinDir string
	// MainServers and BypassServers are the numbers of apiservers; 0 means 2 and 1, a
	// negative number means none. There must be one main server at least.
	MainServers   int
	BypassServers int
	// BasePort is the port of main-0, from which the others follow (see
	// allocatePorts); 0 means free ports.
	BasePort int
	// Nodes is the number of nodes to create. They become Ready once controllers run.
	Nodes int
	// KubeControllers starts kube-controller-manager, kube-scheduler and kwok against
	// main-0. Leave it out to start them elsewhere with StartControllers.
	KubeControllers bool
	// LeaderElect makes kube-controller-manager and kube-scheduler hold leases, as in
	// production: one that cannot renew it ends itself, and one started again after a
	// kill waits 15 s for the lease of its predecessor. Off by default.
	LeaderElect bool
	// ExtraAPIServerArgs go behind the arguments of every apiserver; the last of two
	// equal flags counts.
	ExtraAPIServerArgs []string
	// Detached leaves the processes running when this program ends.
	Detached bool
	// Progress receives a line for each step; nil: none.
	Progress io.Writer
}

// withDefaults fills the zero values in.
func (o Options) withDefaults() (Options, error) {
	if o.MainServers == 0 {
		o.MainServers = 2
	}
	if o.BypassServers == 0 {
		o.BypassServers = 1
	}
	o.BypassServers = max(0, o.BypassServers)
	if o.MainServers < 0 {
		return o, errors.New("a cluster needs one main apiserver at least: set MainServers to 1 or more")
	}
	o.Progress = orDiscard(o.Progress)
	return o, nil
}

// Cluster is a control plane on this machine. Its methods may be called from several
// goroutines.
type Cluster struct {
	opts   Options
	dir    string
	ownDir bool // Close removes dir
	binDir string
	pki    *pki
	ports  ports

	mu sync.Mutex
	// processes in the order of their start; the slice is replaced, never changed in
	// place. Guarded by mu.
	processes []*Process

	close func() error
}

// Start boots a cluster and returns when every apiserver is ready and, if asked for,
// nodes and controllers are. ctx bounds the start only: the cluster lives until Close.
// Nothing is left running when it fails.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if opts.BinDir == "" {
		if opts.BinDir, err = Build(ctx, BuildOptions{Progress: opts.Progress}); err != nil {
			return nil, err
		}
	}
	c, err := newCluster(opts)
	if err != nil {
		return nil, err
	}
	if err := c.boot(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// newCluster prepares the folder: certificates, configuration, ports.
func newCluster(opts Options) (*Cluster, error) {
	c := &Cluster{opts: opts, dir: opts.Dir, binDir: opts.BinDir}
	c.close = sync.OnceValue(c.stopAll)
	if err := c.makeDir(); err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, errors.Join(err, c.removeDir())
	}
	return c, nil
}

// makeDir makes sure that the folder is there and no running cluster's.
func (c *Cluster) makeDir() (err error) {
	if c.dir == "" {
		c.ownDir = true
		if c.dir, err = os.MkdirTemp("", "asi-cluster-"); err != nil {
			return fmt.Errorf("create a folder for the cluster: %w", err)
		}
		return nil
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return fmt.Errorf("find the cluster's folder: %w", err)
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return fmt.Errorf("create the cluster's folder: %w", err)
	}
	return checkDown(c.dir)
}

func (c *Cluster) prepare() (err error) {
	if c.ports, err = allocatePorts(c.opts.BasePort, c.opts.MainServers+c.opts.BypassServers); err != nil {
		return err
	}
	if c.pki, err = newPKI(filepath.Join(c.dir, "pki"), time.Now()); err != nil {
		return err
	}
	if err := c.writeConfig("audit-policy.yaml", auditPolicy); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "audit"), 0o755); err != nil {
		return fmt.Errorf("create the audit folder: %w", err)
	}
	return c.writeKwokConfig()
}

// boot starts the parts in the order of their dependencies.
func (c *Cluster) boot(ctx context.Context) error {
	if err := c.step("etcd", func() error { return c.add(c.etcdSpec()).Start(ctx) }); err != nil {
		return err
	}
	if err := c.step("apiservers", func() error { return c.bootAPIServers(ctx) }); err != nil {
		return err
	}
	if _, err := c.writeClientKubeconfig(certAdmin, c.mainTarget()); err != nil {
		return err
	}
	if err := c.step("access rules", func() error { return c.bootstrap(ctx) }); err != nil {
		return err
	}
	if c.opts.KubeControllers {
		start := func() error { return c.StartControllers(ctx, c.mainTarget()) }
		if err := c.step("controllers", start); err != nil {
			return err
		}
	}
	if c.opts.Nodes > 0 {
		return c.step(fmt.Sprintf("%d nodes", c.opts.Nodes), func() error { return c.bootNodes(ctx) })
	}
	return nil
}

// bootAPIServers starts the first server alone, since it creates the default objects,
// and then the others at once.
func (c *Cluster) bootAPIServers(ctx context.Context) error {
	names := c.apiServerNames()
	var servers []*Process
	for i, name := range names {
		servers = append(servers, c.add(c.apiServerSpec(name, c.ports.Servers[i])))
	}
	if err := servers[0].Start(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range servers[1:] {
		group.Go(func() error { return server.Start(ctx) })
	}
	return group.Wait()
}

func (c *Cluster) apiServerNames() []string {
	var names []string
	for i := range c.opts.MainServers {
		names = append(names, apiServerName(GroupMain, i))
	}
	for i := range c.opts.BypassServers {
		names = append(names, apiServerName(GroupBypass, i))
	}
	return names
}

// bootNodes creates the nodes and, with controllers there, waits until they are Ready.
func (c *Cluster) bootNodes(ctx context.Context) error {
	if err := c.CreateNodes(ctx, 0, c.opts.Nodes); err != nil || !c.opts.KubeControllers {
		return err
	}
	return c.WaitNodesReady(ctx, c.opts.Nodes)
}

// step runs one part of the start and tells how long it took. What runs by then is
// recorded, so that `cluster down` can end it even if the start is killed.
func (c *Cluster) step(what string, do func() error) error {
	begin := time.Now()
	if err := do(); err != nil {
		return err
	}
	fmt.Fprintf(c.opts.Progress, "%-14s ready in %s\n", what, time.Since(begin).Round(10*time.Millisecond))
	return c.saveState()
}

// Close stops all processes, the latest started first, and removes the folder if Start
// made it. A second call returns the result of the first.
func (c *Cluster) Close() error { return c.close() }

func (c *Cluster) stopAll() error {
	ctx := context.Background()
	processes := c.Processes()
	isServer := func(p *Process) bool { return slices.Contains(c.apiServerNames(), p.Name()) }
	// Clients before servers, etcd last: each can still say goodbye to the next. A
	// part that does not stop must not keep the others alive.
	return errors.Join(
		stopMatching(ctx, processes, func(p *Process) bool { return !isServer(p) && p.Name() != etcdName }),
		stopMatching(ctx, processes, isServer),
		stopMatching(ctx, processes, func(p *Process) bool { return p.Name() == etcdName }),
		c.removeDir())
}

// stopMatching stops those processes at once that match.
func stopMatching(ctx context.Context, processes []*Process, match func(*Process) bool) error {
	var group errgroup.Group
	for _, process := range processes {
		if match(process) {
			group.Go(func() error { return process.Stop(ctx) })
		}
	}
	return group.Wait()
}

func (c *Cluster) removeDir() error {
	if !c.ownDir {
		return nil
	}
	return os.RemoveAll(c.dir)
}

// add makes a process of the cluster from spec, in place of one with the same name.
func (c *Cluster) add(spec Spec) *Process {
	spec.Detached = c.opts.Detached
	process := NewProcess(spec)
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(c.processes), func(p *Process) bool { return p.Name() == spec.Name })
	c.processes = append(kept, process)
	return process
}

// Add makes a process that belongs to the cluster, like a gateway in front of it: Close
// stops it with the controllers, before the apiservers. It is not started yet. The name
// must not be that of another part; an empty LogFile means logs/NAME.log.
func (c *Cluster) Add(spec Spec) (*Process, error) {
	if c.Process(spec.Name) != nil {
		return nil, fmt.Errorf("the cluster has a process %q already: choose another name", spec.Name)
	}
	if spec.LogFile == "" {
		spec.LogFile = c.logFile(spec.Name)
	}
	return c.add(spec), nil
}

// Processes returns the cluster's processes in the order of their start.
func (c *Cluster) Processes() []*Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.processes)
}

// Process returns the process of that name, like "main-0", "etcd" or "kwok"; nil if
// there is none.
func (c *Cluster) Process(name string) *Process {
	for _, process := range c.Processes() {
		if process.Name() == name {
			return process
		}
	}
	return nil
}

// Servers returns the URLs of the apiservers of a group: GroupMain or GroupBypass.
func (c *Cluster) Servers(group string) []string {
	var urls []string
	for i := 0; ; i++ {
		process := c.Process(apiServerName(group, i))
		if process == nil {
			return urls
		}
		urls = append(urls, process.URL())
	}
}

// EtcdURL is the client URL of etcd: plain HTTP on loopback.
func (c *Cluster) EtcdURL() string { return c.Process(etcdName).URL() }

// Dir is the folder with the cluster's files.
func (c *Cluster) Dir() string { return c.dir }

// BinDir is the folder with the binaries.
func (c *Cluster) BinDir() string { return c.binDir }

// CA signs the servers' and ordinary clients' certificates.
func (c *Cluster) CA() *CA { return c.pki.ca }

// FrontProxyCA signs the certificates of those who may assert users by X-Remote-*.
func (c *Cluster) FrontProxyCA() *CA { return c.pki.frontProxy }

// CACert is the certificate of CA, PEM.
func (c *Cluster) CACert() []byte { return c.pki.ca.CertPEM() }

// CAFile is the path of CACert.
func (c *Cluster) CAFile() string { return c.pki.certFile(certCA) }

// FrontProxyCAFile is the path of the certificate of FrontProxyCA.
func (c *Cluster) FrontProxyCAFile() string { return c.pki.certFile(certFrontProxyCA) }

// FrontProxyClientFiles are the certificate and key, signed by FrontProxyCA, with which
// the apiservers let a proxy assert users.
func (c *Cluster) FrontProxyClientFiles() (certFile, keyFile string) {
	return c.pki.certFile(certFrontProxyClient), c.pki.keyFile(certFrontProxyClient)
}

// GatewayServingFiles are a certificate and key, signed by CA, for a server on loopback.
func (c *Cluster) GatewayServingFiles() (certFile, keyFile string) {
	return c.pki.certFile(certGateway), c.pki.keyFile(certGateway)
}

// AdminFiles are the client certificate and key of the administrator (system:masters).
func (c *Cluster) AdminFiles() (certFile, keyFile string) {
	return c.pki.certFile(certAdmin), c.pki.keyFile(certAdmin)
}

// AdminKubeconfig is the path of the administrator's kubeconfig for main-0.
func (c *Cluster) AdminKubeconfig() string { return c.kubeconfigPath(certAdmin) }

// IssueClientCert issues a client certificate that the apiservers accept, PEM.
func (c *Cluster) IssueClientCert(user string, groups []string, notBefore, notAfter time.Time) (certPEM, keyPEM []byte, err error) {
	return c.pki.ca.IssueClient(user, groups, notBefore, notAfter)
}

// IssueServingCert issues a serving certificate for the host names and addresses, valid
// for a year, PEM.
func (c *Cluster) IssueServingCert(hosts ...string) (certPEM, keyPEM []byte, err error) {
	now := time.Now()
	return c.pki.ca.IssueServing(hosts, now.Add(-backdate), now.Add(certLife))
}

// RESTConfig is the administrator's client configuration for an apiserver or gateway
// with a certificate signed by CA. It has no client-side rate limit.
func (c *Cluster) RESTConfig(server string) *rest.Config {
	certFile, keyFile := c.AdminFiles()
	return &rest.Config{
		Host:            server,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile(), CertFile: certFile, KeyFile: keyFile},
		QPS:             -1,
	}
}

// mainTarget is main-0.
func (c *Cluster) mainTarget() Target {
	return Target{Server: c.Servers(GroupMain)[0], CAFile: c.CAFile()}
}

func (c *Cluster) binary(name string) string { return filepath.Join(c.binDir, name) }

func (c *Cluster) logFile(name string) string { return filepath.Join(c.dir, "logs", name+".log") }

func (c *Cluster) configFile(name string) string { return filepath.Join(c.dir, "config", name) }

func (c *Cluster) writeConfig(name string, content []byte) error {
	path := c.configFile(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create the configuration folder: %w", err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

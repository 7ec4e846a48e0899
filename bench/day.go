package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// dayOptions size the measurement.
type dayOptions struct {
	nodes   int
	pods    int
	phase   time.Duration
	rounds  int
	out     string
	gateway string // binary; empty builds it
}

// phase is what is going on for a while.
type phase struct {
	name string
	// reads and rogues tell whose requests there are beside the writes.
	reads, rogues bool
	// elsewhere has the reads answered by the floor: the same writes cost more CPU time
	// while the rest of the machine is busy, which is not what reads cost an apiserver.
	elsewhere bool
}

var phases = []phase{
	{name: "writes alone"},
	{name: "and reads of another server", reads: true, elsewhere: true},
	{name: "and reads", reads: true},
	{name: "and rogues", reads: true, rogues: true},
}

// dayBench is a cluster of 10,000 nodes in miniature: a main and a bypass
// kube-apiserver, nodes that kwok keeps alive, kube-controller-manager and
// kube-scheduler at work, and the clients of dayMix beside them.
type dayBench struct {
	o          dayOptions
	cluster    *cluster.Cluster
	gateway    *fixture.Gateway
	floor      *cluster.Process
	pods       population
	identities map[string]*tls.Config
	churn      *churn
}

// day measures what the apiservers do in it for reads, and what the control plane
// feels of rogue clients: with all clients at the apiservers, and at the gateway.
func day(ctx context.Context, o dayOptions) error {
	c, err := cluster.Start(ctx, cluster.Options{MainServers: 1, BypassServers: 1, Nodes: o.nodes, Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer c.Close()
	d := &dayBench{o: o, cluster: c, pods: population{
		pods: o.pods, nodes: o.nodes, nodesExist: true, namespaces: 50, selected: selectedPods, every: max(1, o.pods/selectedPods), small: true,
	}}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	report := dayReport{
		setting: here(), Nodes: o.nodes, Pods: o.pods, Seconds: o.phase.Seconds(), Rounds: o.rounds, Mix: mixOf(o.nodes),
	}
	for round := range o.rounds {
		for _, way := range []string{wayDirect, wayGateway} {
			if err := d.cluster.StartControllers(ctx, cluster.Target{Server: d.servers(way)[0]}); err != nil {
				return err
			}
			if err := d.cluster.WaitNodesReady(ctx, o.nodes); err != nil {
				return err
			}
			if d.floor == nil {
				if err := d.teachFloor(ctx); err != nil {
					return err
				}
			}
			for _, p := range phases {
				result, err := d.run(ctx, way, p)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", way, p.name, err)
				}
				result.Round = round
				report.Phases = append(report.Phases, result)
				fmt.Fprintf(os.Stderr, "round %d/%d %s, %s: apiservers %.2f cores, P0 p99 %.0f ms, %d refused, %d failed\n",
					round+1, o.rounds, way, p.name, result.UpstreamCPU, result.Control.P99, result.Control.Refused, result.Control.Failed)
			}
		}
	}
	report.Checks = report.judge()
	return writeReport(o.out, "day", report, dayTable(report))
}

const (
	wayDirect  = "kube-apiservers"
	wayGateway = "gateway"
)

// servers are those that clients use, one request at one and the next at the next.
func (d *dayBench) servers(way string) []string {
	if way == wayGateway {
		return []string{d.gateway.URL()}
	}
	return append(d.cluster.Servers(cluster.GroupMain), d.cluster.Servers(cluster.GroupBypass)...)
}

// apiservers are the processes of them all.
func (d *dayBench) apiservers() []*cluster.Process {
	return []*cluster.Process{d.cluster.Process("main-0"), d.cluster.Process("bypass-0")}
}

// prepare fills the cluster, makes identities, and starts the gateway with its
// default policies in force.
func (d *dayBench) prepare(ctx context.Context) (err error) {
	storage, err := newStorage(d.cluster)
	if err != nil {
		return err
	}
	defer storage.close()
	if err := storage.seed(ctx, d.pods, 0); err != nil {
		return err
	}
	if err := d.allow(ctx); err != nil {
		return err
	}
	d.identities = map[string]*tls.Config{}
	for _, s := range dayMix {
		if d.identities[s.user] != nil {
			continue
		}
		if d.identities[s.user], err = d.identity(s.user, s.groups()); err != nil {
			return err
		}
	}
	binary := d.o.gateway
	if binary == "" {
		if binary, err = fixture.BuildGateway(ctx, d.cluster.Dir()); err != nil {
			return err
		}
	}
	d.gateway, err = fixture.AddGateway(ctx, d.cluster, binary, "gateway", fixture.FrontProxy,
		"--default-policies=true", "--cache-resources", "pods,nodes,configmaps,secrets,persistentvolumeclaims,services,namespaces", "--cache-check-interval", "1h")
	if err != nil {
		return err
	}
	if err := d.enforce(ctx); err != nil {
		return err
	}
	d.churn, err = newChurn(ctx, d.cluster)
	return err
}

// teachFloor has the floor know the answers to all reads of the mix. Controllers are
// at work, but some of what is read they may have yet to make.
func (d *dayBench) teachFloor(ctx context.Context) (err error) {
	if d.floor, err = startFloor(ctx, d.cluster); err != nil {
		return err
	}
	direct := d.servers(wayDirect)[0]
	known := map[ask]bool{}
	for i := range dayMix {
		s := &dayMix[i]
		if s.control || s.rogue {
			continue
		}
		client := newClients(1, d.identities[s.user])[0]
		for n := range max(d.pods.nodes, d.pods.namespaces) {
			_, path, _ := s.request(d, n)
			a := ask{path: path, accept: s.accept}
			if known[a] {
				continue
			}
			known[a] = true
			err := fixture.Await(ctx, time.Minute, func(ctx context.Context) error {
				_, err := teach(ctx, client, direct, d.floor.URL(), a)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// benchGroup may do everything: whose access is refused is not what is measured.
const benchGroup = "bench"

func (d *dayBench) allow(ctx context.Context) error {
	client, err := d.admin()
	if err != nil {
		return err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: benchGroup},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: benchGroup}},
	}, metav1.CreateOptions{})
	return err
}

func (d *dayBench) admin() (*kubernetes.Clientset, error) {
	return kubernetes.NewForConfig(d.cluster.RESTConfig(d.cluster.Servers(cluster.GroupMain)[0]))
}

// identity makes a client certificate.
func (d *dayBench) identity(user string, groups []string) (*tls.Config, error) {
	now := time.Now()
	certPEM, keyPEM, err := d.cluster.IssueClientCert(user, groups, now.Add(-time.Hour), now.Add(24*time.Hour))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	return trusting(d.cluster.CAFile(), pair)
}

// enforce puts the default limits in force, as `asictl limits enforce --all` does.
func (d *dayBench) enforce(ctx context.Context) error {
	certFile, keyFile := d.cluster.AdminFiles()
	config, err := clientTLS(d.cluster.CAFile(), certFile, keyFile)
	if err != nil {
		return err
	}
	client := newClients(1, config)[0]
	text, err := fetchAs(ctx, client, d.gateway.URL()+limitsPath)
	if err != nil {
		return err
	}
	var limits struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Mode string }
		}
	}
	if err := json.Unmarshal([]byte(text), &limits); err != nil {
		return err
	}
	if len(limits.Items) == 0 {
		return errors.New("the gateway has no default limits")
	}
	for _, l := range limits.Items {
		if l.Spec.Mode != "DryRun" {
			continue
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, d.gateway.URL()+limitsPath+"/"+l.Metadata.Name, strings.NewReader(`{"spec":{"mode":"Enforce"}}`))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/merge-patch+json")
		if err := expectOK(client.Do(request)); err != nil {
			return err
		}
	}
	return nil
}

const limitsPath = "/apis/gateway.asi.io/v1alpha1/ratelimits"

// run has a phase take place, and measures it behind a time in which it settles.
func (d *dayBench) run(ctx context.Context, way string, p phase) (result phaseResult, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changing := d.churn.start(ctx)
	traffic := newTraffic(d, way, p)
	traffic.start(ctx)
	if err := wait(ctx, d.o.phase/4); err != nil {
		return result, err
	}
	traffic.reset()
	askedBefore, err := d.demand(ctx)
	if err != nil {
		return result, err
	}
	before, err := d.used()
	if err != nil {
		return result, err
	}
	start := time.Now()
	if err := wait(ctx, d.o.phase); err != nil {
		return result, err
	}
	after, err := d.used()
	if err != nil {
		return result, err
	}
	took := time.Since(start)
	askedAfter, err := d.demand(ctx)
	if err != nil {
		return result, err
	}
	streams := traffic.results()
	cancel()
	traffic.wait()
	if err := changing(); err != nil {
		return result, err
	}
	return phaseResult{
		Way: way, Phase: p.name, UpstreamCPU: (after.upstream - before.upstream).Seconds() / took.Seconds(),
		GatewayCPU: (after.gateway - before.gateway).Seconds() / took.Seconds(),
		Asked:      askedAfter.since(askedBefore, took.Seconds()),
		Streams:    streams, Control: controlOf(streams),
	}, nil
}

// dayUsed is the CPU time that processes have used.
type dayUsed struct{ upstream, gateway time.Duration }

func (d *dayBench) used() (u dayUsed, err error) {
	for _, p := range d.apiservers() {
		t, err := cpuTime(p.Pid())
		if err != nil {
			return u, err
		}
		u.upstream += t
	}
	u.gateway, err = cpuTime(d.gateway.Pid())
	return u, err
}

package survival

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	deploymentName = "web"
	// podsBefore and podsAfter are what the Deployment has before the failovers and is
	// scaled to after the last.
	podsBefore, podsAfter = 5, 20
	// caughtUpWithin is for informers whose server has died: the silence of a frozen
	// one takes 3 s to be noticed, the end of its watches is staggered, and a reflector
	// that had no connection waits up to 1.6 s. The rest is for a busy machine.
	caughtUpWithin = 30 * time.Second
	// settledWithin is for controllers whose reflectors have listed again several times
	// in a row: then they wait up to 30 s before the next time, and three of them work
	// on a Deployment one after the other.
	settledWithin = 2 * time.Minute
	// minReopened is less than the half of the watches that is on one of two servers.
	minReopened = 30
)

// who is stricken by a failover.
type who int

const (
	oneOfMain who = iota
	allOfMain
	// theBypass has the watches after main was gone: they do not come back by
	// themselves.
	theBypass
)

// failover is a fault of some servers.
type failover struct {
	fault fault
	who   who
}

// failovers are those that there are.
var failovers = []failover{
	{killed, oneOfMain}, {killed, allOfMain}, {killed, theBypass},
	{frozen, oneOfMain}, {frozen, allOfMain}, {frozen, theBypass},
	{ended, oneOfMain}, {ended, theBypass},
}

// victims returns who it is; servers are two of main and the bypass.
func (f failover) victims(random *rand.Rand, servers []*cluster.Process) (victims []stricken) {
	chosen := servers[:2]
	switch f.who {
	case oneOfMain:
		first := random.IntN(2)
		chosen = servers[first : first+1]
	case theBypass:
		chosen = servers[2:]
	}
	for _, p := range chosen {
		victims = append(victims, stricken{p, f.fault})
	}
	return victims
}

// TestInformersAndControllersSurviveFailovers has servers fail under informers,
// kube-controller-manager and kube-scheduler, while objects are churned.
func TestInformersAndControllersSurviveFailovers(t *testing.T) {
	rounds := 3
	if fixture.Soak() {
		rounds = 20
	}
	e := setUp(t)
	random := fixture.Random(t)
	controllers := e.startControllers(t)
	client := fixture.Clientset(t, e.gateways[0].RESTConfig())
	e.deploy(t, client, podsBefore)

	config := rest.CopyConfig(e.gateways[0].RESTConfig())
	config.QPS, config.Burst = churnQPS, churnQPS
	var churners []*churner
	for i := range newChurners(client, e.namespace) {
		// Each has a rate of its own.
		churners = append(churners, newChurners(fixture.Clientset(t, config), e.namespace)[i])
	}
	audiences := []*audience{newAudience(t, "the gateway", e.namespace, e.gateways[0].RESTConfig())}
	if fixture.Soak() {
		audiences = append(audiences, newAudience(t, "HAProxy in TCP mode", e.namespace, e.RESTConfig(e.startHAProxy(t))))
	}
	ctx, finish := context.WithCancel(t.Context())
	defer finish()
	var churning sync.WaitGroup
	defer churning.Wait()
	defer finish()
	for _, c := range churners {
		churning.Go(func() { c.run(ctx) })
	}
	// A reflector lists again when a watch ends within a second without an event: the
	// first ones are to be older than that.
	awaitChanges(t, churners, 2*churnQPS)
	var kinds []failover
	for range rounds {
		if len(kinds) == 0 {
			kinds = slices.Clone(failovers)
			random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		}
		victims := kinds[0].victims(random, e.servers())
		kinds = kinds[1:]
		began := time.Now()
		strike(t, victims)
		// Nobody is to wait for the servers to come back.
		awaitChanges(t, churners, 1)
		served := time.Since(began)
		logs := logsOf(churners)
		eventually(t, caughtUpWithin, func(context.Context) error { return audiences[0].caughtUp(logs) })
		t.Logf("%v: all churned resources written again after %s, seen by all informers after %s", victims,
			served.Round(10*time.Millisecond), time.Since(began).Round(10*time.Millisecond))
		awaitChanges(t, churners, 1+random.IntN(5*churnQPS))
		mend(t, victims)
		awaitChanges(t, churners, 1+random.IntN(2*churnQPS))
	}
	for _, p := range controllers {
		if !p.Running() || p.Pid() != p.before {
			t.Errorf("%s has not survived: %v", p.Name(), p.ExitErr())
		}
	}
	e.scale(t, client, podsAfter)
	finish()
	churning.Wait()

	logs := logsOf(churners)
	for _, a := range audiences {
		eventually(t, time.Minute, func(ctx context.Context) error { return a.equals(ctx, e.direct, e.namespace) })
		for _, fault := range a.faults(logs) {
			t.Error(fault)
		}
		t.Log(a.describe())
	}
	if reopened := audiences[0].reopened(); reopened < minReopened {
		t.Errorf("only %d watches were opened again: the faults have hit nobody", reopened)
	}
	for _, c := range churners {
		t.Logf("%s: %d changes acknowledged, %d lost", c.resource, len(c.log), c.lost)
	}
	must(t, e.StopControllers(within(t, time.Minute)))
}

// logsOf returns the logs so far, by resource.
func logsOf(churners []*churner) map[string][]change {
	logs := map[string][]change{}
	for _, c := range churners {
		logs[c.resource] = c.changes()
	}
	return logs
}

// awaitChanges returns when n more changes of each resource have been acknowledged.
func awaitChanges(t *testing.T, churners []*churner, n int) {
	t.Helper()
	before := logsOf(churners)
	eventually(t, time.Minute, func(context.Context) error {
		for resource, log := range logsOf(churners) {
			if got := len(log) - len(before[resource]); got < n {
				return fmt.Errorf("%d of %d changes of %s are acknowledged", got, n, resource)
			}
		}
		return nil
	})
}

// controller is a process that must not end.
type controller struct {
	*cluster.Process
	before int // its pid
}

// startControllers has controllers and nodes go through the gateway.
func (e *env) startControllers(t *testing.T) []controller {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	must(t, e.StartControllers(ctx, cluster.Target{Server: e.gateways[0].URL()}))
	must(t, e.WaitNodesReady(ctx, nodes))
	var controllers []controller
	for _, name := range []string{"kube-controller-manager", "kube-scheduler", "kwok"} {
		p := e.Process(name)
		controllers = append(controllers, controller{p, p.Pid()})
	}
	return controllers
}

// deploy creates the Deployment and waits until it is Available.
func (e *env) deploy(t *testing.T, client kubernetes.Interface, replicas int32) {
	t.Helper()
	labels := map[string]string{"app": deploymentName}
	_, err := client.AppsV1().Deployments(e.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: deploymentName},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "survival.invalid/web:1"}}},
			},
		},
	}, metav1.CreateOptions{})
	must(t, err)
	e.awaitAvailable(t, client, replicas)
}

func (e *env) scale(t *testing.T, client kubernetes.Interface, replicas int32) {
	t.Helper()
	began := time.Now()
	deployments := client.AppsV1().Deployments(e.namespace)
	scale, err := deployments.GetScale(t.Context(), deploymentName, metav1.GetOptions{})
	must(t, err)
	scale.Spec.Replicas = replicas
	_, err = deployments.UpdateScale(t.Context(), deploymentName, scale, metav1.UpdateOptions{})
	must(t, err)
	e.awaitAvailable(t, client, replicas)
	t.Logf("scaled to %d pods in %s", replicas, time.Since(began).Round(10*time.Millisecond))
}

// awaitAvailable waits until the Deployment is Available with that many pods.
func (e *env) awaitAvailable(t *testing.T, client kubernetes.Interface, replicas int32) {
	t.Helper()
	eventually(t, settledWithin, func(ctx context.Context) error {
		d, err := client.AppsV1().Deployments(e.namespace).Get(ctx, deploymentName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		available := slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
			return c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue
		})
		if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas != replicas || !available {
			return fmt.Errorf("want %d pods at generation %d, status is %+v", replicas, d.Generation, d.Status)
		}
		return nil
	})
}

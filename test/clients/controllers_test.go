package clients

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const settle = 90 * time.Second

// TestControllersManageADeploymentThroughTheGateway runs every controller through
// the gateway for the whole life of a Deployment.
func TestControllersManageADeploymentThroughTheGateway(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		e.stopControllers(t)
		mark := e.markAudit(t)
		start := time.Now()
		e.startControllers(t, e.g)
		lap(t, &start, "controllers started")

		deployments := e.via.AppsV1().Deployments(e.namespace)
		const name = "web"
		if _, err := deployments.Create(t.Context(), deployment(name, 50), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		e.waitDeployment(t, name, 50)
		lap(t, &start, "50 pods available")
		e.checkLeases(t)

		for _, replicas := range []int32{80, 30} {
			scale, err := deployments.GetScale(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			scale.Spec.Replicas = replicas
			if _, err := deployments.UpdateScale(t.Context(), name, scale, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			e.waitDeployment(t, name, replicas)
			lap(t, &start, fmt.Sprintf("scaled to %d", replicas))
		}

		e.rollOut(t, name, 30)
		lap(t, &start, "rolled out")

		if err := deployments.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, settle, func(ctx context.Context) error { return e.empty(ctx) })
		lap(t, &start, "collected")

		if err := e.via.CoreV1().Namespaces().Delete(t.Context(), e.namespace, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, settle, func(ctx context.Context) error {
			_, err := e.direct.CoreV1().Namespaces().Get(ctx, e.namespace, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("namespace is still there (%v)", err)
		})
		lap(t, &start, "namespace gone")

		stopped := time.Now()
		e.stopControllers(t)
		e.checkCameThrough(t, mark, stopped)
	})
}

func lap(t *testing.T, since *time.Time, what string) {
	t.Logf("%s: %s", what, time.Since(*since).Round(10*time.Millisecond))
	*since = time.Now()
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	selector := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: selector},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "clients.invalid/web:1"}}},
			},
		},
	}
}

// waitDeployment waits until the Deployment has exactly that many pods, all
// available and of its present template.
func (e *env) waitDeployment(t *testing.T, name string, replicas int32) {
	t.Helper()
	eventually(t, settle, func(ctx context.Context) error {
		d, err := e.via.AppsV1().Deployments(e.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.Replicas != replicas || s.UpdatedReplicas != replicas || s.AvailableReplicas != replicas {
			return fmt.Errorf("want %d replicas at generation %d, status is %+v", replicas, d.Generation, s)
		}
		for _, c := range s.Conditions {
			if c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("not Available: %+v", s.Conditions)
	})
}

// rollOut gives the Deployment a new template and waits until only pods of it are
// left.
func (e *env) rollOut(t *testing.T, name string, replicas int32) {
	t.Helper()
	const image = "clients.invalid/web:2"
	deployments := e.via.AppsV1().Deployments(e.namespace)
	d, err := deployments.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Spec.Containers[0].Image = image
	// The status moves all the time, so that an update would conflict.
	eventually(t, settle, func(ctx context.Context) error {
		latest, err := deployments.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		latest.Spec.Template = d.Spec.Template
		_, err = deployments.Update(ctx, latest, metav1.UpdateOptions{})
		return err
	})
	e.waitDeployment(t, name, replicas)
	eventually(t, settle, func(ctx context.Context) error {
		pods, err := e.direct.CoreV1().Pods(e.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items) != int(replicas) {
			return fmt.Errorf("%d pods, want %d", len(pods.Items), replicas)
		}
		for _, pod := range pods.Items {
			if pod.Spec.Containers[0].Image != image {
				return fmt.Errorf("pod %s is of the old template", pod.Name)
			}
		}
		return nil
	})
}

// empty tells what garbage collection has left over.
func (e *env) empty(ctx context.Context) error {
	pods, err := e.direct.CoreV1().Pods(e.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	sets, err := e.direct.AppsV1().ReplicaSets(e.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(pods.Items)+len(sets.Items) > 0 {
		return fmt.Errorf("%d pods and %d ReplicaSets are left", len(pods.Items), len(sets.Items))
	}
	return nil
}

// checkLeases checks that the controllers hold and renew their leases.
func (e *env) checkLeases(t *testing.T) {
	t.Helper()
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		leases := e.direct.CoordinationV1().Leases(metav1.NamespaceSystem)
		first, err := leases.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if holder := first.Spec.HolderIdentity; holder == nil || *holder == "" {
			t.Fatalf("nobody holds lease %s", name)
		}
		eventually(t, 15*time.Second, func(ctx context.Context) error {
			now, err := leases.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !now.Spec.RenewTime.After(first.Spec.RenewTime.Time) {
				return fmt.Errorf("lease %s has not been renewed", name)
			}
			return nil
		})
	}
}

// checkCameThrough proves from the logs of both sides that each request which
// the apiservers had from the controllers since the mark was this gateway's. What was
// under way when these were stopped may have no answer, and so no audit ID in the
// access log.
func (e *env) checkCameThrough(t *testing.T, mark auditMark, stopped time.Time) {
	t.Helper()
	clients := []string{"kube-controller-manager", "kube-scheduler", "kwok"}
	clientOf := func(event *auditv1.Event) string {
		name, _, _ := strings.Cut(event.UserAgent, "/")
		return name
	}
	fromControllers := e.auditSince(t, mark, func(event *auditv1.Event) bool {
		return slices.Contains(clients, clientOf(event))
	})
	count, users := map[string]int{}, map[string]int{}
	for _, event := range fromControllers {
		count[clientOf(&event)]++
		switch {
		case e.mode == fixture.FrontProxy && event.ImpersonatedUser != nil:
			t.Fatalf("%s %s was impersonated before the front proxy", event.Verb, event.RequestURI)
		case e.mode == fixture.FrontProxy:
			users[event.User.Username]++
		case event.ImpersonatedUser == nil:
			t.Fatalf("%s %s came as %s, impersonating nobody", event.Verb, event.RequestURI, event.User.Username)
		default:
			users[event.ImpersonatedUser.Username]++
		}
	}
	for _, client := range clients {
		if count[client] < 50 {
			t.Errorf("the audit logs have %d requests of %s, want at least 50: %v", count[client], client, count)
		}
	}
	for _, user := range []string{
		"system:kube-scheduler", "system:kube-controller-manager", "asi:kwok",
		"system:serviceaccount:kube-system:deployment-controller",
		"system:serviceaccount:kube-system:replicaset-controller",
		"system:serviceaccount:kube-system:generic-garbage-collector",
		"system:serviceaccount:kube-system:namespace-controller",
	} {
		if users[user] == 0 {
			t.Errorf("no request as %s reached an apiserver; users were %v", user, slices.Sorted(maps.Keys(users)))
		}
	}
	eventually(t, 10*time.Second, func(context.Context) error {
		access := map[string]accessLine{}
		for _, line := range accessLog(t, e.g) {
			access[line.AuditID] = line
		}
		for _, event := range fromControllers {
			line, ok := access[string(event.AuditID)]
			if !ok && event.StageTimestamp.After(stopped.Add(-time.Second)) {
				continue
			}
			if !ok {
				return fmt.Errorf("not in the access log: %s %s by %s", event.Verb, event.RequestURI, event.UserAgent)
			}
			if line.Client != clientOf(&event) {
				return fmt.Errorf("the access log calls %s %q", event.UserAgent, line.Client)
			}
		}
		return nil
	})
	t.Logf("requests that came through: %v", count)
}

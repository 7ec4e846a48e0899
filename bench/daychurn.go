package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// churn is a Deployment that grows and shrinks: its pods are made by the real
// controllers, placed by the real scheduler, and run by kwok.
type churn struct{ client kubernetes.Interface }

const (
	churnEvery = 5 * time.Second
	churnFrom  = 10
	churnTo    = 30
)

// newChurn makes the Deployment, and what else the mix reads and writes.
func newChurn(ctx context.Context, c *cluster.Cluster) (*churn, error) {
	config := c.RESTConfig(c.Servers(cluster.GroupMain)[0])
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	replicas := int32(churnFrom)
	labels := map[string]string{"app": "churn"}
	if _, err := client.AppsV1().Deployments(metav1.NamespaceDefault).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "churn"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example.org/web:1"}}},
			},
		},
	}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if _, err := client.CoordinationV1().Leases(metav1.NamespaceDefault).Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	for i := range claims {
		if _, err := client.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("data-%d", i)},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	return &churn{client}, nil
}

// start has the Deployment change until stop, which returns what went wrong.
func (c *churn) start(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			replicas := []int{churnTo, churnFrom}[i%2]
			patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
			_, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Patch(ctx, "churn", "application/merge-patch+json", patch, metav1.PatchOptions{})
			if ctx.Err() != nil {
				done <- nil
				return
			}
			if err != nil {
				done <- fmt.Errorf("scaling the Deployment: %w", err)
				return
			}
			if wait(ctx, churnEvery) != nil {
				done <- nil
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-done
	}
}

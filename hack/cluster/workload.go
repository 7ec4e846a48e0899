package cluster

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// Names of the sample workload: a namespace, and in it a Deployment, a Service and a
// ConfigMap.
const (
	SampleNamespace = "sample"
	SampleName      = "web"
)

// workloadPoll is the time between two looks at a Deployment.
const workloadPoll = 100 * time.Millisecond

// CreateSample creates the sample workload, the Deployment with as many
// pods as replicas, and waits until they run. What exists stays as it is.
func (c *Cluster) CreateSample(ctx context.Context, replicas int32) error {
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	if err := createSample(ctx, client, replicas); err != nil {
		return fmt.Errorf("create the sample workload: %w", err)
	}
	// One from before may have been scaled since.
	deployment, err := client.AppsV1().Deployments(SampleNamespace).Get(ctx, SampleName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get the sample workload: %w", err)
	}
	return c.WaitDeployment(ctx, SampleNamespace, SampleName, *deployment.Spec.Replicas)
}

func createSample(ctx context.Context, client kubernetes.Interface, replicas int32) error {
	options := metav1.CreateOptions{}
	meta := metav1.ObjectMeta{Name: SampleName, Labels: map[string]string{"app": SampleName}}
	core := client.CoreV1()
	creators := []func() error{
		func() error {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: SampleNamespace}}
			_, err := core.Namespaces().Create(ctx, namespace, options)
			return err
		},
		func() error {
			config := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"greeting": "hello"}}
			_, err := core.ConfigMaps(SampleNamespace).Create(ctx, config, options)
			return err
		},
		func() error {
			service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Selector: meta.Labels,
				Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
			}}
			_, err := core.Services(SampleNamespace).Create(ctx, service, options)
			return err
		},
		func() error {
			_, err := client.AppsV1().Deployments(SampleNamespace).Create(ctx, sampleDeployment(meta, replicas), options)
			return err
		},
	}
	for _, create := range creators {
		if err := create(); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

func sampleDeployment(meta metav1.ObjectMeta, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: meta.Labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name:  SampleName,
					Image: "sample.invalid/web:1", // never pulled: kwok plays the container
					Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
				}}},
			},
		},
	}
}

// WaitDeployment waits until a Deployment has as many pods available as given.
func (c *Cluster) WaitDeployment(ctx context.Context, namespace, name string, available int32) error {
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	return Poll(ctx, workloadPoll, func(ctx context.Context) error {
		deployment, err := client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("get Deployment %s/%s: %w", namespace, name, err)
		}
		if got := deployment.Status.AvailableReplicas; got != available {
			return fmt.Errorf("deployment %s/%s has %d of %d pods available", namespace, name, got, available)
		}
		return nil
	})
}

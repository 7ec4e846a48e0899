package cluster

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// createParallel keeps one apiserver busy without queueing in it.
	createParallel = 16
	// nodePoll is the time between two looks at the nodes.
	nodePoll = 200 * time.Millisecond
	// maxNodes have a pod range of 256 addresses each in 10.0.0.0/8, clear of Services.
	maxNodes = 90 * 256
)

// NodeName is the name of the i-th node, counted from 0.
func NodeName(i int) string { return fmt.Sprintf("node-%05d", i) }

// CreateNodes creates nodes first to first+count-1 through the first apiserver that works, with 64 processors,
// 512 GiB and 250 pods each. They become Ready when kwok runs. Nodes that exist stay as
// they are.
func (c *Cluster) CreateNodes(ctx context.Context, first, count int) error {
	if first < 0 || first+count > maxNodes {
		return fmt.Errorf("create nodes %d to %d: only %d have a pod address range", first, first+count-1, maxNodes)
	}
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(createParallel)
	for i := first; i < first+count; i++ {
		group.Go(func() error {
			_, err := client.CoreV1().Nodes().Create(ctx, newNode(i), metav1.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("create node %s: %w", NodeName(i), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// ReleaseNodeLeases deletes the nodes' leases. kwok takes a new name at each start and
// touches only nodes whose lease it holds: one that was killed and started again would
// leave all nodes alone for 40 s.
func (c *Cluster) ReleaseNodeLeases(ctx context.Context) error {
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	leases := client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if err := leases.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("release the nodes' leases: %w", err)
	}
	return nil
}

// newNode is a node as its kubelet would register it; kwok adds the status.
func newNode(i int) *corev1.Node {
	name, cidr := NodeName(i), fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname:   name,
				corev1.LabelOSStable:   "linux",
				corev1.LabelArchStable: "amd64",
				"type":                 "kwok",
			},
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Spec: corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr}},
	}
}

// WaitNodesReady waits until at least count nodes are Ready and may be scheduled on.
func (c *Cluster) WaitNodesReady(ctx context.Context, count int) error {
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	return Poll(ctx, nodePoll, func(ctx context.Context) error {
		// From the watch cache: thousands of nodes are asked for again and again.
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return fmt.Errorf("list nodes: %w", err)
		}
		ready := 0
		for i := range nodes.Items {
			if nodeReady(&nodes.Items[i]) {
				ready++
			}
		}
		if ready < count {
			return fmt.Errorf("%d of %d nodes are ready", ready, count)
		}
		return nil
	})
}

func nodeReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0
		}
	}
	return false
}

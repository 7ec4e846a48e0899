package failover

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// shelf is a namespace with config maps that nobody changes.
type shelf struct {
	name           string
	objects, bytes int
}

// shelves are lists of 2 KB, 100 KB and 3 MB.
var shelves = []shelf{{"small", 10, 100}, {"medium", 100, 1 << 10}, {"large", 150, 20 << 10}}

// seed fills the shelves.
func seed(ctx context.Context, c *cluster.Cluster) error {
	client, err := kubernetes.NewForConfig(c.RESTConfig(c.Servers(cluster.GroupMain)[0]))
	if err != nil {
		return err
	}
	for _, s := range shelves {
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if err := fill(ctx, client, s.name, "object", s.objects, s.bytes); err != nil {
			return err
		}
	}
	return nil
}

// fill makes config maps NAME-0, NAME-1 and so on.
func fill(ctx context.Context, client kubernetes.Interface, namespace, name string, objects, bytes int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range objects {
		group.Go(func() error {
			_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, i)}, Data: map[string]string{"text": strings.Repeat("x", bytes)},
			}, metav1.CreateOptions{})
			return err
		})
	}
	return group.Wait()
}

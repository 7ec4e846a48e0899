package survival

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// churnQPS is of each resource that is churned. Every change goes to twenty
// informers.
const churnQPS = 8

// change is an acknowledged write.
type change struct {
	name    string
	uid     types.UID
	version uint64 // 0 for deletions: their answer does not tell it
	deleted bool
}

// churner creates, changes and deletes objects of one resource, and logs what was
// acknowledged.
type churner struct {
	resource string
	create   func(context.Context, metav1.ObjectMeta) (metav1.Object, error)
	update   func(context.Context, metav1.Object) (metav1.Object, error)
	remove   func(context.Context, metav1.Object) error

	mu  sync.Mutex
	log []change
	// lost are writes of which nobody knows.
	lost int
}

// newChurners returns one for each resource that is churned.
func newChurners(client kubernetes.Interface, namespace string) []*churner {
	configMaps, secrets, accounts := client.CoreV1().ConfigMaps(namespace), client.CoreV1().Secrets(namespace), client.CoreV1().ServiceAccounts(namespace)
	return []*churner{
		newChurner("configmaps", func(m metav1.ObjectMeta) *corev1.ConfigMap { return &corev1.ConfigMap{ObjectMeta: m} },
			configMaps.Create, configMaps.Update, configMaps.Delete),
		newChurner("secrets", func(m metav1.ObjectMeta) *corev1.Secret { return &corev1.Secret{ObjectMeta: m} },
			secrets.Create, secrets.Update, secrets.Delete),
		newChurner("serviceaccounts", func(m metav1.ObjectMeta) *corev1.ServiceAccount { return &corev1.ServiceAccount{ObjectMeta: m} },
			accounts.Create, accounts.Update, accounts.Delete),
	}
}

func newChurner[T metav1.Object](resource string, object func(metav1.ObjectMeta) T,
	create func(context.Context, T, metav1.CreateOptions) (T, error),
	update func(context.Context, T, metav1.UpdateOptions) (T, error),
	remove func(context.Context, string, metav1.DeleteOptions) error,
) *churner {
	return &churner{
		resource: resource,
		create: func(ctx context.Context, m metav1.ObjectMeta) (metav1.Object, error) {
			return create(ctx, object(m), metav1.CreateOptions{})
		},
		update: func(ctx context.Context, o metav1.Object) (metav1.Object, error) {
			return update(ctx, o.(T), metav1.UpdateOptions{})
		},
		remove: func(ctx context.Context, o metav1.Object) error {
			return remove(ctx, o.GetName(), metav1.DeleteOptions{})
		},
	}
}

// run churns until ctx ends.
func (c *churner) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		if err := c.live(ctx, i); err != nil && ctx.Err() == nil {
			c.mu.Lock()
			c.lost++
			c.mu.Unlock()
		}
	}
}

// live is the life of one object: it is changed twice, and deleted unless it is a
// fifth one.
func (c *churner) live(ctx context.Context, i int) error {
	o, err := c.create(ctx, metav1.ObjectMeta{Name: fmt.Sprintf("churn-%05d", i)})
	if err != nil {
		return err
	}
	c.acknowledged(o, false)
	for n := range 2 {
		o.SetAnnotations(map[string]string{"changed": fmt.Sprint(n + 1)})
		if o, err = c.update(ctx, o); err != nil {
			return err
		}
		c.acknowledged(o, false)
	}
	if i%5 == 0 {
		return nil
	}
	if err := c.remove(ctx, o); err != nil {
		return err
	}
	c.acknowledged(o, true)
	return nil
}

func (c *churner) acknowledged(o metav1.Object, deleted bool) {
	entry := change{name: c.resource + "/" + o.GetName(), uid: o.GetUID(), deleted: deleted}
	if !deleted {
		_, entry.version, _ = identify(o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, entry)
}

// changes returns the log so far.
func (c *churner) changes() []change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log[:len(c.log):len(c.log)]
}

package failover

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// churn creates a config map every so often, past the gateway, changes it ten
// rounds later and deletes it after ten more, except every third. It goes on until
// it is told to stop.
func (e *env) churn(t *testing.T, every time.Duration) (stop func()) {
	t.Helper()
	objects := e.direct(t).CoreV1().ConfigMaps(e.namespace)
	// What has been sent is waited for: it would be applied later.
	ctx, ended := within(t, 10*time.Minute), make(chan struct{})
	prefix := fmt.Sprintf("churn-%d", time.Now().UnixNano())
	object := func(i, step int) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", prefix, i)}, Data: map[string]string{"step": fmt.Sprint(step)}}
	}
	round := func(i int) error {
		_, err := objects.Create(ctx, object(i, 1), metav1.CreateOptions{})
		if i >= 10 {
			_, updateErr := objects.Update(ctx, object(i-10, 2), metav1.UpdateOptions{})
			err = errors.Join(err, updateErr)
		}
		if i >= 20 && i%3 > 0 {
			err = errors.Join(err, objects.Delete(ctx, object(i-20, 2).Name, metav1.DeleteOptions{}))
		}
		return err
	}
	var working sync.WaitGroup
	working.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-ticker.C:
			}
			if err := round(i); err != nil {
				t.Errorf("changing objects past the gateway: %v", err)
				return
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(ended)
		working.Wait()
	})
	t.Cleanup(stop)
	return stop
}

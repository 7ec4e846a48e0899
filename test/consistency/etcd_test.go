package consistency

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes/scheme"
)

// errBehind is for a history that is not known far enough.
var errBehind = errors.New("no event has come yet")

// prefixes is where kube-apiserver keeps resources in etcd.
var prefixes = map[string]string{configMaps: "/registry/configmaps/", nodes: "/registry/minions/"}

// etcdClient returns a client of the cluster's etcd, which is closed with the test.
func etcdClient(t *testing.T, url string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// follow returns the history of what is below a prefix from now on, until ctx ends.
// Done is called then.
func follow(ctx context.Context, client *clientv3.Client, prefix string, done func()) (*history, error) {
	h := newHistory()
	state, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend))
	if err != nil {
		return nil, err
	}
	for _, kv := range state.Kvs {
		if err := h.store(kv.Value, uint64(kv.ModRevision)); err != nil {
			return nil, err
		}
	}
	watch := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(state.Header.Revision+1))
	go func() {
		defer done()
		for response := range watch {
			if err := h.take(prefix, response); err != nil {
				h.mu.Lock()
				h.err = err
				h.mu.Unlock()
				return
			}
		}
	}()
	return h, nil
}

func (h *history) take(prefix string, response clientv3.WatchResponse) error {
	if err := response.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range response.Events {
		if e.Type == clientv3.EventTypeDelete {
			h.remove(strings.TrimPrefix(string(e.Kv.Key), prefix), uint64(e.Kv.ModRevision))
		} else if err := h.store(e.Kv.Value, uint64(e.Kv.ModRevision)); err != nil {
			return err
		}
	}
	return nil
}

// store adds what etcd holds since a revision.
func (h *history) store(value []byte, rv uint64) error {
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
	if err != nil {
		return err
	}
	s, ok := decoded.(storable)
	if !ok {
		return fmt.Errorf("etcd holds a %T", decoded)
	}
	o, err := describe(s, rv)
	if err != nil {
		return err
	}
	h.put(o)
	return nil
}

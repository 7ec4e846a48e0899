package policy

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// NodeCounter knows how many nodes the cluster has, from a watch of their
// metadata. While they have not been counted it is the number of the last run,
// else a configured one.
type NodeCounter struct {
	client  metadata.Interface
	file    string
	clock   clock.Clock
	log     *zap.Logger
	changed func()
	count   atomic.Int64
}

// NewNodeCounter returns a NodeCounter that keeps its number in file and takes
// otherwise if it has none.
func NewNodeCounter(client metadata.Interface, file string, otherwise int, clock clock.Clock, log *zap.Logger) *NodeCounter {
	n := &NodeCounter{client: client, file: file, clock: clock, log: log, changed: func() {}}
	n.count.Store(int64(otherwise))
	if data, err := os.ReadFile(file); err == nil {
		if last, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && last >= 0 {
			n.count.Store(int64(last))
		}
	}
	return n
}

// Count returns the number of nodes.
func (n *NodeCounter) Count() int { return int(n.count.Load()) }

// settle is how long nodes are waited for before they are counted again: they
// come and go in crowds.
const settle = time.Second

// Run counts until ctx ends.
func (n *NodeCounter) Run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	nodes := newTable[metav1.PartialObjectMetadata](func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	resource := n.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
	lister := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, options)
		},
	}
	reflector := cache.NewReflectorWithOptions(lister, &metav1.PartialObjectMetadata{}, namesOnly{nodes}, cache.ReflectorOptions{Name: "node count"})
	done := make(chan struct{})
	go func() {
		defer close(done)
		reflector.RunWithContext(ctx)
	}()
	defer func() { <-done }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-n.clock.After(settle):
		}
		if all, synced := nodes.list(); synced {
			n.set(len(all))
		}
	}
}

func (n *NodeCounter) set(count int) {
	if n.count.Swap(int64(count)) == int64(count) {
		return
	}
	if err := replaceFile(n.file, []byte(strconv.Itoa(count)+"\n")); err != nil {
		n.log.Warn("the number of nodes could not be kept for the next start", zap.Error(err))
	}
	n.changed()
}

// namesOnly drops everything but the name: 10,000 nodes are a few hundred KiB.
type namesOnly struct {
	*table[metav1.PartialObjectMetadata]
}

// Add implements cache.ReflectorStore.
func (s namesOnly) Add(object any) error { return s.table.Add(nameAlone(object)) }

// Update implements cache.ReflectorStore. A node that changes stays one node.
func (s namesOnly) Update(any) error { return nil }

// Replace implements cache.ReflectorStore.
func (s namesOnly) Replace(objects []any, version string) error {
	names := make([]any, len(objects))
	for i, object := range objects {
		names[i] = nameAlone(object)
	}
	return s.table.Replace(names, version)
}

func nameAlone(object any) any {
	node, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
}

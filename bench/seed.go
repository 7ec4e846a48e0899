package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// storage writes objects straight into the cluster's etcd, as a kube-apiserver
// would have: 50,000 pods in seconds, and changes of pods that cost no apiserver
// but what it takes to tell its watchers.
type storage struct {
	etcd    *clientv3.Client
	encoder runtime.Encoder
}

func newStorage(c *cluster.Cluster) (*storage, error) {
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{c.EtcdURL()}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	encoder, err := storageEncoder()
	if err != nil {
		return nil, errors.Join(err, etcd.Close())
	}
	return &storage{etcd, encoder}, nil
}

// storageEncoder makes what kube-apiserver stores of objects of the core group:
// protobuf behind its prefix.
func storageEncoder() (runtime.Encoder, error) {
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		return nil, errors.New("client-go does not know protobuf")
	}
	return scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), nil
}

// put writes an object and returns its resource version.
func (s *storage) put(ctx context.Context, key string, o runtime.Object) (int64, error) {
	value, err := runtime.Encode(s.encoder, o)
	if err != nil {
		return 0, err
	}
	response, err := s.etcd.Put(ctx, key, string(value))
	if err != nil {
		return 0, err
	}
	return response.Header.Revision, nil
}

// pod writes a state of the i-th pod.
func (s *storage) pod(ctx context.Context, p population, i, version int) (int64, error) {
	return s.put(ctx, "/registry/pods/"+p.namespace(i)+"/"+p.name(i), p.pod(i, version))
}

// putParallel is how many objects are written at a time: each is a commit of its
// own, since all objects have different resource versions.
const putParallel = 64

// seed writes the pods from first on, their namespaces and nodes.
func (s *storage) seed(ctx context.Context, p population, first int) error {
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(putParallel)
	put := func(key string, object func() runtime.Object) {
		group.Go(func() error {
			_, err := s.put(ctx, key, object())
			return err
		})
	}
	for i := range p.namespaces {
		name := namespaceName(i)
		put("/registry/namespaces/"+name, func() runtime.Object {
			return &corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{Name: name, UID: newUID(rand.New(rand.NewPCG(uint64(i), 4))), CreationTimestamp: metav1.Unix(born, 0)},
				Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
				Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
			}
		})
	}
	nodes := p.nodes
	if p.nodesExist {
		nodes = 0
	}
	for i := range nodes {
		put("/registry/minions/"+cluster.NodeName(i), func() runtime.Object { return newNode(i) })
	}
	for i := first; i < p.pods; i++ {
		put("/registry/pods/"+p.namespace(i)+"/"+p.name(i), func() runtime.Object { return p.pod(i, 0) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("writing objects to etcd: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%d pods and %d nodes written in %.1f s\n", p.pods-first, nodes, time.Since(start).Seconds())
	return nil
}

// close ends the connection to etcd.
func (s *storage) close() error { return s.etcd.Close() }

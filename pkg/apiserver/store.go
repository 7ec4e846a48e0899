package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdclient "go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

const (
	// storeTimeout bounds what a request waits for etcd. Above the 3s that the
	// watch cache may wait for etcd's revision.
	storeTimeout = 5 * time.Second

	// etcdRetries times etcdBackoff is how long the client tries again on a
	// refused connection: enough for another server of the list, or the next
	// leader of it.
	etcdRetries = 20
	etcdBackoff = 50 * time.Millisecond

	// maxReconnect bounds how long an etcd that is back stays unnoticed. gRPC's
	// default is two minutes.
	maxReconnect = 2 * time.Second

	// An etcd that has gone without a word is noticed after these two. gRPC knows
	// no shorter time.
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second

	// compactInterval is how long history is kept for watches to resume. It is
	// kube-apiserver's; gateways and apiservers that share an etcd take turns.
	compactInterval = 5 * time.Minute
)

// store is the way to etcd: one client and one compactor for all kinds.
// k8s.io/apiserver's own factory makes a client for each, waits for etcd while it
// does, and logs past our logger.
type store struct {
	prefix    string
	client    *etcdclient.Client
	compactor interface {
		etcd3.Compactor
		Stop()
	}
	// after is called when the client is closed.
	after func()
}

// openStore does not wait for etcd.
func openStore(config Etcd, log *zap.Logger) (*store, error) {
	tlsConfig, err := clientTLS(config)
	if err != nil {
		return nil, err
	}
	client, err := etcdclient.New(clientv3.Config{
		Endpoints:            config.Servers,
		TLS:                  tlsConfig,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		MaxUnaryRetries:      etcdRetries,
		BackoffWaitBetween:   etcdBackoff,
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
				MinConnectTimeout: storeTimeout,
			}),
			grpc.WithChainUnaryInterceptor(failFast),
		},
		// Every attempt is a warning there.
		Logger: log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)),
	})
	if err != nil {
		return nil, fmt.Errorf("etcd servers: %w", err)
	}
	return &store{
		prefix:    config.Prefix,
		client:    client,
		compactor: etcd3.NewCompactor(client.Client, compactInterval, clock.RealClock{}, nil),
		after:     func() {},
	}, nil
}

// failFast makes a call fail while no server accepts connections; the client's own
// way is to wait until the call's deadline.
func failFast(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(ctx, method, request, reply, conn, append(options, grpc.WaitForReady(false))...)
}

func clientTLS(config Etcd) (*tls.Config, error) {
	if config.CertFile == "" && config.KeyFile == "" && config.CAFile == "" {
		return nil, nil
	}
	c, err := transport.TLSInfo{CertFile: config.CertFile, KeyFile: config.KeyFile, TrustedCAFile: config.CAFile}.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd certificates: %w", err)
	}
	return c, nil
}

func (s *store) close() {
	// The client first: it ends what the compactor may wait for.
	_ = s.client.Close()
	s.compactor.Stop()
	s.after()
}

// decorate is a generic.StorageDecorator: etcd, the watch cache before it, and
// before that clear errors.
func (s *store) decorate(
	config *storagebackend.ConfigForResource,
	resourcePrefix string,
	keyFunc func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object,
	attributes storage.AttrFunc,
	triggers storage.IndexerFuncs,
	indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	versioner := storage.APIObjectVersioner{}
	raw, err := etcd3.New(s.client, s.compactor, config.Codec, newFunc, newListFunc,
		config.Prefix, resourcePrefix, config.GroupResource, identity.NewEncryptCheckTransformer(),
		config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		return nil, nil, err
	}
	cached, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage:             raw,
		Versioner:           versioner,
		GroupResource:       config.GroupResource,
		EventsHistoryWindow: config.EventsHistoryWindow,
		ResourcePrefix:      resourcePrefix,
		KeyFunc:             keyFunc,
		NewFunc:             newFunc,
		NewListFunc:         newListFunc,
		GetAttrsFunc:        attributes,
		IndexerFuncs:        triggers,
		Indexers:            indexers,
		Codec:               config.Codec,
	})
	if err != nil {
		raw.Close()
		return nil, nil, err
	}
	delegator := cacher.NewCacheDelegator(cached, raw)
	var once sync.Once
	return bounded{delegator}, func() {
		// Called for the resource and again for its subresources.
		once.Do(func() {
			delegator.Stop()
			cached.Stop()
			raw.Close()
		})
	}, nil
}

// bounded is storage that answers in time, with a Status that says what is wrong
// where etcd is the reason.
type bounded struct{ storage.Interface }

func (b bounded) Get(ctx context.Context, key string, options storage.GetOptions, out runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return storeError(b.Interface.Get(ctx, key, options, out), false)
}

func (b bounded) GetList(ctx context.Context, key string, options storage.ListOptions, out runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return storeError(b.Interface.GetList(ctx, key, options, out), false)
}

func (b bounded) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	w, err := b.Interface.Watch(ctx, key, options)
	return w, storeError(err, false)
}

func (b bounded) Create(ctx context.Context, key string, in, out runtime.Object, ttl uint64) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return storeError(b.Interface.Create(ctx, key, in, out, ttl), true)
}

func (b bounded) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, options storage.DeleteOptions) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return storeError(b.Interface.Delete(ctx, key, out, preconditions, validate, cached, options), true)
}

func (b bounded) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return storeError(b.Interface.GuaranteedUpdate(ctx, key, out, ignoreNotFound, preconditions, update, cached), true)
}

const storeAway = "the policy store (etcd) does not answer; limits and switches stay in force as they were last known"

// storeError tells that etcd is away. A write that it may have got is not worth
// a retry: the answer has no Retry-After, which clients would obey.
func storeError(err error, write bool) error {
	if err == nil {
		return nil
	}
	if answered := apierrors.APIStatus(nil); errors.As(err, &answered) {
		if apierrors.IsTooManyRequests(err) {
			// The watch cache is not filled. Not the client's fault.
			return unavailable(storeAway+": "+err.Error(), 1)
		}
		return err
	}
	code := status.FromContextError(err).Code()
	if fromEtcd := (rpctypes.EtcdError{}); errors.As(err, &fromEtcd) {
		code = fromEtcd.Code()
	} else if fromConnection, ok := status.FromError(err); ok {
		code = fromConnection.Code()
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
	default:
		return err
	}
	message := storeAway
	if write {
		message += "; whether this change was made is not known, read the object again"
	}
	return unavailable(message+": "+err.Error(), 0)
}

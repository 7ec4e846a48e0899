package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"
)

const (
	// drainTimeout bounds how long Run waits at its end for requests under way.
	// All of them have been cancelled by then.
	drainTimeout = 5 * time.Second
	// readyPoll is how often WaitReady looks: the watch caches tell nobody when
	// they are filled.
	readyPoll = 10 * time.Millisecond
)

// Config says where policies are kept and who may read and change them.
type Config struct {
	// DataDir is the directory of the embedded etcd, made with mode 0700. One
	// process at a time can use it.
	DataDir string

	// Etcd is used instead of DataDir if it names servers.
	Etcd Etcd

	// Authorizer judges everybody who is not in the group system:masters. It may
	// fail, and does so while no apiserver answers.
	Authorizer authorizer.Authorizer

	// Live reads the counters of RateLimits. Without it there is no subresource
	// "live".
	Live Live

	// Insight answers the resources that are computed when asked for; without it
	// they are not there.
	Insight Insight

	// Log gets a line for every write, and what goes wrong.
	Log *zap.Logger

	// Clock tells when switches expire.
	Clock clock.PassiveClock
}

// Etcd is an etcd that several gateways share.
type Etcd struct {
	// Servers are URLs, e.g. "https://10.0.0.1:2379".
	Servers []string
	// Prefix is put before all keys. Default "/asi-gateway".
	Prefix string
	// CertFile and KeyFile are the client certificate, CAFile the bundle for the
	// servers' certificates.
	CertFile, KeyFile, CAFile string
}

// Server serves the policy API. Use New; then Run it.
type Server struct {
	config Config
	log    *zap.Logger

	// current is what serves, nil before Run is that far and after it has ended.
	current atomic.Pointer[api]
	started atomic.Bool
	handler http.Handler
	memory  *memory

	// requests are those under way.
	requests requests
}

// New checks the configuration. Nothing is opened before Run.
func New(config Config) (*Server, error) {
	switch {
	case config.DataDir == "" && len(config.Etcd.Servers) == 0:
		return nil, errors.New("apiserver: neither a data directory nor etcd servers are given")
	case config.Authorizer == nil || config.Log == nil || config.Clock == nil:
		return nil, errors.New("apiserver: Authorizer, Log and Clock are needed")
	}
	if config.Etcd.Prefix == "" {
		config.Etcd.Prefix = "/asi-gateway"
	}
	s := &Server{config: config, log: config.Log}
	s.requests.ctx, s.requests.cancel = context.WithCancel(context.Background())
	s.handler = s.entrance()
	s.memory = newMemory(s.handler, s.log)
	return s, nil
}

// Run serves until ctx ends, and then closes everything, etcd last. It can run
// once. An error means that policies cannot be kept: the data directory cannot
// be used, or the embedded etcd has ended by itself.
func (s *Server) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return errors.New("apiserver: Run was called before")
	}
	stopMemory := s.memory.run()
	defer stopMemory()

	store, failed, err := s.openStore(ctx)
	if err != nil {
		return err
	}
	defer store.close()
	api, err := newAPI(s.config, store)
	if err != nil {
		return err
	}
	defer api.destroy()

	s.current.Store(api)
	defer s.drain(stopMemory)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("the embedded etcd has ended: %w", err)
	}
}

// openStore returns the store, and a channel that tells if it ends by itself.
func (s *Server) openStore(ctx context.Context) (*store, <-chan error, error) {
	if len(s.config.Etcd.Servers) > 0 {
		store, err := openStore(s.config.Etcd, s.log.Named("etcd-client"))
		return store, nil, err
	}
	etcd, err := startEtcd(ctx, s.config.DataDir, s.log.Named("etcd"))
	if err != nil {
		return nil, nil, err
	}
	store, err := openStore(Etcd{Servers: []string{etcd.endpoint}, Prefix: s.config.Etcd.Prefix}, s.log.Named("etcd-client"))
	if err != nil {
		etcd.close()
		return nil, nil, err
	}
	store.after = etcd.close
	return store, etcd.server.Err(), nil
}

// drain lets no new requests in and ends those under way. A client in this process
// that does not read its watch would hold it up; its connection is closed.
func (s *Server) drain(stopMemory func()) {
	s.current.Store(nil)
	idle := s.requests.end()
	stopMemory()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
		s.log.Warn("requests to the policy API have not ended in time; closing under them")
	}
}

// Ready returns nil once all policies have been read, and later while they can
// be watched. An etcd that goes away does not change it at once; the last known
// policies remain good.
func (s *Server) Ready() error {
	api := s.current.Load()
	if api == nil {
		return errors.New("the policy store has not started")
	}
	for _, ready := range api.ready {
		if err := ready(); err != nil {
			return fmt.Errorf("policies have not been read yet: %w", err)
		}
	}
	return nil
}

// WaitReady waits for Ready. When ctx ends before, it tells what was missing.
func (s *Server) WaitReady(ctx context.Context) error {
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		err := s.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-poll.C:
		}
	}
}

// Handler serves /apis and /openapi with nothing but the gateway's group. The
// user is taken from the request's context (k8s.io/apiserver's WithUser); without
// one the request is anonymous.
func (s *Server) Handler() http.Handler { return s.handler }

// requests counts what is under way, so that the end can wait for it.
type requests struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	count int
	// idle is set at the end, and closed once count is 0.
	idle chan struct{}
}

// begin tells whether a request may begin. Its context then ends with the
// server.
func (r *requests) begin(ctx context.Context) (context.Context, func(), bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle != nil {
		return nil, nil, false
	}
	r.count++
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count--
		if r.count == 0 && r.idle != nil {
			close(r.idle)
		}
	}, true
}

// end cancels all requests. The channel is closed when they have ended.
func (r *requests) end() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = make(chan struct{})
	if r.count == 0 {
		close(r.idle)
	}
	r.cancel()
	return r.idle
}

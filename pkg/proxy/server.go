package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/socket"
)

const (
	// readHeaderTimeout also bounds the TLS handshake.
	readHeaderTimeout = 10 * time.Second
	// clientIdleTimeout is kube-apiserver's.
	clientIdleTimeout = 90 * time.Second
	// maxHeaderBytes is kube-apiserver's, per request.
	maxHeaderBytes = 1 << 20
	// maxStreams is how many requests a client may have open on one HTTP/2
	// connection; kube-apiserver's default is 100. Controllers hold one watch
	// per resource, and a second connection costs more than a few streams.
	maxStreams = 250
	// uploadWindow bounds what one request body may hold in memory, in bytes.
	uploadWindow = 256 << 10
)

// Options are what a Server is made of. All fields are needed unless they say
// otherwise.
type Options struct {
	TLS           *tls.Config
	Upstream      upstream
	Authenticator authenticator
	Authorizer    authorizer.UnconditionalAuthorizer
	Assert        auth.Assert
	// Limits, Policy and Flows decide what passes, and count it.
	Limits limits
	Policy policy
	Flows  flowRecorder
	// Cache answers reads from memory; nil has all of them forwarded.
	Cache cached
	// API is the gateway's own API group. The user is in the request's context.
	API http.Handler
	// Discovery adds that group to what apiservers say of theirs.
	Discovery discovered
	// FrontProxies tells which requests kube-apiservers forward, and by which headers.
	FrontProxies frontProxies
	// FrontProxy tells that Assert makes front-proxy headers.
	FrontProxy bool

	Log      *zap.Logger
	Registry *prometheus.Registry
	Clock    clock.WithTicker
	// Ready returns nil once requests can be served.
	Ready func() error

	// ProxyProtocolFrom are the addresses of load balancers that say who the client
	// is; none for no load balancer.
	ProxyProtocolFrom []netip.Prefix
	// GoawayChance is the part of HTTP/2 requests whose clients are told to connect
	// anew: 0 none, 1 all.
	GoawayChance float64

	// AccessLogEvery logs one of so many requests: 0 none, 1 all.
	AccessLogEvery uint64
	// RequestTimeout bounds requests that are not long-running. It should be a
	// little more than the apiserver's, whose answer is the better one.
	RequestTimeout time.Duration
	// StallTimeout bounds a single write to a client that does not read.
	StallTimeout time.Duration
	// ShutdownDelay is how long readyz fails before connections are closed. Over
	// its second half every answer ends its connection.
	ShutdownDelay time.Duration
	// ShutdownGrace is how long requests under way then have; watches are ended
	// over the first half of it.
	ShutdownGrace time.Duration
}

// policy is what operators have decided.
type policy interface {
	classifier
	emergency
}

// Server is the gateway's client port.
type Server struct {
	options   Options
	parser    *request.Parser
	drain     *drainState
	flights   *flights
	metrics   *metrics
	status    statusWriter
	health    *health
	accessLog *accessLog
	// sampled writes each message once a second at most.
	sampled *zap.Logger
}

// New returns a Server.
func New(o Options) *Server {
	drain := &drainState{}
	s := &Server{
		options:   o,
		parser:    request.NewParser(),
		drain:     drain,
		flights:   newFlights(drain, o.Clock, o.RequestTimeout, o.StallTimeout),
		metrics:   newMetrics(o.Registry),
		status:    newStatusWriter(o.StallTimeout),
		health:    &health{drain: drain, ready: o.Ready, patience: o.StallTimeout},
		accessLog: &accessLog{log: o.Log.Named("access"), every: o.AccessLogEvery},
		sampled: o.Log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(core, time.Second, 1, 0)
		})),
	}
	s.metrics.watchFlights(o.Registry, s.flights)
	return s
}

// Run serves the listener until ctx ends, then drains, phase by phase (see
// drainPhase): readyz fails, answers end their connections, the listener closes,
// all connections are told to go away (HTTP/2 GOAWAY), long-running requests are
// ended one by one, the rest finishes. It returns when all is done, or at the
// end of the grace period with an error that says what was cut off.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	listener = socket.Listener{Listener: listener}
	if trusted := s.options.ProxyProtocolFrom; len(trusted) > 0 {
		listener = &proxyListener{Listener: listener, trusted: trusted, patience: proxyHeaderTimeout, log: s.sampled}
	}
	listener = corkListener{listener, &corks{hold: corkFor}, s.options.StallTimeout}
	server := &http.Server{
		Handler:           s.chain(),
		TLSConfig:         s.options.TLS,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       clientIdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          quietLog(s.options.Log),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return withCork(auth.WithSession(ctx), conn)
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:      maxStreams,
			MaxReceiveBufferPerStream: uploadWindow,
			WriteByteTimeout:          s.options.StallTimeout,
		},
	}
	sweeping, stopSweeping := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		s.flights.run(sweeping)
	}()
	defer func() {
		stopSweeping()
		<-swept
	}()

	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("serving %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}

	err := s.shutDown(server, listener)
	if serveErr := <-served; err == nil && !errors.Is(serveErr, net.ErrClosed) && !errors.Is(serveErr, http.ErrServerClosed) {
		err = serveErr
	}
	return err
}

func (s *Server) shutDown(server *http.Server, listener net.Listener) error {
	logger, clock, delay := s.options.Log, s.options.Clock, s.options.ShutdownDelay
	logger.Info("draining: readyz fails from now on", zap.Duration("delay", delay))
	s.drain.enter(unready)
	<-clock.After(delay / 2)
	s.drain.enter(leaving)
	<-clock.After(delay - delay/2)

	logger.Info("closing connections", zap.Int64("short", s.flights.short.Load()), zap.Int64("longRunning", s.flights.long.Load()))
	ctx, cancel := context.WithTimeout(context.Background(), s.options.ShutdownGrace)
	defer cancel()
	_ = listener.Close()
	<-clock.After(min(delay/4, maxSettle))
	closed := make(chan error, 1)
	go func() { closed <- server.Shutdown(ctx) }()
	s.flights.drain(ctx, s.options.ShutdownGrace/2)
	err := <-closed
	switch {
	case errors.Is(err, net.ErrClosed):
		// The listener: Shutdown closes it once more if Serve has not yet returned.
		return nil
	case err != nil:
		err = fmt.Errorf("%d requests were cut off after a grace period of %s", s.flights.short.Load()+s.flights.long.Load(), s.options.ShutdownGrace)
		_ = server.Close()
	}
	return err
}

// quietLog takes net/http's own complaints, which clients cause, at debug level.
func quietLog(logger *zap.Logger) *log.Logger {
	l, err := zap.NewStdLogAt(logger.Named("http"), zapcore.DebugLevel)
	if err != nil {
		// DebugLevel is a valid level; there is no other cause.
		panic(err)
	}
	return l
}

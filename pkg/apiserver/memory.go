package apiserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
)

// LoopbackUser is who the gateway's own parts are for the policy API.
const LoopbackUser = "system:asi-gateway"

// ClientConfig returns a configuration for clients inside of this process. They
// are LoopbackUser, of the group system:masters, over connections that nobody
// else can open. Before Run is ready their requests are answered 503 with a
// Retry-After, which client-go obeys.
func (s *Server) ClientConfig() *rest.Config {
	return &rest.Config{
		// The name is not looked up.
		Host:      "http://asi-gateway",
		Transport: s.memory.transport,
		UserAgent: "asi-gateway",
		QPS:       -1,
	}
}

// memory is an HTTP server and its clients' transport, joined by pipes.
type memory struct {
	listener  *pipeListener
	server    *http.Server
	transport *http.Transport
}

func newMemory(handler http.Handler, log *zap.Logger) *memory {
	m := &memory{listener: &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}}
	loopback := &user.DefaultInfo{Name: LoopbackUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	m.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler.ServeHTTP(w, r.WithContext(apirequest.WithUser(r.Context(), loopback)))
		}),
		ErrorLog: zap.NewStdLog(log.Named("loopback")),
	}
	m.transport = &http.Transport{
		DialContext: m.listener.dial,
		// One connection for each watch, and some for the rest.
		MaxIdleConnsPerHost: 16,
		DisableCompression:  true,
	}
	return m
}

// run serves until the function that it returns is called, once or more often.
func (m *memory) run() (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Ends with http.ErrServerClosed only.
		_ = m.server.Serve(m.listener)
	}()
	return func() {
		_ = m.server.Close()
		_ = m.listener.Close()
		m.transport.CloseIdleConnections()
		<-done
	}
}

// pipeListener accepts what dial has connected.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, errors.New("the policy API has ended")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "memory" }
func (pipeAddr) String() string  { return "memory" }

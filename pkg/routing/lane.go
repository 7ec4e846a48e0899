package routing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/socket"
)

// Lane is a kind of request that has connections of its own.
type Lane int

const (
	// Short is for requests with small answers.
	Short Lane = iota
	// Bulk is for lists.
	Bulk
	// Watch is for answers that stay open.
	Watch
	// Upgrade is for WebSocket and SPDY, HTTP/1.1 only.
	Upgrade
	// probing is for what the gateway asks to know how a server is.
	probing
	laneCount
)

// longRunning lanes carry requests that end when client or object say so.
func (l Lane) longRunning() bool { return l == Watch || l == Upgrade }

// Credential is what a connection to an apiserver authenticates as.
type Credential int

const (
	// Asserting connections may say on whose behalf a request is made.
	Asserting Credential = iota
	// Own connections carry the gateway's own requests.
	Own
	// Anonymous connections present no client certificate, and speak HTTP/1.1:
	// kube-apiserver ends an HTTP/2 connection after its first anonymous request.
	Anonymous
	credentialCount
)

// Client is how connections of one credential are made.
type Client struct {
	// TLS verifies the apiservers and presents the client certificate, if any.
	TLS *tls.Config
	// Wrap adds what is not part of TLS, a bearer token for instance. Nil adds nothing.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// verifying returns c for servers that are verified in another way.
func (c Client) verifying(how *v1alpha1.UpstreamTLS) Client {
	if how == nil {
		return c
	}
	c.TLS = c.TLS.Clone()
	if len(how.CABundle) > 0 {
		c.TLS.RootCAs = x509.NewCertPool()
		c.TLS.RootCAs.AppendCertsFromPEM(how.CABundle)
	}
	if how.ServerName != "" {
		c.TLS.ServerName = how.ServerName
	}
	return c
}

const (
	dialTimeout      = 2 * time.Second
	handshakeTimeout = 3 * time.Second
	idleTimeout      = 90 * time.Second
	// pingAfter and pingTimeout find a single connection that died without a word:
	// that the server shows no sign of life is noticed earlier, see silence.go.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second
	// probePingAfter is how long a live server can be silent: the connection over
	// which it is probed is pinged that often.
	probePingAfter = 500 * time.Millisecond
	// ioBufferBytes holds two TLS records, so that a frame header does not cost
	// a read of its own.
	ioBufferBytes = 32 << 10
)

// window bounds what one answer may hold in the gateway's memory while its
// client does not read, in bytes.
func (l Lane) window() int {
	if l == Watch {
		return 256 << 10
	}
	return 1 << 20
}

func (l Lane) pingAfter() time.Duration {
	if l == probing {
		return probePingAfter
	}
	return pingAfter
}

func newTransport(to *conns, c Client, credential Credential, lane Lane) http.RoundTripper {
	// HTTP/2 and HTTP/1.1 upstream cost the same CPU time for small GETs (0.78 and
	// 0.82 of a bare ReverseProxy's in one run of bench forward -compare); HTTP/2
	// had the shorter tail, 34 against 59 ms at p99, and needs a hundredth of the
	// connections for watches.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(credential != Anonymous && lane != Upgrade)
	t := &http.Transport{
		DialTLSContext: dialTLS(to, c.TLS, protocols.HTTP2(), lane == Short),
		// The client's own Accept-Encoding goes upstream and upstream's bytes come
		// back: the gateway never compresses or inflates what it forwards.
		DisableCompression:  true,
		MaxIdleConnsPerHost: 128,
		IdleConnTimeout:     idleTimeout,
		ReadBufferSize:      ioBufferBytes,
		WriteBufferSize:     ioBufferBytes,
		Protocols:           protocols,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: lane.window(),
			SendPingTimeout:           lane.pingAfter(),
			PingTimeout:               pingTimeout,
		},
	}
	if c.Wrap == nil {
		return t
	}
	return wrapped{c.Wrap(t), t}
}

// notSent is an error from before the first byte of a request was written.
type notSent struct{ error }

func (e notSent) Unwrap() error { return e.error }

// dialTLS connects and shakes hands. It stands in for the transport's own code
// to mark its errors as notSent, handshakes included: only such a request may
// be sent again whatever it is.
func dialTLS(to *conns, base *tls.Config, http2, hold bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	config := base.Clone()
	config.NextProtos = []string{"http/1.1"}
	if http2 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, notSent{err}
		}
		raw := to.add(socket.Direct(dialled))
		config := config
		if config.ServerName == "" && !config.InsecureSkipVerify {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				raw.Close()
				return nil, notSent{err}
			}
			config = config.Clone()
			config.ServerName = host
		}
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		conn := tls.Client(raw, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, notSent{fmt.Errorf("TLS handshake with %s: %w", address, err)}
		}
		if hold {
			raw.holdSmall(conn.ConnectionState())
		}
		return conn, nil
	}
}

// wrapped keeps CloseIdleConnections reachable behind a wrapper.
type wrapped struct {
	http.RoundTripper
	transport *http.Transport
}

func (w wrapped) CloseIdleConnections() { w.transport.CloseIdleConnections() }

// transports are those to one server.
type transports [credentialCount][laneCount]http.RoundTripper

func (t *transports) closeIdle() {
	for _, lanes := range t {
		for _, rt := range lanes {
			if rt != nil {
				rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
			}
		}
	}
}

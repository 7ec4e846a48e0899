package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// proxyHeaderTimeout bounds how long a load balancer may take to send its header.
// It is in the first packet after the handshake, so this is time for that packet
// to be lost and sent again.
const proxyHeaderTimeout = 5 * time.Second

var (
	// errNoProxyHeader refuses a connection that begins with something else.
	errNoProxyHeader = errors.New("no PROXY protocol header: turn it on in the load balancer (HAProxy: send-proxy-v2), or leave its address out of --proxy-protocol-from")
	// errProxyVersion1 refuses the text form of the header. It has no word for a
	// balancer's own connections, and its end must be searched for byte by byte.
	errProxyVersion1 = errors.New("PROXY protocol version 1: have the load balancer send version 2 (HAProxy: send-proxy-v2)")
	// errProxyHeader refuses a header that says nothing we could believe.
	errProxyHeader = errors.New("bad PROXY protocol header")
)

// proxyListener takes the clients' addresses from load balancers, which say them
// at the beginning of each connection (PROXY protocol version 2, see
// https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt).
//
// Connections from trusted addresses must begin with a header. All others are
// left alone: nobody else can claim an address, and a header is to them what any
// other rubbish before a TLS handshake is.
type proxyListener struct {
	net.Listener
	// trusted are the addresses of load balancers, no IPv4 mapped into IPv6.
	trusted []netip.Prefix
	// patience is how long a header may take.
	patience time.Duration
	log      *zap.Logger
}

// Accept returns without waiting for a header: that is read by the goroutine that
// serves the connection.
func (l *proxyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || !l.trusts(conn.RemoteAddr()) {
		return conn, err
	}
	return &proxiedConn{Conn: conn, patience: l.patience, log: l.log}, nil
}

func (l *proxyListener) trusts(peer net.Addr) bool {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return false
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, prefix := range l.trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// proxiedConn is a connection from a load balancer. Its header is read when the
// client's address is first asked for, which is what net/http begins with.
type proxiedConn struct {
	net.Conn
	patience time.Duration
	log      *zap.Logger

	once sync.Once
	// client is who speaks, and err why nobody is listened to; set by once.
	client net.Addr
	err    error
}

// RemoteAddr is the client's address: the load balancer's own for its health
// checks and for a connection that is refused.
func (c *proxiedConn) RemoteAddr() net.Addr {
	c.once.Do(c.readHeader)
	return c.client
}

// Read returns what follows the header. Without a good one it fails, so that the
// TLS handshake does.
func (c *proxiedConn) Read(b []byte) (int, error) {
	c.once.Do(c.readHeader)
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

func (c *proxiedConn) readHeader() {
	c.client = c.Conn.RemoteAddr()
	// A deadline cannot be set on a connection that is gone; reading fails then, too.
	_ = c.SetReadDeadline(time.Now().Add(c.patience))
	client, err := readProxyHeader(c.Conn)
	_ = c.SetReadDeadline(time.Time{})
	switch {
	case err == nil && client.IsValid():
		c.client = net.TCPAddrFromAddrPort(client)
	case err == io.EOF:
		// A health check that wants no more than to connect.
		c.err = err
	case err != nil:
		c.err = err
		// net/http mentions failed handshakes at debug level only. Here it is clients
		// that nobody can serve until an operator has set a load balancer right.
		c.log.Warn("refused a connection from an address in --proxy-protocol-from", zap.Stringer("peer", c.client), zap.Error(err))
	}
}

// The header of version 2: signature, version and command, family and protocol,
// length of the rest; in the rest both addresses, both ports and what else a load
// balancer likes to say.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Begin   = "PROXY "
	proxyFixed     = len(proxySignature) + 4

	proxyLocal   = 0x20
	proxyProxied = 0x21
	proxyTCP4    = 0x11
	proxyTCP6    = 0x21
)

// readProxyHeader reads a header, and not a byte more, and returns the client's
// address, not valid for a connection that the load balancer makes for itself.
// The error is io.EOF if the peer went away without a word.
func readProxyHeader(r io.Reader) (netip.AddrPort, error) {
	var none netip.AddrPort
	var fixed [proxyFixed]byte
	switch n, err := io.ReadFull(r, fixed[:]); {
	case err == nil:
	case n == 0 && !errors.Is(err, os.ErrDeadlineExceeded):
		return none, io.EOF
	default:
		return none, fmt.Errorf("%w (%w)", errNoProxyHeader, err)
	}
	if !bytes.HasPrefix(fixed[:], []byte(proxySignature)) {
		if bytes.HasPrefix(fixed[:], []byte(proxyV1Begin)) {
			return none, errProxyVersion1
		}
		return none, errNoProxyHeader
	}
	command, family := fixed[12], fixed[13]
	length := int(binary.BigEndian.Uint16(fixed[14:]))

	// Both addresses, both ports; the client's is the first of each.
	var addresses [2*16 + 2*2]byte
	size := 0
	switch {
	case command == proxyLocal:
		// Whatever the rest says, it is to be ignored.
	case command != proxyProxied:
		return none, fmt.Errorf("%w: version and command %#x", errProxyHeader, command)
	case family == proxyTCP4:
		size = 4
	case family == proxyTCP6:
		size = 16
	default:
		// UDP and Unix sockets do not lead here. A client of whom the load balancer
		// knows no address would be limited, and logged, as the load balancer.
		return none, fmt.Errorf("%w: family and protocol %#x, want TCP over IPv4 or IPv6", errProxyHeader, family)
	}
	used := 0
	if size > 0 {
		if used = 2*size + 2*2; used > length {
			return none, fmt.Errorf("%w: %d bytes are too few for its addresses", errProxyHeader, length)
		}
	}
	if _, err := io.ReadFull(r, addresses[:used]); err != nil {
		return none, fmt.Errorf("%w: it breaks off: %w", errProxyHeader, err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(length-used)); err != nil {
		return none, fmt.Errorf("%w: it breaks off: %w", errProxyHeader, err)
	}
	if size == 0 {
		return none, nil
	}
	ip, _ := netip.AddrFromSlice(addresses[:size])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(addresses[2*size:])), nil
}

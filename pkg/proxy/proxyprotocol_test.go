package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// header makes a PROXY protocol header of version 2.
func header(command, family byte, rest []byte) []byte {
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return append(binary.BigEndian.AppendUint16(h, uint16(len(rest))), rest...)
}

// proxied is the header of a client that connected to a load balancer at dst.
func proxied(src, dst string) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	family := byte(0x11)
	if from.Addr().Is6() {
		family = 0x21
	}
	rest := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	rest = binary.BigEndian.AppendUint16(rest, from.Port())
	return header(0x21, family, binary.BigEndian.AppendUint16(rest, to.Port()))
}

// behind returns header with more in its rest.
func behind(h []byte, more ...byte) []byte {
	return header(h[12], h[13], append(bytes.Clone(h[16:]), more...))
}

var loopbackRange = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// proxiedGateway is a running Server for connections that begin with a header.
type proxiedGateway struct {
	address string
	roots   *tls.Config
	logged  *observer.ObservedLogs
}

// runBehindLoadBalancer serves with Run, before an apiserver that answers with the
// client's address, until the test ends; Run must then return nil. Wrap may stand
// between the server and its listener.
func runBehindLoadBalancer(t *testing.T, trusted []netip.Prefix, wrap func(net.Listener) net.Listener) *proxiedGateway {
	t.Helper()
	core, logged := observer.New(zapcore.InfoLevel)
	server, apiserver := serverBefore(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	}, func(o *Options) {
		o.Log, o.ProxyProtocolFrom, o.ShutdownGrace, o.AccessLogEvery = zap.New(core), trusted, 10*time.Second, 1
	})
	server.options.TLS = &tls.Config{Certificates: apiserver.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if wrap != nil {
		listener = wrap(listener)
	}
	ctx, drain := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, listener) }()
	t.Cleanup(func() {
		drain()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &proxiedGateway{address, &tls.Config{RootCAs: rootsOf(apiserver), ServerName: "example.com"}, logged}
}

// dial connects and sends what comes before the TLS handshake. Nothing that is
// done with the connection takes longer than 20 s.
func (g *proxiedGateway) dial(t *testing.T, first []byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(first); err != nil {
		t.Fatal(err)
	}
	return conn
}

// get asks for a path over a connection of its own, which begins with first.
func (g *proxiedGateway) get(t *testing.T, protocol, path string, first []byte) (string, error) {
	t.Helper()
	config := g.roots.Clone()
	config.NextProtos = []string{protocol}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(protocol == "http/1.1")
	protocols.SetHTTP2(protocol == "h2")
	transport := &http.Transport{
		TLSClientConfig: config,
		Protocols:       protocols,
		DialContext:     func(context.Context, string, string) (net.Conn, error) { return g.dial(t, first), nil },
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + g.address + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || (response.ProtoMajor == 2) != (protocol == "h2") {
		t.Errorf("%s answered with %s %s", path, response.Proto, response.Status)
	}
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// warnings are what the operator is told about connections.
func (g *proxiedGateway) warnings() []observer.LoggedEntry {
	return g.logged.FilterMessageSnippet("--proxy-protocol-from").All()
}

func TestClientIsWhomTheLoadBalancerNames(t *testing.T) {
	g := runBehindLoadBalancer(t, loopbackRange, nil)
	v4 := proxied("192.0.2.7:4711", "198.51.100.1:6443")
	for name, tc := range map[string]struct {
		header []byte
		want   string
	}{
		"IPv4":                     {v4, "192.0.2.7"},
		"IPv6":                     {proxied("[2001:db8::7]:4711", "[2001:db8::1]:6443"), "2001:db8::7"},
		"IPv4 mapped into IPv6":    {proxied("[::ffff:192.0.2.7]:4711", "[::ffff:198.51.100.1]:6443"), "192.0.2.7"},
		"with more behind":         {behind(v4, 0x04, 0, 3, 'a', 'b', 'c'), "192.0.2.7"},
		"with all that fits":       {behind(v4, make([]byte, 65535-12)...), "192.0.2.7"},
		"its own health check":     {header(0x20, 0, nil), "127.0.0.1"},
		"its own, with an address": {header(0x20, v4[13], v4[16:]), "127.0.0.1"},
		"its own, with rubbish":    {header(0x20, 0xff, []byte("rubbish")), "127.0.0.1"},
	} {
		for _, protocol := range []string{"h2", "http/1.1"} {
			t.Run(name+", "+protocol, func(t *testing.T) {
				got, err := g.get(t, protocol, "/api/v1/pods", tc.header)
				if err != nil || got != tc.want {
					t.Errorf("the apiserver was told of %q, want %q (%v)", got, tc.want, err)
				}
				if body, err := g.get(t, protocol, "/readyz", tc.header); err != nil || body != "ok" {
					t.Errorf("readyz: %q, %v", body, err)
				}
			})
		}
	}
	remotes := map[any]bool{}
	for _, entry := range g.logged.FilterMessage("request").All() {
		remotes[entry.ContextMap()["remote"]] = true
	}
	if !remotes["192.0.2.7:4711"] || !remotes["[2001:db8::7]:4711"] {
		t.Errorf("addresses in the access log: %v", remotes)
	}
	if got := g.warnings(); len(got) > 0 {
		t.Errorf("warned of %v", got)
	}
}

func TestLoadBalancerWithoutAGoodHeaderIsRefused(t *testing.T) {
	g := runBehindLoadBalancer(t, loopbackRange, nil)
	v4, v6 := proxied("192.0.2.7:4711", "198.51.100.1:6443"), proxied("[2001:db8::7]:1", "[2001:db8::1]:2")
	for name, first := range map[string][]byte{
		"none":                           nil,
		"plain HTTP":                     []byte("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"),
		"version 1":                      []byte("PROXY TCP4 192.0.2.7 198.51.100.1 4711 6443\r\n"),
		"version 1, unknown":             []byte("PROXY UNKNOWN\r\n"),
		"version 3":                      header(0x31, 0x11, v4[16:]),
		"a command that does not exist":  header(0x22, 0x11, v4[16:]),
		"a client of unknown family":     header(0x21, 0x00, nil),
		"UDP":                            header(0x21, 0x12, v4[16:]),
		"a Unix socket":                  header(0x21, 0x31, make([]byte, 216)),
		"a protocol that does not exist": header(0x21, 0x13, v4[16:]),
		"too short for IPv4":             header(0x21, 0x11, v4[16:27]),
		"too short for IPv6":             header(0x21, 0x21, v6[16:51]),
		"a signature with a flaw":        append([]byte("\r\n\r\n\x00\r\nQUIT\r"), v4[12:]...),
		"two":                            append(bytes.Clone(v4), v4...),
	} {
		t.Run(name, func(t *testing.T) {
			if body, err := g.get(t, "http/1.1", "/readyz", first); err == nil {
				t.Errorf("answered %q", body)
			}
		})
	}
	if body, err := g.get(t, "h2", "/readyz", v4); err != nil || body != "ok" {
		t.Errorf("readyz afterwards: %q, %v", body, err)
	}
}

func TestRefusedLoadBalancerIsLogged(t *testing.T) {
	for name, tc := range map[string]struct {
		first []byte
		want  string
	}{
		"none":        {[]byte(strings.Repeat("x", 16)), "send-proxy-v2"},
		"version 1":   {[]byte("PROXY TCP4 192.0.2.7 198.51.100.1 4711 6443\r\n"), "version 1"},
		"bad":         {header(0x21, 0x12, make([]byte, 12)), "0x12"},
		"breaks off":  {proxied("192.0.2.7:4711", "198.51.100.1:6443")[:20], "breaks off"},
		"half a word": {[]byte("\r\n\r\n"), "unexpected EOF"},
		"not a word":  {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := runBehindLoadBalancer(t, loopbackRange, nil)
			conn := g.dial(t, tc.first)
			// It may be over already, and end with a reset if bytes were left unread.
			_ = conn.(*net.TCPConn).CloseWrite()
			if n, _ := io.Copy(io.Discard, conn); n > 0 {
				t.Errorf("%d bytes were sent to it", n)
			}
			warnings := g.warnings()
			if tc.want == "" {
				if len(warnings) > 0 {
					t.Errorf("warned of a connection without a byte: %v", warnings)
				}
				return
			}
			if len(warnings) != 1 {
				t.Fatalf("warnings %v", warnings)
			}
			fields := warnings[0].ContextMap()
			if text, _ := fields["error"].(string); !strings.Contains(text, tc.want) || fields["peer"] != conn.LocalAddr().String() {
				t.Errorf("warned with %v, want %q", fields, tc.want)
			}
		})
	}
}

func TestNobodyElseCanSayWhoHeIs(t *testing.T) {
	g := runBehindLoadBalancer(t, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.2/32")}, nil)
	if got, err := g.get(t, "h2", "/api/v1/pods", nil); err != nil || got != "127.0.0.1" {
		t.Errorf("without a header: %q, %v", got, err)
	}
	if got, err := g.get(t, "http/1.1", "/api/v1/pods", proxied("192.0.2.7:4711", "198.51.100.1:6443")); err == nil {
		t.Errorf("a header was taken from somebody who may not send one: %q", got)
	}
	if got := g.warnings(); len(got) > 0 {
		t.Errorf("warned of %v", got)
	}
}

// TestSilentConnectionsHoldUpNobody has many connections stop in or before their
// header. Clients are served meanwhile, and the silent ones are cut off.
func TestSilentConnectionsHoldUpNobody(t *testing.T) {
	const patience = 500 * time.Millisecond
	core, _ := observer.New(zapcore.WarnLevel)
	g := runBehindLoadBalancer(t, nil, func(l net.Listener) net.Listener {
		return &proxyListener{Listener: l, trusted: loopbackRange, patience: patience, log: zap.New(core)}
	})
	whole := proxied("192.0.2.7:4711", "198.51.100.1:6443")
	start := time.Now()
	var silent []net.Conn
	for i := range 50 {
		silent = append(silent, g.dial(t, whole[:i%len(whole)]))
	}
	if body, err := g.get(t, "h2", "/readyz", whole); err != nil || body != "ok" {
		t.Errorf("readyz: %q, %v", body, err)
	}
	for _, conn := range silent {
		if n, err := conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, net.ErrClosed) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if took := time.Since(start); took < patience || took > patience+10*time.Second {
			t.Errorf("cut off after %s", took)
		}
	}
}

// watchedConn notes the deadlines that are set.
type watchedConn struct {
	net.Conn
	deadlines []time.Time
}

func (c *watchedConn) SetReadDeadline(d time.Time) error {
	c.deadlines = append(c.deadlines, d)
	return c.Conn.SetReadDeadline(d)
}

func TestTimeLimitIsForTheHeaderOnly(t *testing.T) {
	loadBalancer, gateway := net.Pipe()
	defer loadBalancer.Close()
	watched := &watchedConn{Conn: gateway}
	conn := &proxiedConn{Conn: watched, patience: time.Minute, log: zap.NewNop()}
	sent := make(chan error, 1)
	go func() {
		_, err := loadBalancer.Write(append(proxied("192.0.2.7:4711", "198.51.100.1:6443"), "hello"...))
		sent <- err
	}()
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("read %q behind the header (%v)", got, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if got := conn.RemoteAddr().String(); got != "192.0.2.7:4711" {
		t.Errorf("the client is %s", got)
	}
	if d := watched.deadlines; len(d) != 2 || time.Until(d[0]) > time.Minute || time.Until(d[0]) < 0 || !d[1].IsZero() {
		t.Errorf("deadlines %v; want one within a minute, and then none", d)
	}
}

// FuzzProxyHeader reads headers as a stream, and once more with all of it at hand.
func FuzzProxyHeader(f *testing.F) {
	v4 := proxied("192.0.2.7:4711", "198.51.100.1:6443")
	for _, seed := range [][]byte{
		nil, v4, behind(v4, 1, 2, 3), v4[:20], proxied("[::ffff:192.0.2.7]:1", "[::1]:2"), header(0x20, 0, nil),
		header(0x20, 0x11, v4[16:]), header(0x21, 0, nil), header(0x31, 0x11, v4[16:]), []byte("PROXY UNKNOWN\r\nGET /"),
		append(bytes.Clone(v4), "\x16\x03\x01"...),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		stream := bytes.NewReader(data)
		client, err := readProxyHeader(stream)
		used := len(data) - stream.Len()
		whole := len(data) >= 16 && string(data[:12]) == "\r\n\r\n\x00\r\nQUIT\n" && len(data)-16 >= int(binary.BigEndian.Uint16(data[14:]))
		if !whole {
			if err == nil {
				t.Fatalf("%q passed for a header", data)
			}
			if used > 16 && string(data[:12]) != proxySignature {
				t.Fatalf("%d bytes were read of something else", used)
			}
			return
		}
		rest := data[16 : 16+int(binary.BigEndian.Uint16(data[14:]))]
		var want netip.AddrPort
		good := data[12] == 0x20
		for family, size := range map[byte]int{0x11: 4, 0x21: 16} {
			if data[12] == 0x21 && data[13] == family && len(rest) >= 2*size+4 {
				ip, _ := netip.AddrFromSlice(rest[:size])
				want, good = netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(rest[2*size:])), true
			}
		}
		if (err == nil) != good || client != want {
			t.Fatalf("%q: %v, %v; want %v, good: %t", data, client, err, want, good)
		}
		if good && used != 16+len(rest) {
			t.Fatalf("%d bytes were read of %d", used, 16+len(rest))
		}
	})
}

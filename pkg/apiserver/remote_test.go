package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEtcdThatIsSilent is about one that accepts connections and says nothing.
func TestEtcdThatIsSilent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	f := prepare(t, func(c *Config) { c.DataDir, c.Etcd.Servers = "", []string{"unix://" + socket} })
	f.run(t)
	eventually(t, "it serves", func() bool { return f.current.Load() != nil })
	begin := time.Now()
	a := do(t, f.admin(), "POST", base+"ratelimits", `{"apiVersion":"gateway.asi.io/v1alpha1","kind":"RateLimit","metadata":{"name":"b"},"spec":{"qps":1}}`)
	if s, took := a.status(t), time.Since(begin); s.Code != 503 || took > storeTimeout+2*time.Second {
		t.Errorf("%+v after %s", s, took)
	}
	begin = time.Now()
	if err := f.stop(); err != nil || time.Since(begin) > 2*time.Second {
		t.Errorf("stopped with %v after %s", err, time.Since(begin))
	}
}

func TestEtcdWithCertificates(t *testing.T) {
	cert, key := selfSigned(t)
	c := etcdConfig(privateTempDir(t), "", zap.NewNop(), &atomic.Bool{})
	c.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	c.ClientTLSInfo = transport.TLSInfo{CertFile: cert, KeyFile: key, TrustedCAFile: cert, ClientCertAuth: true}
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	server := "https://" + etcd.Clients[0].Addr().String()
	f := newFixture(t, func(c *Config) {
		c.DataDir = ""
		c.Etcd = Etcd{Servers: []string{server}, CertFile: cert, KeyFile: key, CAFile: cert}
	})
	if _, err := objects(t, f.ClientConfig(), "ratelimits").Create(t.Context(), rateLimitNamed("a"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}

	bad := prepare(t, func(c *Config) {
		c.DataDir = ""
		c.Etcd = Etcd{Servers: []string{server}, CertFile: "no-such-file", KeyFile: key, CAFile: cert}
	})
	if err := bad.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "etcd certificates") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// selfSigned returns files with a certificate that is CA, server and client.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", privateDER)
}

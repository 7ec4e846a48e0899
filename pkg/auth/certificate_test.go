package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// authority is a CA bundle that can be replaced, and counts its uses.
type authority struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	options atomic.Pointer[x509.VerifyOptions]
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.trust(a.cert)
	return a
}

func (a *authority) trust(cert *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	a.options.Store(&x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func (a *authority) VerifyOptions() (x509.VerifyOptions, bool) {
	o := a.options.Load()
	if o == nil {
		return x509.VerifyOptions{}, false
	}
	return *o, true
}

func (a *authority) issue(t testing.TB, name string, notAfter time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name, Organization: []string{"team"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// connection returns a request as it comes over a connection with the certificate.
func connection(t testing.TB, cert *x509.Certificate) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(WithSession(t.Context()))
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	return r
}

func TestCertificateIsVerifiedOncePerConnection(t *testing.T) {
	ca := newAuthority(t)
	clock := clocktesting.NewFakePassiveClock(time.Now())
	c := newCertificates(ca, FrontProxy, clock)
	r := connection(t, ca.issue(t, "alice", time.Now().Add(time.Hour)))
	first, err := c.authenticate(r)
	if err != nil {
		t.Fatal(err)
	}
	if first.GetName() != "alice" || !slices.Equal(first.GetGroups(), []string{"team", "system:authenticated"}) {
		t.Fatalf("identity %+v", first)
	}
	if again, _ := c.authenticate(r); again != first {
		t.Error("the second request of the connection was verified again")
	}
	clock.SetTime(clock.Now().Add(reverifyAfter))
	if again, _ := c.authenticate(r); again == first || again == nil {
		t.Error("the certificate was not verified again after a while")
	}
}

func TestChangedCAEndsTheIdentityOfAnOpenConnection(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	c := newCertificates(ca, FrontProxy, clocktesting.NewFakePassiveClock(time.Now()))
	r := connection(t, ca.issue(t, "alice", time.Now().Add(time.Hour)))
	if _, err := c.authenticate(r); err != nil {
		t.Fatal(err)
	}
	ca.trust(other.cert)
	if id, err := c.authenticate(r); err == nil {
		t.Errorf("still %v under a CA that did not sign the certificate", id)
	}
}

func TestCertificateExpiresOnAnOpenConnection(t *testing.T) {
	ca := newAuthority(t)
	clock := clocktesting.NewFakePassiveClock(time.Now())
	c := newCertificates(ca, FrontProxy, clock)
	cert := ca.issue(t, "alice", time.Now().Add(10*time.Second))
	r := connection(t, cert)
	if _, err := c.authenticate(r); err != nil {
		t.Fatal(err)
	}
	session := r.Context().Value(sessionKey{}).(*session)
	if until := session.verified.Load().until; !until.Equal(cert.NotAfter) {
		t.Errorf("verified until %v, want the certificate's end %v", until, cert.NotAfter)
	}
}

func TestCertificateWithoutKnownCAIsNoIdentity(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "alice", time.Now().Add(time.Hour))
	ca.options.Store(nil)
	c := newCertificates(ca, FrontProxy, clocktesting.NewFakePassiveClock(time.Now()))
	if id, err := c.authenticate(connection(t, cert)); id != nil || err != nil {
		t.Errorf("identity %v, error %v", id, err)
	}
}

func TestCertificateThatNamesNobodyIsRefused(t *testing.T) {
	ca := newAuthority(t)
	c := newCertificates(ca, FrontProxy, clocktesting.NewFakePassiveClock(time.Now()))
	if id, err := c.authenticate(connection(t, ca.issue(t, "", time.Now().Add(time.Hour)))); err == nil {
		t.Errorf("identity %v: such a client must not pass as one without credentials", id)
	}
}

func BenchmarkVerifiedConnection(b *testing.B) {
	ca := newAuthority(b)
	c := newCertificates(ca, FrontProxy, clocktesting.NewFakePassiveClock(time.Now()))
	r := connection(b, ca.issue(b, "alice", time.Now().Add(time.Hour)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}

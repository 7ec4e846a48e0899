package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"testing"
	"time"
)

func parseCert(t *testing.T, certPEM []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(certPEM)
	if block == nil {
		t.Fatal("no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func verify(ca *CA, cert *x509.Certificate, now time.Time, usage x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CertPEM())
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestClientCertificateCarriesUserGroupsAndTimes(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	ca, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.IssueClient("jane", []string{"a", "b"}, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Error(err)
	}
	cert := parseCert(t, certPEM)
	if cert.Subject.CommonName != "jane" || !slices.Equal(cert.Subject.Organization, []string{"a", "b"}) {
		t.Errorf("subject %v", cert.Subject)
	}
	if err := verify(ca, cert, now.Add(time.Minute), x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if verify(ca, cert, now.Add(2*time.Hour), x509.ExtKeyUsageClientAuth) == nil {
		t.Error("accepted after its end")
	}
	if verify(other, cert, now.Add(time.Minute), x509.ExtKeyUsageClientAuth) == nil {
		t.Error("accepted by a foreign CA of the same name")
	}
	if verify(ca, cert, now.Add(time.Minute), x509.ExtKeyUsageServerAuth) == nil {
		t.Error("accepted as a server's")
	}
}

func TestServingCertificateNamesHostsAndAddresses(t *testing.T) {
	now := time.Now()
	ca, err := NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, _, err := ca.IssueServing([]string{"gateway.invalid", "127.0.0.1", "::1"}, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	cert := parseCert(t, certPEM)
	for _, host := range []string{"gateway.invalid", "127.0.0.1", "::1"} {
		if err := cert.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := ca.IssueServing(nil, now, now); err == nil {
		t.Error("a certificate for no host was issued")
	}
}

func TestPKIKeepsAuthoritiesAndRenewsTheRest(t *testing.T) {
	dir := t.TempDir()
	first, err := newPKI(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) []byte {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	key, admin := read(first.serviceAccountKey()), read(first.certFile(certAdmin))
	second, err := newPKI(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.ca.CertPEM(), second.ca.CertPEM()) || !bytes.Equal(key, read(second.serviceAccountKey())) {
		t.Error("the CA or the service account key was replaced")
	}
	if bytes.Equal(admin, read(second.certFile(certAdmin))) {
		t.Error("the administrator's certificate was not renewed")
	}
	if bytes.Equal(first.ca.CertPEM(), first.frontProxy.CertPEM()) {
		t.Error("one CA for both")
	}
	if info, err := os.Stat(second.keyFile(certCA)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the CA's key: %v, %v", info.Mode(), err)
	}
}

func TestDamagedCAIsAnErrorAndNotReplaced(t *testing.T) {
	dir := t.TempDir()
	p, err := newPKI(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.keyFile(certCA), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newPKI(dir, time.Now()); err == nil {
		t.Error("newPKI accepted a damaged key")
	}
	if _, err := loadPKI(dir); err == nil {
		t.Error("loadPKI accepted a damaged key")
	}
}

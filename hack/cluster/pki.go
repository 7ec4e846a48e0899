package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Names of certificates below pki/, each a NAME.crt and a NAME.key.
const (
	certCA                = "ca"
	certFrontProxyCA      = "front-proxy-ca"
	certAPIServer         = "apiserver"
	certKubeletClient     = "apiserver-kubelet-client"
	certFrontProxyClient  = "front-proxy-client"
	certAdmin             = "admin"
	certControllerManager = "kube-controller-manager"
	certScheduler         = "kube-scheduler"
	certKwok              = "kwok"
	certKubelet           = "kubelet"
	certGateway           = "gateway"
)

// Identities of the clients.
const (
	frontProxyUser = "front-proxy-client"
	kwokUser       = "asi:kwok"
	mastersGroup   = "system:masters"
)

// pki is the cluster's certificates on disk.
type pki struct {
	dir            string
	ca, frontProxy *CA
}

// clientCerts lists the client certificates of the cluster CA: name, user, groups.
func clientCerts() []clientCert {
	return []clientCert{
		{certAdmin, "asi:admin", []string{mastersGroup}},
		// Upstream gives the kubelet client a group of its own; any identity that may
		// use nodes/proxy would do, and kwok does not ask.
		{certKubeletClient, "kube-apiserver-kubelet-client", []string{mastersGroup}},
		{certControllerManager, "system:kube-controller-manager", nil},
		{certScheduler, "system:kube-scheduler", nil},
		{certKwok, kwokUser, nil},
	}
}

type clientCert struct {
	name, user string
	groups     []string
}

// newPKI writes all certificates below dir. Authorities and the service account key
// that are there already are kept, so that a cluster started again on its old data
// still accepts kubeconfigs and tokens handed out before; the rest is issued anew.
func newPKI(dir string, now time.Time) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the certificate folder: %w", err)
	}
	p := &pki{dir: dir}
	var err error
	if p.ca, err = p.keepOrMakeCA(certCA, "asi-cluster-ca", now); err != nil {
		return nil, err
	}
	if p.frontProxy, err = p.keepOrMakeCA(certFrontProxyCA, "asi-front-proxy-ca", now); err != nil {
		return nil, err
	}
	if err := p.keepOrMakeServiceAccountKey(); err != nil {
		return nil, err
	}
	return p, p.issueAll(now)
}

// loadPKI reads the authorities of a cluster that exists.
func loadPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	var caErr, frontProxyErr error
	p.ca, caErr = p.readCA(certCA)
	p.frontProxy, frontProxyErr = p.readCA(certFrontProxyCA)
	return p, errors.Join(caErr, frontProxyErr)
}

func (p *pki) certFile(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p *pki) keyFile(name string) string  { return filepath.Join(p.dir, name+".key") }

// Files of the service account key: tokens are signed with one, verified by the other.
func (p *pki) serviceAccountKey() string    { return filepath.Join(p.dir, "sa.key") }
func (p *pki) serviceAccountPublic() string { return filepath.Join(p.dir, "sa.pub") }

// issueAll issues everything except the authorities.
func (p *pki) issueAll(now time.Time) error {
	from, to := now.Add(-backdate), now.Add(certLife)
	for _, c := range clientCerts() {
		cert, key, err := p.ca.IssueClient(c.user, c.groups, from, to)
		if err := p.write(c.name, cert, key, err); err != nil {
			return err
		}
	}
	cert, key, err := p.frontProxy.IssueClient(frontProxyUser, nil, from, to)
	if err := p.write(certFrontProxyClient, cert, key, err); err != nil {
		return err
	}
	for _, name := range []string{certAPIServer, certKubelet, certGateway, certControllerManager + "-serving", certScheduler + "-serving"} {
		cert, key, err := p.ca.IssueServing(servingHosts(), from, to)
		if err := p.write(name, cert, key, err); err != nil {
			return err
		}
	}
	return nil
}

// servingHosts are the names under which the parts are reached: loopback, and what
// in-cluster clients call the apiserver.
func servingHosts() []string {
	return []string{
		"localhost", loopback, "::1", serviceClusterIP,
		// A registered APIService (deploy/apiservice.yaml).
		"asi-gateway.asi-gateway.svc",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
}

// keepOrMakeCA reads the authority, or makes it if there is none.
func (p *pki) keepOrMakeCA(name, commonName string, now time.Time) (*CA, error) {
	ca, err := p.readCA(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if ca, err = NewCA(commonName, now); err != nil {
		return nil, err
	}
	return ca, p.write(name, ca.certPEM, ca.keyPEM, nil)
}

func (p *pki) readCA(name string) (*CA, error) {
	cert, err := os.ReadFile(p.certFile(name))
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	key, err := os.ReadFile(p.keyFile(name))
	if err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	ca, err := ParseCA(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.certFile(name), err)
	}
	return ca, nil
}

// keepOrMakeServiceAccountKey makes the key pair for service account tokens.
func (p *pki) keepOrMakeServiceAccountKey() error {
	if _, err := os.Stat(p.serviceAccountKey()); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the service account key: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode the service account key: %w", err)
	}
	return errors.Join(
		os.WriteFile(p.serviceAccountPublic(), encodePEM("PUBLIC KEY", public), 0o600),
		os.WriteFile(p.serviceAccountKey(), keyPEM, 0o600))
}

// write stores a certificate and its key, unless issuing them failed with err.
func (p *pki) write(name string, certPEM, keyPEM []byte, err error) error {
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(p.certFile(name), certPEM, 0o600),
		os.WriteFile(p.keyFile(name), keyPEM, 0o600),
	); err != nil {
		return fmt.Errorf("write the certificate %s: %w", name, err)
	}
	return nil
}

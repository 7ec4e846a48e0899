package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	certBlock = "CERTIFICATE"
	// keyBlock is the PEM type that both Go and kube-apiserver read for EC keys.
	keyBlock = "EC PRIVATE KEY"
	// backdate lets a certificate be used at once by a peer whose clock is behind.
	backdate = 5 * time.Minute
	caYears  = 10
	// certLife is the validity of what Start issues; a cluster is renewed by starting
	// it again.
	certLife = 365 * 24 * time.Hour
)

// CA is a certificate authority with an ECDSA P-256 key. It is immutable.
type CA struct {
	certPEM, keyPEM []byte
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
}

// NewCA makes a self-signed authority, valid for ten years from now.
func NewCA(commonName string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for the CA %s: %w", commonName, err)
	}
	template, err := newTemplate(pkix.Name{CommonName: commonName}, now.Add(-backdate), now.AddDate(caYears, 0, 0))
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the CA %s: %w", commonName, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return ParseCA(encodePEM(certBlock, der), keyPEM)
}

// ParseCA reads an authority written by NewCA.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	certDER, _ := pem.Decode(certPEM)
	keyDER, _ := pem.Decode(keyPEM)
	if certDER == nil || keyDER == nil {
		return nil, errors.New("parse a CA: no PEM block in its certificate or key")
	}
	cert, err := x509.ParseCertificate(certDER.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse a CA: %w", err)
	}
	key, err := x509.ParseECPrivateKey(keyDER.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the key of the CA %s: %w", cert.Subject.CommonName, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("parse the CA %s: its key does not belong to its certificate", cert.Subject.CommonName)
	}
	return &CA{certPEM: certPEM, keyPEM: keyPEM, cert: cert, key: key}, nil
}

// CertPEM is the authority's certificate.
func (ca *CA) CertPEM() []byte { return ca.certPEM }

// IssueClient issues a certificate for client authentication. Kubernetes reads the
// user from the common name and the groups from the organizations. The times are used
// as they are, so that certificates of the past and the future can be made.
func (ca *CA) IssueClient(user string, groups []string, notBefore, notAfter time.Time) (certPEM, keyPEM []byte, err error) {
	template, err := newTemplate(pkix.Name{CommonName: user, Organization: groups}, notBefore, notAfter)
	if err != nil {
		return nil, nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return ca.issue(template)
}

// IssueServing issues a certificate for a server that is reached by the given host
// names and IP addresses, of which there must be one at least.
func (ca *CA) IssueServing(hosts []string, notBefore, notAfter time.Time) (certPEM, keyPEM []byte, err error) {
	if len(hosts) == 0 {
		return nil, nil, errors.New("issue a serving certificate: no host name or address given")
	}
	template, err := newTemplate(pkix.Name{CommonName: hosts[0]}, notBefore, notAfter)
	if err != nil {
		return nil, nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return ca.issue(template)
}

// issue makes a key for template and signs its certificate.
func (ca *CA) issue(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key for %s: %w", template.Subject.CommonName, err)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	return encodePEM(certBlock, der), keyPEM, nil
}

// newTemplate is what all certificates have in common.
func newTemplate(subject pkix.Name, notBefore, notAfter time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: notBefore, NotAfter: notAfter}, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encodePEM(keyBlock, der), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

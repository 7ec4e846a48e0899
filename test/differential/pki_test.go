package differential

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// uidAttribute is where kube-apiserver reads a user's uid from a certificate.
var uidAttribute = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

// issuer makes certificates that hack/cluster has no call for.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// clusterIssuer signs with the cluster's CA.
func clusterIssuer(c *cluster.Cluster) (*issuer, error) {
	pair, err := tls.LoadX509KeyPair(c.CAFile(), filepath.Join(filepath.Dir(c.CAFile()), "ca.key"))
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the CA's key is a %T", pair.PrivateKey)
	}
	return &issuer{pair.Leaf, key}, nil
}

// issue signs a certificate that is valid from an hour ago, for a day.
func (ca *issuer) issue(subject pkix.Name, change func(*x509.Certificate)) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// identities are the client certificates by the names that cases use. "nobody"
// is not among them.
func identities(c *cluster.Cluster) (map[string]*tls.Certificate, error) {
	ca, err := clusterIssuer(c)
	if err != nil {
		return nil, err
	}
	certs := map[string]*tls.Certificate{}
	for name, files := range map[string]func() (string, string){"admin": c.AdminFiles, "front-proxy": c.FrontProxyClientFiles} {
		pair, err := tls.LoadX509KeyPair(files())
		if err != nil {
			return nil, err
		}
		certs[name] = &pair
	}
	past, future := time.Now().Add(-2*time.Hour), time.Now().Add(2*time.Hour)
	for name, special := range map[string]struct {
		subject pkix.Name
		change  func(*x509.Certificate)
	}{
		// Users as they should be.
		"alice":        {subject: pkix.Name{CommonName: "alice", Organization: []string{"readers", "second group"}}},
		"mallory":      {subject: pkix.Name{CommonName: "mallory"}},
		"impersonator": {subject: pkix.Name{CommonName: "impersonator"}},
		"constrained":  {subject: pkix.Name{CommonName: "constrained"}},
		// The server tries first what last worked for a user; one way each keeps
		// the words of its refusals the same.
		"constrained-account": {subject: pkix.Name{CommonName: "constrained-account"}},
		"with-uid": {subject: pkix.Name{CommonName: "with-uid", ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: uidAttribute, Value: "uid-of-the-certificate"},
		}}},
		// Users as they may be.
		"odd-name":      {subject: pkix.Name{CommonName: "jürgen o'neil,%2f:x", Organization: []string{"größe", "a,b", "100% sure"}}},
		"padded-name":   {subject: pkix.Name{CommonName: " alice "}},
		"padded-group":  {subject: pkix.Name{CommonName: "bob", Organization: []string{" readers "}}},
		"line-break":    {subject: pkix.Name{CommonName: "alice\r\nX-Remote-Group: system:masters"}},
		"empty-group":   {subject: pkix.Name{CommonName: "bob", Organization: []string{""}}},
		"many-groups":   {subject: pkix.Name{CommonName: "bob", Organization: manyGroups()}},
		"system-anon":   {subject: pkix.Name{CommonName: "system:anonymous"}},
		"anon-in-group": {subject: pkix.Name{CommonName: "bob", Organization: []string{"system:unauthenticated"}}},
		"as-account":    {subject: pkix.Name{CommonName: "system:serviceaccount:diff-shared:robot", Organization: []string{"system:serviceaccounts"}}},
		"node":          {subject: pkix.Name{CommonName: "system:node:diff-node", Organization: []string{"system:nodes"}}},
		// Certificates that are not good.
		"no-name": {subject: pkix.Name{Organization: []string{"readers"}}},
		"expired": {pkix.Name{CommonName: "alice"}, func(t *x509.Certificate) { t.NotBefore, t.NotAfter = past.Add(-time.Hour), past }},
		"future":  {pkix.Name{CommonName: "alice"}, func(t *x509.Certificate) { t.NotBefore, t.NotAfter = future, future.Add(time.Hour) }},
		"server":  {pkix.Name{CommonName: "alice"}, func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
	} {
		if certs[name], err = ca.issue(special.subject, special.change); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", name, err)
		}
	}
	foreign, err := cluster.NewCA("another cluster", time.Now())
	if err != nil {
		return nil, err
	}
	cert, key, err := foreign.IssueClient("alice", []string{"system:masters"}, past, future)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	certs["foreign"] = &pair
	return certs, err
}

// signToken makes a JSON Web Token of what is to be signed (RFC 7518 section 3.4).
func signToken(keyPEM []byte, text string) (string, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return "", fmt.Errorf("the service account key is not PEM")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, hash[:])
	if err != nil {
		return "", err
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func manyGroups() []string {
	var groups []string
	for i := range 200 {
		groups = append(groups, fmt.Sprintf("group-%03d", i))
	}
	return groups
}

// rootsOf trusts what signs the servers.
func rootsOf(c *cluster.Cluster) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(c.CAFile())
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block == nil || !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", c.CAFile())
	}
	return pool, nil
}

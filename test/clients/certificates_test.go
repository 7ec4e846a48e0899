package clients

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// replaced is a file that a running gateway reads, replaced as a whole.
type replaced struct{ path string }

func newFile(t *testing.T, name string, content []byte) replaced {
	t.Helper()
	f := replaced{filepath.Join(t.TempDir(), name)}
	f.write(t, content)
	return f
}

func (f replaced) write(t *testing.T, content []byte) {
	t.Helper()
	must(t, os.WriteFile(f.path+".new", content, 0o600))
	must(t, os.Rename(f.path+".new", f.path))
}

// TestServingCertificateIsReplaced renews the certificate under open connections.
func TestServingCertificateIsReplaced(t *testing.T) {
	eachMode(t, func(t *testing.T, shared *env) {
		issue := func() (certPEM, keyPEM []byte) {
			certPEM, keyPEM, err := shared.IssueServingCert("127.0.0.1", "localhost")
			must(t, err)
			return certPEM, keyPEM
		}
		oldCert, oldKey := issue()
		newCert, newKey := issue()
		cert, key := newFile(t, "tls.crt", oldCert), newFile(t, "tls.key", oldKey)
		e := shared.addGateway(t, "serving", "--tls-cert-file", cert.path, "--tls-private-key-file", key.path)

		kept := map[string]*http.Client{}
		for _, protocol := range []string{"h2", "http/1.1"} {
			kept[protocol] = httpClient(t, e.g.RESTConfig(), protocol)
			if got := e.servedTo(t, kept[protocol]); !bytes.Equal(got, der(t, oldCert)) {
				t.Fatal("the gateway does not serve the first certificate")
			}
		}
		w, err := e.via.CoreV1().ConfigMaps(e.namespace).Watch(t.Context(), metav1.ListOptions{})
		must(t, err)
		defer w.Stop()

		cert.write(t, newCert)
		key.write(t, newKey)
		eventually(t, 20*time.Second, func(context.Context) error {
			if !bytes.Equal(e.servedTo(t, httpClient(t, e.g.RESTConfig(), "h2")), der(t, newCert)) {
				return fmt.Errorf("new connections still get the old certificate")
			}
			return nil
		})
		for protocol, client := range kept {
			if got := e.servedTo(t, client); !bytes.Equal(got, der(t, oldCert)) {
				t.Errorf("the %s connection of before was not kept", protocol)
			}
		}
		e.createConfigMap(t, "after", "x")
		nextEvent(within(t, 10*time.Second), t, w)
	})
}

// servedTo sends a request and returns the certificate of its connection, DER.
func (e *env) servedTo(t *testing.T, client *http.Client) []byte {
	t.Helper()
	response, err := get(t.Context(), client, e.g.URL()+"/api/v1/namespaces/default")
	must(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	must(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	return response.TLS.PeerCertificates[0].Raw
}

func der(t *testing.T, certPEM []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(certPEM)
	if block == nil {
		t.Fatal("no certificate")
	}
	return block.Bytes
}

// TestClientCAIsReplaced moves the gateway from one authority to another, by way
// of both.
func TestClientCAIsReplaced(t *testing.T) {
	eachMode(t, func(t *testing.T, shared *env) {
		other, err := cluster.NewCA("other", time.Now())
		must(t, err)
		bundle := newFile(t, "ca.crt", shared.CACert())
		e := shared.addGateway(t, "client-ca", "--client-ca-file", bundle.path)

		certPEM, keyPEM, err := other.IssueClient("asi:other", []string{"system:masters"}, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
		must(t, err)
		config := rest.AnonymousClientConfig(e.g.RESTConfig())
		config.CertData, config.KeyData = certPEM, keyPEM
		admin, stranger := httpClient(t, e.g.RESTConfig(), "h2"), httpClient(t, config, "http/1.1")
		answers := func(adminCode, strangerCode int) {
			t.Helper()
			eventually(t, 20*time.Second, func(ctx context.Context) error {
				for client, want := range map[*http.Client]int{admin: adminCode, stranger: strangerCode} {
					response, err := get(ctx, client, e.g.URL()+"/api/v1/namespaces/default")
					if err != nil {
						return err
					}
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					if response.StatusCode != want {
						return fmt.Errorf("%s, want %d", response.Status, want)
					}
				}
				return nil
			})
		}
		answers(http.StatusOK, http.StatusUnauthorized)
		bundle.write(t, append(bytes.Clone(shared.CACert()), other.CertPEM()...))
		answers(http.StatusOK, http.StatusOK)
		// The connections are those of before: what has been verified is verified
		// again.
		bundle.write(t, other.CertPEM())
		answers(http.StatusUnauthorized, http.StatusOK)
	})
}

// TestFrontProxyCertificateIsReplaced lets the gateway's first certificate expire
// under load: only one who uses the second is still answered then.
func TestFrontProxyCertificateIsReplaced(t *testing.T) {
	const validity = 8 * time.Second
	s, err := sharedStack()
	must(t, err)
	shared := s.through(t, fixture.FrontProxy, s.gateways[fixture.FrontProxy])
	issue := func(expires time.Time) (certPEM, keyPEM []byte) {
		certPEM, keyPEM, err := s.FrontProxyCA().IssueClient(frontProxyName(t, s), nil, time.Now().Add(-time.Hour), expires)
		must(t, err)
		return certPEM, keyPEM
	}
	expires := time.Now().Add(validity)
	oldCert, oldKey := issue(expires)
	newCert, newKey := issue(time.Now().Add(time.Hour))
	cert, key := newFile(t, "front.crt", oldCert), newFile(t, "front.key", oldKey)
	e := shared.addGateway(t, "front", "--proxy-client-cert-file", cert.path, "--proxy-client-key-file", key.path)

	w, err := e.via.CoreV1().ConfigMaps(e.namespace).Watch(t.Context(), metav1.ListOptions{})
	must(t, err)
	defer w.Stop()
	client := httpClient(t, e.g.RESTConfig(), "h2")
	must(t, e.shortRequest(t.Context(), client))
	cert.write(t, newCert)
	key.write(t, newKey)
	sent := 0
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for time.Now().Before(expires.Add(2 * time.Second)) {
		if err := e.shortRequest(t.Context(), client); err != nil {
			t.Fatalf("%s before the old certificate expires: %v", time.Until(expires), err)
		}
		sent++
		<-ticker.C
	}
	// A watch of before goes on: it was let in when it began.
	e.createConfigMap(t, "after", "x")
	nextEvent(within(t, 10*time.Second), t, w)
	t.Logf("%d requests while the certificates changed", sent)
}

// frontProxyName is the name that the apiservers let assert users.
func frontProxyName(t *testing.T, s *stack) string {
	t.Helper()
	file, _ := s.FrontProxyClientFiles()
	pemBytes, err := os.ReadFile(file)
	must(t, err)
	cert, err := x509.ParseCertificate(der(t, pemBytes))
	must(t, err)
	return cert.Subject.CommonName
}

// Package kubelets starts as many clients as a cluster has nodes, each with an
// identity and a connection of its own, and has each ask for the pods of its node
// as a kubelet does when it starts. Its command (in cmd) is a process without the
// race detector, so that the clients are not what takes the time.
package kubelets

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Plan is who comes, where to, and within which time.
type Plan struct {
	URL string
	// CAFile and CAKeyFile are the authority that signs servers and clients.
	CAFile, CAKeyFile string
	// Clients is how many there are: node-00000 and so on, as NodeName says.
	Clients int
	// Within is how long after the first the last one comes, Timeout how long all
	// have to know their pods.
	Within, Timeout time.Duration
}

// Report is what became of them.
type Report struct {
	// Pods is how many pods each client was told of.
	Pods []int
	// Failures is how many times a client had to try again, Failure one reason.
	Failures int64
	Failure  string
	// P50, P99 and Max are how long it took from the first connection of a client until
	// it knew its pods.
	P50, P99, Max time.Duration
}

// NodeName is the name of a node.
func NodeName(i int) string { return fmt.Sprintf("node-%05d", i) }

// Run carries out a plan. It returns when every client knows its pods; until then
// all that know them stay.
func Run(ctx context.Context, plan Plan) (*Report, error) {
	ca, err := tls.LoadX509KeyPair(plan.CAFile, plan.CAKeyFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(plan.CAFile)
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", plan.CAFile)
	}
	clients := make([]client, plan.Clients)
	for i := range clients {
		cert, err := issue(&ca, NodeName(i))
		if err != nil {
			return nil, err
		}
		clients[i] = client{name: NodeName(i), url: plan.URL, http: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}, ForceAttemptHTTP2: true,
		}}}
	}
	ctx, cancel := context.WithTimeout(ctx, plan.Timeout)
	defer cancel()
	report := &Report{Pods: make([]int, len(clients))}
	took := make([]time.Duration, len(clients))
	var synced, gone sync.WaitGroup
	var failures atomic.Int64
	var failure atomic.Pointer[string]
	synced.Add(len(clients))
	for i := range clients {
		gone.Go(func() {
			select {
			case <-ctx.Done():
			case <-time.After(plan.Within * time.Duration(i) / time.Duration(len(clients))):
			}
			began := time.Now()
			done := sync.OnceFunc(synced.Done)
			defer done()
			for ctx.Err() == nil {
				err := clients[i].watch(ctx, func(pods int) {
					report.Pods[i], took[i] = pods, time.Since(began)
					done()
				})
				if ctx.Err() != nil {
					return
				}
				failures.Add(1)
				text := err.Error()
				failure.CompareAndSwap(nil, &text)
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	synced.Wait()
	late := ctx.Err()
	cancel()
	gone.Wait()
	if late != nil {
		return nil, fmt.Errorf("not all of them knew their pods after %s; one failed with: %s", plan.Timeout, deref(failure.Load()))
	}
	slices.Sort(took)
	n := len(took)
	report.P50, report.P99, report.Max = took[n/2], took[n*99/100], took[n-1]
	report.Failures, report.Failure = failures.Load(), deref(failure.Load())
	return report, nil
}

func deref(s *string) string {
	if s == nil {
		return "none failed"
	}
	return *s
}

type client struct {
	name, url string
	http      *http.Client
}

// watch asks for the pods of the node, says how many there are once it has been told
// that these are all, and stays until ctx ends or the watch does.
func (c *client) watch(ctx context.Context, synced func(pods int)) error {
	query := url.Values{
		"watch": {"true"}, "allowWatchBookmarks": {"true"}, "sendInitialEvents": {"true"}, "resourceVersionMatch": {"NotOlderThan"},
		"fieldSelector": {"spec.nodeName=" + c.name}, "timeoutSeconds": {"600"},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/api/v1/pods?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "kubelet/v1.37.2")
	r.Header.Set("Accept", "application/json")
	response, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(body))
	}
	pods := 0
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Type   string
			Object struct {
				Metadata struct{ Annotations map[string]string }
				Spec     struct{ NodeName string }
				Message  string
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return err
		}
		switch {
		case e.Type == "ADDED" && e.Object.Spec.NodeName == c.name:
			pods++
		case e.Type == "BOOKMARK" && e.Object.Metadata.Annotations["k8s.io/initial-events-end"] == "true":
			synced(pods)
		case e.Type == "BOOKMARK":
		default:
			return fmt.Errorf("an event of type %s of a pod on %q: %s", e.Type, e.Object.Spec.NodeName, e.Object.Message)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the watch has ended")
}

// issue signs the certificate of a node.
func issue(ca *tls.Certificate, node string) (tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, key.Public(), ca.PrivateKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

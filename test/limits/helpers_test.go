package limits

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/test/fixture"
	"github.com/asi-gateway/asi-gateway/test/limits/load"
)

// What tests say often.
var (
	must       = fixture.Must
	eventually = fixture.Eventually
	within     = fixture.Within
	pause      = fixture.Pause
)

// solo is the gateway with a store of its own; the test fails if it panicked.
func solo(t *testing.T) *fixture.Gateway {
	t.Helper()
	g := fixture.Shared(t, soloGateway)
	t.Cleanup(func() {
		if err := g.Panics(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// operator writes policies through a gateway, as an administrator with a client
// certificate.
type operator struct {
	t      *testing.T
	client *rest.RESTClient
}

func newOperator(t *testing.T, g *fixture.Gateway) *operator {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, v1alpha1.AddToScheme(scheme))
	config := g.RESTConfig()
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.UserAgent = "limits-operator"
	client, err := rest.RESTClientFor(config)
	must(t, err)
	return &operator{t, client}
}

// resources by kind.
var resources = map[string]string{"RateLimit": "ratelimits", "Switch": "switches", "ClientClass": "clientclasses"}

// apply makes a policy from YAML, which goes with the test.
func (o *operator) apply(kind, name, spec string) {
	o.t.Helper()
	must(o.t, o.tryApply(o.t.Context(), kind, name, spec))
	o.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := o.remove(ctx, kind, name); err != nil && !apierrors.IsNotFound(err) {
			o.t.Errorf("removing %s %s: %v", kind, name, err)
		}
	})
}

func (o *operator) tryApply(ctx context.Context, kind, name, spec string) error {
	body, err := yaml.YAMLToJSON([]byte(manifest(kind, name, spec)))
	if err != nil {
		return err
	}
	return o.client.Post().Resource(resources[kind]).Body(body).Do(ctx).Error()
}

// manifest is a policy with the given spec, a YAML flow mapping.
func manifest(kind, name, spec string) string {
	return fmt.Sprintf("apiVersion: gateway.asi.io/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", kind, name, spec)
}

func (o *operator) patch(ctx context.Context, kind, name, patch string) error {
	return o.client.Patch(types.MergePatchType).Resource(resources[kind]).Name(name).Body([]byte(patch)).Do(ctx).Error()
}

func (o *operator) remove(ctx context.Context, kind, name string) error {
	return o.client.Delete().Resource(resources[kind]).Name(name).Do(ctx).Error()
}

func (o *operator) get(ctx context.Context, kind, name string, into runtime.Object) error {
	return o.client.Get().Resource(resources[kind]).Name(name).Do(ctx).Into(into)
}

// limit makes a RateLimit and waits until all gateways have it in force.
func (o *operator) limit(name, spec string, gateways ...*fixture.Gateway) {
	o.t.Helper()
	o.apply("RateLimit", name, spec)
	for _, g := range gateways {
		awaitLimit(o.t, g, name)
	}
}

// awaitLimit waits until a gateway knows a limit, which its metrics tell without
// a token being spent.
func awaitLimit(t *testing.T, g *fixture.Gateway, name string) {
	t.Helper()
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		metrics, err := g.Metrics(ctx)
		if err != nil {
			return err
		}
		if _, ok := metrics[decision(name, "admitted")]; !ok {
			return fmt.Errorf("%s has no limit %s", g.Name(), name)
		}
		return nil
	})
}

// decision is the metric of what a limit has decided.
func decision(rule, what string) string {
	return fmt.Sprintf(`asi_gateway_limiter_decisions_total{decision=%q,rule=%q}`, what, rule)
}

func metric(t *testing.T, g *fixture.Gateway, name string) float64 {
	t.Helper()
	metrics, err := g.Metrics(within(t, 10*time.Second))
	must(t, err)
	return metrics[name]
}

// client sends raw requests to a gateway, as one user, from one address.
type client struct {
	http      *http.Client
	server    string
	userAgent string
	token     string
}

// adminClient is an administrator who calls himself something.
func adminClient(t *testing.T, g *fixture.Gateway, userAgent string) *client {
	t.Helper()
	return newClient(t, g.RESTConfig(), userAgent, "")
}

// newClient has a connection of its own: client-go shares them among equal
// configurations.
func newClient(t *testing.T, config *rest.Config, userAgent, from string) *client {
	t.Helper()
	config = rest.CopyConfig(config)
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	config.Dial = dialer.DialContext
	h, err := rest.HTTPClientFor(config)
	must(t, err)
	h.Timeout = 20 * time.Second
	t.Cleanup(h.CloseIdleConnections)
	return &client{http: h, server: config.Host, userAgent: userAgent}
}

// userConfig is the configuration of a user with a certificate of his own.
func userConfig(t *testing.T, g *fixture.Gateway, name string, groups ...string) *rest.Config {
	t.Helper()
	now := time.Now()
	cert, key, err := fixture.Shared(t, theCluster).IssueClientCert(name, groups, now.Add(-time.Minute), now.Add(time.Hour))
	must(t, err)
	config := rest.AnonymousClientConfig(g.RESTConfig())
	config.CertData, config.KeyData = cert, key
	return config
}

// answer is what a raw request got.
type answer struct {
	code   int
	header http.Header
	body   []byte
	status metav1.Status
}

// refusedBy is the policy that refused, "" if none did.
func (a *answer) refusedBy() string {
	if a == nil {
		return ""
	}
	return a.header.Get("X-Asi-Gateway-Refused-By")
}

func (c *client) request(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	// An empty one keeps net/http from sending its own.
	r.Header.Set("User-Agent", c.userAgent)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.http.Do(r)
}

// do sends a request and reads the answer.
func (c *client) do(ctx context.Context, method, path, body string) (*answer, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	response, err := c.request(ctx, method, path, reader)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a := &answer{code: response.StatusCode, header: response.Header}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		return nil, err
	}
	if a.code >= 400 {
		// Not every error of a kube-apiserver is a Status.
		_ = json.Unmarshal(a.body, &a.status)
	}
	return a, nil
}

func (c *client) mustDo(t *testing.T, method, path, body string) *answer {
	t.Helper()
	a, err := c.do(t.Context(), method, path, body)
	must(t, err)
	return a
}

// passes fails unless a request is answered with success.
func (c *client) passes(t *testing.T, method, path, body string) {
	t.Helper()
	if a := c.mustDo(t, method, path, body); a.code/100 != 2 {
		t.Errorf("%s %s by %s: %d %s", method, path, c.userAgent, a.code, a.status.Message)
	}
}

// refused fails unless a policy refuses a request.
func (c *client) refused(t *testing.T, policy string, code int, method, path, body string) *answer {
	t.Helper()
	a := c.mustDo(t, method, path, body)
	if a.code != code || a.refusedBy() != policy {
		t.Errorf("%s %s by %s: %d, refused by %q: %s; want %d by %s", method, path, c.userAgent, a.code, a.refusedBy(), a.status.Message, code, policy)
	}
	return a
}

// clientset goes to a gateway, or with an empty one to a kube-apiserver.
func clientset(t *testing.T, g *fixture.Gateway, userAgent string) *kubernetes.Clientset {
	t.Helper()
	c := fixture.Shared(t, theCluster)
	config := c.RESTConfig(c.Servers(cluster.GroupMain)[0])
	if g != nil {
		config = g.RESTConfig()
	}
	config.UserAgent = userAgent
	return kubernetesClient(t, config)
}

// newNamespace makes the test's own, past all gateways.
func newNamespace(t *testing.T) string {
	t.Helper()
	direct := clientset(t, nil, "limits-setup")
	n, err := direct.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "limits-"}}, metav1.CreateOptions{})
	must(t, err)
	return n.Name
}

// killAPIServers kills every kube-apiserver at once. They are back with the end
// of the test.
func killAPIServers(t *testing.T) {
	t.Helper()
	c := fixture.Shared(t, theCluster)
	var servers []*cluster.Process
	for _, p := range c.Processes() {
		if strings.HasPrefix(p.Name(), cluster.GroupMain+"-") {
			servers = append(servers, p)
		}
	}
	t.Cleanup(func() {
		for _, p := range servers {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := p.Start(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	for _, p := range servers {
		must(t, p.Kill())
	}
}

// sendLoad runs a plan, as the administrator, in a process of its own. It returns
// what that has used of a processor, too.
func sendLoad(t *testing.T, plan load.Plan) ([]load.Report, time.Duration) {
	t.Helper()
	reports, used, err := tryLoad(within(t, plan.Duration+time.Minute), fixture.Shared(t, theCluster), plan, fixture.Shared(t, loader))
	must(t, err)
	return reports, used
}

func tryLoad(ctx context.Context, c *cluster.Cluster, plan load.Plan, command ...string) ([]load.Report, time.Duration, error) {
	plan.CAFile = c.CAFile()
	plan.CertFile, plan.KeyFile = c.AdminFiles()
	input, err := json.Marshal(plan)
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, 0, err
	}
	var reports []load.Report
	err = json.Unmarshal(out, &reports)
	return reports, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), err
}

// logged returns the lines of a gateway's log that hold all the words.
func logged(t *testing.T, g *fixture.Gateway, words ...string) []string {
	t.Helper()
	text, err := os.ReadFile(g.LogFile())
	must(t, err)
	var found []string
	for line := range strings.Lines(string(text)) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

func kubernetesClient(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	k, err := kubernetes.NewForConfig(config)
	must(t, err)
	return k
}

// eventuallyMetric waits until a gateway's metric has a value.
func eventuallyMetric(t *testing.T, g *fixture.Gateway, name string, want float64) {
	t.Helper()
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		metrics, err := g.Metrics(ctx)
		if err == nil && metrics[name] != want {
			return fmt.Errorf("%s of %s is %v, want %v", name, g.Name(), metrics[name], want)
		}
		return err
	})
}

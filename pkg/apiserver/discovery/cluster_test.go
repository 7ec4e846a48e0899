package discovery_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	utilproto "k8s.io/kube-openapi/pkg/util/proto"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver/discovery"
)

const (
	v2          = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	swaggerType = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
)

// running is the cluster of all tests here.
var running struct {
	start func() (*cluster.Cluster, error)
	used  atomic.Pointer[cluster.Cluster]
}

func TestMain(m *testing.M) {
	// k8s.io/apiserver reports there what it serves.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	running.start = sync.OnceValues(func() (*cluster.Cluster, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
		defer cancel()
		c, err := cluster.Start(ctx, cluster.Options{
			MainServers: 1, BypassServers: -1,
			ExtraAPIServerArgs: []string{"--feature-gates=CBORServingAndStorage=true"},
		})
		running.used.Store(c)
		return c, err
	})
	code := m.Run()
	if c := running.used.Load(); c != nil {
		if err := c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

var errDown = errors.New("no apiserver can be reached")

// gateway is a proxy in front of a real apiserver that does with discovery what
// pkg/proxy does.
type gateway struct {
	*httptest.Server
	cluster *cluster.Cluster
	direct  *rest.Config
	down    atomic.Bool
	denied  atomic.Bool
	// asked counts requests for which authorisation was asked.
	asked    atomic.Int32
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	c, err := running.start()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{cluster: c, direct: c.RESTConfig(c.Servers(cluster.GroupMain)[0]), registry: prometheus.NewRegistry()}
	g.direct.QPS = -1
	transport, err := rest.TransportFor(g.direct)
	if err != nil {
		t.Fatal(err)
	}
	own := startOwn(t)
	core, logs := observer.New(zap.WarnLevel)
	g.logs = logs
	merger, err := discovery.New(discovery.Options{
		Own: own,
		Authorize: func(*http.Request) bool {
			g.asked.Add(1)
			return !g.denied.Load()
		},
		Log:      zap.New(core),
		Registry: g.registry,
		Clock:    clock.RealClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	upstream := func(r *http.Request) (*http.Response, error) {
		if g.down.Load() {
			return nil, errDown
		}
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host = "https", strings.TrimPrefix(g.direct.Host, "https://")
		out.Host, out.RequestURI = "", ""
		return transport.RoundTrip(out)
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var response *http.Response
		var err error
		switch {
		case strings.HasPrefix(r.URL.Path, "/apis/gateway.asi.io"), strings.HasPrefix(r.URL.Path, "/openapi/v3/apis/gateway.asi.io/"):
			own.ServeHTTP(w, r.WithContext(apirequest.WithUser(r.Context(), &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}})))
			return
		case merger.Wants(r):
			response, err = merger.Serve(r, upstream)
		default:
			response, err = upstream(r)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer response.Body.Close()
		maps.Copy(w.Header(), response.Header)
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}))
	t.Cleanup(g.Close)
	return g
}

// startOwn runs the gateway's own API server.
func startOwn(t *testing.T) http.Handler {
	t.Helper()
	server, err := apiserver.New(apiserver.Config{
		DataDir:    t.TempDir() + "/data",
		Authorizer: authorizerfactory.NewAlwaysDenyAuthorizer(),
		Log:        zap.NewNop(),
		Clock:      clock.RealClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the own API server: %v", err)
		}
	})
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := server.WaitReady(wait); err != nil {
		t.Fatal(err)
	}
	return server.Handler()
}

// config is that of a client of the gateway.
func (g *gateway) config() *rest.Config { return &rest.Config{Host: g.URL, QPS: -1} }

type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask asks the gateway; headers are names and values.
func (g *gateway) ask(t *testing.T, method, path string, headers ...string) answer {
	t.Helper()
	return ask(t, http.DefaultTransport, method, g.URL+path, headers...)
}

// askDirect asks the apiserver.
func (g *gateway) askDirect(t *testing.T, path string, headers ...string) answer {
	t.Helper()
	transport, err := rest.TransportFor(g.direct)
	if err != nil {
		t.Fatal(err)
	}
	return ask(t, transport, http.MethodGet, g.direct.Host+path, headers...)
}

func ask(t *testing.T, transport http.RoundTripper, method, url string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Otherwise the transport asks for gzip, and hides it.
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, body}
}

// codecs decode with the types of Kubernetes.
func codecs(t *testing.T) serializer.CodecFactory {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := apidiscoveryv2.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.APIGroupList{})
	return serializer.NewCodecFactory(scheme, serializer.WithSerializer(cbor.NewSerializerInfo))
}

func decodeAggregated(t *testing.T, body []byte) *apidiscoveryv2.APIGroupDiscoveryList {
	t.Helper()
	l := &apidiscoveryv2.APIGroupDiscoveryList{}
	if err := runtime.DecodeInto(codecs(t).UniversalDeserializer(), body, l); err != nil {
		t.Fatalf("%v in %.300q", err, body)
	}
	return l
}

func decodeLegacy(t *testing.T, body []byte) *metav1.APIGroupList {
	t.Helper()
	l := &metav1.APIGroupList{}
	if err := runtime.DecodeInto(codecs(t).UniversalDeserializer(), body, l); err != nil {
		t.Fatalf("%v in %.300q", err, body)
	}
	return l
}

// The own group stands behind all of the apiserver's, in all formats alike, and
// those are what they are without the gateway.
func TestGroupsAreTheSameInEveryFormat(t *testing.T) {
	g := newGateway(t)
	var aggregated *apidiscoveryv2.APIGroupDiscoveryList
	var legacy *metav1.APIGroupList
	for _, media := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"} {
		for _, profile := range []string{"", ";profile=nopeer"} {
			accept := media + v2 + profile
			before, after := g.askDirect(t, "/apis", "Accept", accept), g.ask(t, http.MethodGet, "/apis", "Accept", accept)
			if after.status != http.StatusOK || after.header.Get("Content-Type") != media+v2 {
				t.Fatalf("%s: status %d, content type %q", accept, after.status, after.header.Get("Content-Type"))
			}
			theirs, all := decodeAggregated(t, before.body), decodeAggregated(t, after.body)
			ours := all.Items[len(all.Items)-1]
			if ours.Name != v1alpha1.GroupName || ours.Versions[0].Freshness != apidiscoveryv2.DiscoveryFreshnessCurrent || len(ours.Versions[0].Resources) < 3 {
				t.Errorf("%s: the last group is %+v", accept, ours)
			}
			if !reflect.DeepEqual(theirs.Items, all.Items[:len(all.Items)-1]) {
				t.Errorf("%s: the apiserver's groups have changed", accept)
			}
			if aggregated == nil {
				aggregated = all
			} else if !reflect.DeepEqual(aggregated.Items, all.Items) {
				t.Errorf("%s says other than JSON", accept)
			}
		}
		before, after := g.askDirect(t, "/apis", "Accept", media), g.ask(t, http.MethodGet, "/apis/", "Accept", media)
		theirs, all := decodeLegacy(t, before.body), decodeLegacy(t, after.body)
		if n := len(all.Groups) - 1; all.Groups[n].Name != v1alpha1.GroupName || !reflect.DeepEqual(theirs.Groups, all.Groups[:n]) {
			t.Errorf("%s: groups are %+v", media, all.Groups)
		}
		if legacy == nil {
			legacy = all
		} else if !reflect.DeepEqual(legacy.Groups, all.Groups) {
			t.Errorf("%s says other than JSON", media)
		}
	}
	if n := g.logs.Len(); n > 0 {
		t.Errorf("%d warnings, first %v", n, g.logs.All()[0])
	}
	// People get it indented.
	curl := g.ask(t, http.MethodGet, "/apis", "User-Agent", "curl/8")
	if direct := g.askDirect(t, "/apis", "User-Agent", "curl/8"); !bytes.Contains(direct.body, []byte("{\n  \"kind\"")) ||
		!bytes.Contains(curl.body, []byte("\n    {\n      \"name\": \"gateway.asi.io\",\n")) {
		t.Errorf("not indented: %s", curl.body)
	}
}

func TestFormatsThatAnApiserverRefusesStayRefused(t *testing.T) {
	g := newGateway(t)
	for path, accept := range map[string]string{
		"/apis":       "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
		"/openapi/v2": "application/yaml",
	} {
		before, after := g.askDirect(t, path, "Accept", accept), g.ask(t, http.MethodGet, path, "Accept", accept)
		if after.status != http.StatusNotAcceptable || !bytes.Equal(before.body, after.body) {
			t.Errorf("%s as %s: status %d, %s", path, accept, after.status, after.body)
		}
	}
}

// An ETag of the gateway is good for a 304, any other is not.
func TestETagsOfMergedDocumentsRoundTrip(t *testing.T) {
	g := newGateway(t)
	for _, ask := range [][2]string{{"/apis", "application/json" + v2}, {"/apis", "application/vnd.kubernetes.protobuf" + v2}, {"/openapi/v2", "application/json"}, {"/openapi/v2", swaggerType}} {
		path, accept := ask[0], ask[1]
		first := g.ask(t, http.MethodGet, path, "Accept", accept)
		etag := first.header.Get("Etag")
		upstreams := g.askDirect(t, path, "Accept", accept).header.Get("Etag")
		if first.status != http.StatusOK || !strings.HasPrefix(etag, strings.TrimSuffix(upstreams, `"`)+"~asi-") || !strings.HasSuffix(etag, `"`) {
			t.Fatalf("%s: status %d, ETag %q, the apiserver's %q", path, first.status, etag, upstreams)
		}
		again := g.ask(t, http.MethodGet, path, "Accept", accept, "If-None-Match", etag)
		if again.status != http.StatusNotModified || len(again.body) > 0 || again.header.Get("Etag") != etag {
			t.Errorf("%s with its ETag: status %d, %d bytes, ETag %q", path, again.status, len(again.body), again.header.Get("Etag"))
		}
		among := g.ask(t, http.MethodGet, path, "Accept", accept, "If-None-Match", `"1", W/`+etag)
		if among.status != http.StatusNotModified {
			t.Errorf("%s with its ETag among others: status %d", path, among.status)
		}
		for _, other := range []string{upstreams, `"1"`, strings.Replace(etag, "~asi-", "~asi-0", 1), "*"} {
			if full := g.ask(t, http.MethodGet, path, "Accept", accept, "If-None-Match", other); full.status != http.StatusOK || !bytes.Equal(full.body, first.body) {
				t.Errorf("%s with ETag %.20s: status %d, %d bytes", path, other, full.status, len(full.body))
			}
		}
		since := g.ask(t, http.MethodGet, path, "Accept", accept, "If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), "Range", "bytes=0-10")
		if since.status != http.StatusOK || len(since.body) != len(first.body) {
			t.Errorf("%s in part: status %d, %d bytes", path, since.status, len(since.body))
		}
		head := g.ask(t, http.MethodHead, path, "Accept", accept)
		if head.status != http.StatusOK || head.header.Get("Etag") != etag || head.header.Get("Content-Length") != fmt.Sprint(len(first.body)) {
			t.Errorf("HEAD %s: status %d, %v", path, head.status, head.header)
		}
		if head := g.ask(t, http.MethodHead, path, "Accept", accept, "If-None-Match", etag); head.status != http.StatusNotModified {
			t.Errorf("HEAD %s with its ETag: status %d", path, head.status)
		}
	}
}

// What a client has from another gateway that has merged the same is good here,
// where nothing has been merged yet.
func TestETagsAreGoodAtOtherGateways(t *testing.T) {
	one, other := newGateway(t), newGateway(t)
	etag := one.ask(t, http.MethodGet, "/openapi/v2").header.Get("Etag")
	if again := other.ask(t, http.MethodGet, "/openapi/v2", "If-None-Match", etag); again.status != http.StatusNotModified {
		t.Errorf("status %d", again.status)
	}
}

func TestLargeDocumentsAreCompressedForWhoCanRead(t *testing.T) {
	g := newGateway(t)
	plain := g.ask(t, http.MethodGet, "/openapi/v2")
	if plain.header.Get("Content-Encoding") != "" {
		t.Errorf("nobody asked for %q", plain.header.Get("Content-Encoding"))
	}
	packed := g.ask(t, http.MethodGet, "/openapi/v2", "Accept-Encoding", "br;q=1, gzip;q=0.5")
	if packed.header.Get("Content-Encoding") != "gzip" || !slices.Contains(packed.header["Vary"], "Accept-Encoding") || len(packed.body) > len(plain.body)/5 {
		t.Fatalf("%d bytes, %v", len(packed.body), packed.header)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed.body))
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := io.ReadAll(reader); err != nil || !bytes.Equal(unpacked, plain.body) {
		t.Errorf("%d bytes instead of %d: %v", len(unpacked), len(plain.body), err)
	}
	for _, accept := range []string{"gzip;q=0", "identity", "gzipped"} {
		if a := g.ask(t, http.MethodGet, "/openapi/v2", "Accept-Encoding", accept); a.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %v", accept, a.header)
		}
	}
	if small := g.ask(t, http.MethodGet, "/apis", "Accept-Encoding", "gzip"); small.header.Get("Content-Encoding") != "" {
		t.Errorf("small: %v", small.header)
	}
}

func TestClientGoDiscoversEverything(t *testing.T) {
	g := newGateway(t)
	for _, legacy := range []bool{false, true} {
		direct := clientdiscovery.NewDiscoveryClientForConfigOrDie(g.direct)
		through := clientdiscovery.NewDiscoveryClientForConfigOrDie(g.config())
		direct.UseLegacyDiscovery, through.UseLegacyDiscovery = legacy, legacy
		wantGroups, wantResources, err := direct.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		groups, resources, err := through.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		if len(groups) != len(wantGroups)+1 || len(resources) != len(wantResources)+1 {
			t.Errorf("legacy %t: %d groups of %d, %d versions of %d", legacy, len(groups), len(wantGroups), len(resources), len(wantResources))
		}
		preferred, err := through.ServerPreferredResources()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, l := range preferred {
			for _, r := range l.APIResources {
				found[l.GroupVersion+" "+r.Name] = true
			}
		}
		for _, want := range []string{"v1 pods", "apps/v1 deployments", "gateway.asi.io/v1alpha1 ratelimits", "gateway.asi.io/v1alpha1 switches"} {
			if !found[want] {
				t.Errorf("legacy %t: no %s", legacy, want)
			}
		}
		if doc, err := through.OpenAPISchema(); err != nil || len(doc.GetDefinitions().GetAdditionalProperties()) < 500 {
			t.Errorf("OpenAPI v2: %v", err)
		}
		paths, err := through.OpenAPIV3().Paths()
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"apis/gateway.asi.io/v1alpha1", "apis/apps/v1", "api/v1"} {
			if paths[path] == nil {
				t.Fatalf("OpenAPI v3: no %s", path)
			}
			if schema, err := paths[path].Schema("application/json"); err != nil || len(schema) < 1000 {
				t.Errorf("OpenAPI v3 of %s: %d bytes, %v", path, len(schema), err)
			}
		}
	}
}

func TestKubectlKnowsOwnKindsAndOthers(t *testing.T) {
	g := newGateway(t)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"api-resources"}, []string{"ratelimits", "clientclasses", "deployments", "pods"}},
		{[]string{"api-versions"}, []string{"gateway.asi.io/v1alpha1", "apps/v1"}},
		{[]string{"explain", "ratelimits.spec"}, []string{"qps", "gateway.asi.io"}},
		{[]string{"explain", "deployments.spec.replicas"}, []string{"integer"}},
		{[]string{"explain", "--output=plaintext-openapiv2", "switches.spec"}, []string{"reason"}},
	} {
		args := append([]string{"--kubeconfig", "/dev/null", "--server", g.URL, "--cache-dir", t.TempDir()}, c.args...)
		out, err := exec.CommandContext(t.Context(), g.cluster.BinDir()+"/kubectl", args...).CombinedOutput()
		if err != nil {
			t.Errorf("kubectl %v: %v\n%s", c.args, err, out)
		}
		for _, want := range c.want {
			if !bytes.Contains(out, []byte(want)) {
				t.Errorf("kubectl %v does not say %q:\n%s", c.args, want, out)
			}
		}
	}
}

// Both encodings hold all that the apiserver's hold, unchanged, and definitions
// for all that the own paths refer to.
func TestOpenAPIv2HoldsBothSides(t *testing.T) {
	g := newGateway(t)
	type swagger struct {
		Paths       map[string]any
		Definitions map[string]any
	}
	var before, after swagger
	for doc, body := range map[*swagger][]byte{&before: g.askDirect(t, "/openapi/v2").body, &after: g.ask(t, http.MethodGet, "/openapi/v2").body} {
		if err := json.Unmarshal(body, doc); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range before.Definitions {
		if !reflect.DeepEqual(value, after.Definitions[name]) {
			t.Errorf("definition %s has changed", name)
		}
	}
	for name, value := range before.Paths {
		if !reflect.DeepEqual(value, after.Paths[name]) {
			t.Errorf("path %s has changed", name)
		}
	}
	own := "/apis/gateway.asi.io/v1alpha1/ratelimits"
	if after.Paths[own] == nil || after.Definitions["io.asi.gateway.v1alpha1.RateLimit"] == nil {
		t.Error("the own kinds are missing")
	}
	for name := range after.Paths {
		if before.Paths[name] == nil && !strings.HasPrefix(name, "/apis/gateway.asi.io/") {
			t.Errorf("path %s is new", name)
		}
	}

	packed := g.ask(t, http.MethodGet, "/openapi/v2", "Accept", swaggerType)
	var doc openapi_v2.Document
	if err := proto.Unmarshal(packed.body, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Paths.Path) != len(after.Paths) || len(doc.Definitions.AdditionalProperties) != len(after.Definitions) {
		t.Errorf("protobuf has %d paths and %d definitions, JSON %d and %d",
			len(doc.Paths.Path), len(doc.Definitions.AdditionalProperties), len(after.Paths), len(after.Definitions))
	}
	for _, named := range doc.Paths.Path {
		if after.Paths[named.Name] == nil {
			t.Errorf("only protobuf has path %s", named.Name)
		}
	}
	// Resolves every reference.
	models, err := utilproto.NewOpenAPIData(&doc)
	if err != nil {
		t.Fatal(err)
	}
	if models.LookupModel("io.asi.gateway.v1alpha1.RateLimit") == nil {
		t.Error("no model of a RateLimit")
	}
}

// Whoever may not see a document does not see the gateway's copy of it either.
func TestDeniedClientsStayDenied(t *testing.T) {
	g := newGateway(t)
	anonymous := []string{"Impersonate-User", "system:anonymous", "Impersonate-Group", "system:unauthenticated"}
	for path, accept := range map[string]string{"/apis": "application/json" + v2, "/openapi/v2": "application/json", "/openapi/v3": "*/*"} {
		allowed := g.ask(t, http.MethodGet, path, "Accept", accept)
		if allowed.status != http.StatusOK {
			t.Fatalf("%s: status %d", path, allowed.status)
		}
		for _, etag := range []string{"", allowed.header.Get("Etag")} {
			a := g.ask(t, http.MethodGet, path, append([]string{"Accept", accept, "If-None-Match", etag}, anonymous...)...)
			if a.status != http.StatusForbidden || bytes.Contains(a.body, []byte(v1alpha1.GroupName)) {
				t.Errorf("%s: status %d, %.200s", path, a.status, a.body)
			}
		}
	}
}

// While no apiserver answers, everything but the own group is stale, and no
// format says less than that.
func TestOutage(t *testing.T) {
	g := newGateway(t)
	accepts := []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"}
	for _, media := range accepts {
		g.ask(t, http.MethodGet, "/apis", "Accept", media+v2)
		g.ask(t, http.MethodGet, "/apis", "Accept", media)
	}
	etag := g.ask(t, http.MethodGet, "/apis", "Accept", "application/json"+v2).header.Get("Etag")
	g.ask(t, http.MethodGet, "/openapi/v2")
	g.ask(t, http.MethodGet, "/openapi/v3")
	want := decodeAggregated(t, g.ask(t, http.MethodGet, "/apis", "Accept", "application/json"+v2).body)
	if g.asked.Load() > 0 {
		t.Error("authorisation was asked while the apiserver answered")
	}

	g.down.Store(true)
	for _, media := range accepts {
		// What client-go sends: aggregated before legacy.
		a := g.ask(t, http.MethodGet, "/apis", "Accept", media+v2+","+media, "If-None-Match", etag)
		if a.status != http.StatusOK || a.header.Get("Etag") != "" || a.header.Get("Content-Type") != media+v2 {
			t.Fatalf("%s: status %d, %v", media, a.status, a.header)
		}
		l := decodeAggregated(t, a.body)
		if len(l.Items) != len(want.Items) {
			t.Fatalf("%s: %d groups of %d", media, len(l.Items), len(want.Items))
		}
		for i, group := range l.Items {
			fresh := group.Name == v1alpha1.GroupName
			if group.Name != want.Items[i].Name || len(group.Versions) != len(want.Items[i].Versions) {
				t.Errorf("%s: group %s has changed", media, group.Name)
			}
			for j, version := range group.Versions {
				if (version.Freshness == apidiscoveryv2.DiscoveryFreshnessCurrent) != fresh || !reflect.DeepEqual(version.Resources, want.Items[i].Versions[j].Resources) {
					t.Errorf("%s: %s/%s is %s", media, group.Name, version.Version, version.Freshness)
				}
			}
		}
		_, resources, failed := clientdiscovery.SplitGroupsAndResources(*l)
		if len(resources) != 1 || len(failed) < 15 {
			t.Errorf("%s: client-go sees %d versions and %d failures", media, len(resources), len(failed))
		}
		if a := g.ask(t, http.MethodGet, "/apis", "Accept", media); a.status != http.StatusServiceUnavailable {
			t.Errorf("unaggregated %s: status %d", media, a.status)
		}
	}
	if a := g.ask(t, http.MethodHead, "/apis", "Accept", "application/json"+v2); a.status != http.StatusOK || len(a.body) > 0 {
		t.Errorf("HEAD: status %d", a.status)
	}
	for path, accept := range map[string]string{
		"/openapi/v2": "application/json",
		"/openapi/v3": "application/json",
		"/apis":       "application/json" + v2 + ";profile=nopeer", // not asked for before
	} {
		if a := g.ask(t, http.MethodGet, path, "Accept", accept); a.status != http.StatusServiceUnavailable {
			t.Errorf("%s as %s: status %d", path, accept, a.status)
		}
	}
	g.denied.Store(true)
	if a := g.ask(t, http.MethodGet, "/apis", "Accept", "application/json"+v2); a.status != http.StatusServiceUnavailable {
		t.Errorf("a client that nobody allows: status %d", a.status)
	}
	g.down.Store(false)
	if a := g.ask(t, http.MethodGet, "/apis", "Accept", "application/json"+v2, "If-None-Match", etag); a.status != http.StatusNotModified {
		t.Errorf("after the outage: status %d", a.status)
	}
}

// An APIService for the own group has the apiserver list it. It is there once,
// as the gateway knows it, in the apiserver's order.
func TestOwnGroupReplacesTheOneOfAnAPIService(t *testing.T) {
	g := newGateway(t)
	client := dynamic.NewForConfigOrDie(g.direct).Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": "v1alpha1.gateway.asi.io"},
		"spec": map[string]any{
			"group": v1alpha1.GroupName, "version": "v1alpha1", "insecureSkipTLSVerify": true,
			"groupPriorityMinimum": int64(20000), "versionPriority": int64(10),
			"service": map[string]any{"namespace": "default", "name": "absent"},
		},
	}}
	if _, err := client.Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Delete(context.Background(), service.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		waitFor(t, func() bool {
			return !listed(g.askDirect(t, "/apis")) && !listed(g.askDirect(t, "/apis", "Accept", "application/json"+v2))
		})
	})
	waitFor(t, func() bool {
		return listed(g.askDirect(t, "/apis")) && listed(g.askDirect(t, "/apis", "Accept", "application/json"+v2))
	})
	for _, media := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"} {
		before := decodeAggregated(t, g.askDirect(t, "/apis", "Accept", media+v2).body)
		after := decodeAggregated(t, g.ask(t, http.MethodGet, "/apis", "Accept", media+v2).body)
		if len(before.Items) != len(after.Items) {
			t.Fatalf("%s: %d groups became %d", media, len(before.Items), len(after.Items))
		}
		for i := range before.Items {
			if before.Items[i].Name != after.Items[i].Name {
				t.Errorf("%s: the order has changed at %s", media, after.Items[i].Name)
			}
			if after.Items[i].Name == v1alpha1.GroupName && after.Items[i].Versions[0].Freshness != apidiscoveryv2.DiscoveryFreshnessCurrent {
				t.Errorf("%s: the apiserver's view counts", media)
			}
		}
		if b, a := decodeLegacy(t, g.askDirect(t, "/apis", "Accept", media).body), decodeLegacy(t, g.ask(t, http.MethodGet, "/apis", "Accept", media).body); len(a.Groups) != len(b.Groups) {
			t.Errorf("unaggregated %s: %d groups became %d", media, len(b.Groups), len(a.Groups))
		}
	}
}

func listed(a answer) bool { return bytes.Contains(a.body, []byte(v1alpha1.GroupName)) }

// waitFor waits for what an apiserver does by and by.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatal("it does not happen")
		case <-tick.C:
		}
	}
}

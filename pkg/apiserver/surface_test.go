package apiserver

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

// printed is a table as kubectl prints it.
func printed(t *testing.T, a answer, wideToo bool) string {
	t.Helper()
	var table metav1.Table
	a.into(t, &table)
	if table.Kind != "Table" {
		t.Fatalf("no table: %s", a.body)
	}
	var out strings.Builder
	line := func(cell func(i int) any) {
		for i, c := range table.ColumnDefinitions {
			if c.Priority > 0 && !wideToo {
				continue
			}
			if s, ok := cell(i).(string); ok {
				out.WriteString(s)
			} else {
				out.WriteString("#")
			}
			out.WriteString("|")
		}
		out.WriteString("\n")
	}
	line(func(i int) any { return strings.ToUpper(table.ColumnDefinitions[i].Name) })
	for _, row := range table.Rows {
		line(func(i int) any {
			if table.ColumnDefinitions[i].Name == "Age" {
				return "age"
			}
			return row.Cells[i]
		})
	}
	return out.String()
}

func TestTables(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Live = counters{} })
	create := func(resource string, o *unstructured.Unstructured) {
		t.Helper()
		if _, err := objects(t, f.as("jane", user.SystemPrivilegedGroup), resource).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("ratelimits", rateLimitNamed("plain"))
	create("ratelimits", object("RateLimit", "rich", map[string]any{
		"qps": "2500m", "qpsPerNode": "0.1", "burst": int64(10), "maxInFlight": int64(3), "per": []any{"User", "Namespace"}, "mode": "DryRun",
		"match": map[string]any{
			"clients":  map[string]any{"userAgents": []any{"csi-*", ""}, "priorities": []any{"P3"}},
			"requests": []any{map[string]any{"verbs": []any{"list"}, "resources": []any{"pods", "nodes", "secrets", "events"}}},
		},
	}))
	create("clientclasses", object("ClientClass", "observers", map[string]any{"priority": "P3", "reads": map[string]any{"mode": "Relaxed"}, "precedence": int64(5)}))
	create("switches", switchNamed("moving"))
	create("switches", forceNamed("shift", "bypass"))
	create("switches", object("Switch", "shed", map[string]any{"type": "ShedPriority", "shedPriority": map[string]any{"priority": "P3"}, "reason": "etcd is slow"}))
	create("upstreamgroups", upstreamGroupNamed("main"))
	create("upstreamgroups", object("UpstreamGroup", "bypass", map[string]any{
		"servers": []any{map[string]any{"url": "https://10.0.1.1:6443", "weight": int64(3)}, map[string]any{"url": "https://10.0.1.2:6443"}},
		"qps":     "500", "maxInFlight": int64(200), "shedding": "Never",
	}))
	create("routes", routeNamed("all"))
	create("routes", object("Route", "canary", map[string]any{
		"groups": []any{"canary"}, "spill": []any{"main"}, "share": int64(5), "precedence": int64(10), "header": map[string]any{"name": "X-Canary", "values": []any{"yes"}},
		"match": map[string]any{"clients": map[string]any{"classes": []any{"platform"}}, "requests": []any{map[string]any{"verbs": []any{"get"}, "resources": []any{"pods"}}}},
	}))
	create("cachedresources", cachedResourceNamed("pods"))
	create("cachedresources", object("CachedResource", "jobs", map[string]any{
		"group": "batch", "resource": "jobs", "verbs": []any{"list"}, "labelIndexes": []any{"app"}, "fieldIndexes": []any{"status.successful"}, "history": int64(100), "compressAbove": "0",
	}))
	status := `{"status":{"observedGeneration":1,"conditions":[{"type":"Active","status":"True","reason":"InForce","message":"","lastTransitionTime":"2026-11-23T12:00:00Z"}]}}`
	do(t, f.admin(), "PATCH", base+"ratelimits/plain/status", status, "Content-Type", "application/merge-patch+json").into(t, &struct{}{})

	f.clock.SetTime(now.Add(18 * time.Minute))
	for path, want := range map[string]string{
		"ratelimits": "NAME|MODE|QPS|PER-NODE|BURST|INFLIGHT|PER|SCOPE|ACTIVE|AGE|\n" +
			"plain|Enforce|5|<none>|<none>|<none>|<none>|Replica|True|age|\n" +
			"rich|DryRun|2500m|100m|10|3|User,Namespace|Replica|Unknown|age|\n",
		"clientclasses":           "NAME|PRIORITY|PRECEDENCE|READS|ACTIVE|AGE|\nobservers|P3|#|Relaxed 5s|Unknown|age|\n",
		"clientclasses/observers": "NAME|PRIORITY|PRECEDENCE|READS|ACTIVE|AGE|\nobservers|P3|#|Relaxed 5s|Unknown|age|\n",
		"switches": "NAME|TYPE|EXPIRES|BY|REASON|AGE|\n" +
			"moving|ReadOnly|42m|jane|storage is being moved|age|\n" +
			"shed|ShedPriority P3|42m|jane|etcd is slow|age|\n" +
			"shift|ForceGroup bypass|42m|jane|main is being upgraded|age|\n",
		"upstreamgroups": "NAME|SERVERS|QPS|INFLIGHT|SHEDDING|ACTIVE|AGE|\n" +
			"bypass|#|500|200|Never|Unknown|age|\n" +
			"main|#|<none>|<none>|Auto|Unknown|age|\n",
		"routes": "NAME|PRECEDENCE|GROUPS|SPILL|SHARE|ACTIVE|AGE|\n" +
			"all|#|main,bypass|<none>|100%|Unknown|age|\n" +
			"canary|#|canary|main|5%|Unknown|age|\n",
		"cachedresources": "NAME|RESOURCE|VERSION|VERBS|ACTIVE|AGE|\n" +
			"jobs|jobs.batch|v1|list|Unknown|age|\n" +
			"pods|pods|v1|get,list,watch|Unknown|age|\n",
		"cachedresources/pods/live": "REPLICA|ENCODING|READY|OBJECTS|BYTES|MEMORY|RESOURCE-VERSION|WATCHERS|REASON|\n" +
			"a|<none>|false|#|#|#|<none>|#|it is about to be read|\n" +
			"b|JSON|true|#|#|#|77|#|connection refused|\n" +
			"b|Protobuf|true|#|#|#|78|#|<none>|\n",
		"ratelimits/plain/live": "REPLICA|RATE|ADMITTED/S|REFUSED/S|ADMITTED|REFUSED|INFLIGHT|BUCKETS|\na|5|4500m|1|#|#|#|#|\nb|5|0|0|#|#|#|#|\n",
		"upstreamgroups/main/live": "REPLICA|SERVER|HEALTH|VERSION|LATENCY|INFLIGHT|LONGRUNNING|REQUESTS|FAILURES|\n" +
			"a|https://10.0.0.1:6443|Down|<none>|0s|#|#|#|#|\n" +
			"a|https://10.0.0.2:6443|Ready|v1.37.2|3ms|#|#|#|#|\n" +
			"b|https://10.0.0.1:6443|Ready|v1.37.2|2ms|#|#|#|#|\n",
	} {
		if got := printed(t, do(t, f.admin(), "GET", base+path, "", "Accept", asTable), false); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"ratelimits/rich":       `|list|pods,nodes,secrets,+1|agent=csi-*,"" priority=P3|`,
		"upstreamgroups/bypass": `|https://10.0.1.1:6443*3,https://10.0.1.2:6443|`,
		"routes/canary":         `|get|pods|class=platform|X-Canary=yes|`,
		"cachedresources/jobs":  `|app|status.successful|0|100|`,
	} {
		if wide := printed(t, do(t, f.admin(), "GET", base+path, "", "Accept", asTable), true); !strings.HasSuffix(wide, want+"\n") {
			t.Errorf("wide:\n%s", wide)
		}
	}
	f.clock.SetTime(now.Add(time.Hour))
	if got := printed(t, do(t, f.admin(), "GET", base+"switches", "", "Accept", asTable), false); !strings.Contains(got, "|expired|") {
		t.Errorf("after its time:\n%s", got)
	}
}

// counters answers for two replicas, in no order.
type counters struct{}

func (counters) Live(_ context.Context, name string) ([]v1alpha1.LimitCounters, error) {
	if name == "broken" {
		return nil, apierrors.NewServiceUnavailable("no replica answers")
	}
	return []v1alpha1.LimitCounters{
		{Name: "b", Rate: resource.MustParse("5")},
		{Name: "a", Rate: resource.MustParse("5"), Admitted: 90, AdmittedPerSecond: resource.MustParse("4.5"), RefusedPerSecond: resource.MustParse("1")},
	}, nil
}

// Groups answers for two replicas, in no order.
func (counters) Groups(_ context.Context, name string) ([]v1alpha1.GroupState, error) {
	if name == "broken" {
		return nil, apierrors.NewServiceUnavailable("no replica answers")
	}
	server := func(url string, health v1alpha1.EndpointHealth, version string, latency time.Duration) v1alpha1.EndpointState {
		return v1alpha1.EndpointState{URL: url, Health: health, Version: version, Latency: metav1.Duration{Duration: latency}, Requests: 7}
	}
	return []v1alpha1.GroupState{
		{Name: "b", Endpoints: []v1alpha1.EndpointState{server("https://10.0.0.1:6443", v1alpha1.EndpointReady, "v1.37.2", 2*time.Millisecond)}},
		{Name: "a", Shedding: v1alpha1.PriorityP3, Endpoints: []v1alpha1.EndpointState{
			server("https://10.0.0.1:6443", v1alpha1.EndpointDown, "", 0),
			server("https://10.0.0.2:6443", v1alpha1.EndpointReady, "v1.37.2", 3*time.Millisecond),
		}},
	}, nil
}

// Caches answers for two replicas, in no order.
func (counters) Caches(_ context.Context, name string) ([]v1alpha1.CacheState, error) {
	if name == "broken" {
		return nil, apierrors.NewServiceUnavailable("no replica answers")
	}
	return []v1alpha1.CacheState{
		{Name: "b", Encodings: []v1alpha1.CachedEncoding{
			{Encoding: v1alpha1.EncodingJSON, Ready: true, Objects: 3, ResourceVersion: "77", LastError: "connection refused"},
			{Encoding: v1alpha1.EncodingProtobuf, Ready: true, Objects: 3, ResourceVersion: "78", Following: true, LastError: "connection refused"},
		}},
		{Name: "a", Reason: "it is about to be read"},
	}, nil
}

func TestLiveStatesOfACachedResource(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Live = counters{} })
	for _, name := range []string{"here", "broken"} {
		if _, err := objects(t, f.admin(), "cachedresources").Create(t.Context(), cachedResourceNamed(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var live v1alpha1.CachedResourceLive
	do(t, f.admin(), "GET", base+"cachedresources/here/live", "").into(t, &live)
	if live.Kind != "CachedResourceLive" || live.Name != "here" || len(live.Replicas) != 2 || live.Replicas[0].Reason == "" || live.Replicas[1].Encodings[0].Objects != 3 {
		t.Errorf("%+v", live)
	}
	for path, code := range map[string]int{"gone": 404, "broken": 503} {
		if a := do(t, f.admin(), "GET", base+"cachedresources/"+path+"/live", ""); a.code != code {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
}

func TestLiveStatesOfAGroup(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Live = counters{} })
	for _, name := range []string{"here", "broken"} {
		if _, err := objects(t, f.admin(), "upstreamgroups").Create(t.Context(), upstreamGroupNamed(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var live v1alpha1.UpstreamGroupLive
	do(t, f.admin(), "GET", base+"upstreamgroups/here/live", "").into(t, &live)
	if live.Kind != "UpstreamGroupLive" || live.Name != "here" || len(live.Replicas) != 2 || live.Replicas[0].Shedding != v1alpha1.PriorityP3 ||
		live.Replicas[1].Endpoints[0].Requests != 7 {
		t.Errorf("%+v", live)
	}
	for path, code := range map[string]int{"gone": 404, "broken": 503} {
		if a := do(t, f.admin(), "GET", base+"upstreamgroups/"+path+"/live", ""); a.code != code {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	if a := do(t, f.admin(), "PUT", base+"upstreamgroups/here/live", "{}"); a.code != 405 {
		t.Errorf("live was written: %d", a.code)
	}
	// A route has no state of its own.
	if a := do(t, f.admin(), "GET", base+"routes/here/live", ""); a.code != 404 {
		t.Errorf("live of a route: %d", a.code)
	}
}

func TestLiveCounters(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Live = counters{} })
	for _, name := range []string{"here", "broken"} {
		if _, err := objects(t, f.admin(), "ratelimits").Create(t.Context(), rateLimitNamed(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var live v1alpha1.RateLimitLive
	do(t, f.admin(), "GET", base+"ratelimits/here/live", "").into(t, &live)
	if live.Kind != "RateLimitLive" || live.Name != "here" || len(live.Replicas) != 2 || live.Replicas[0].Admitted != 90 {
		t.Errorf("%+v", live)
	}
	if a := do(t, f.admin(), "GET", base+"ratelimits/gone/live", ""); a.code != 404 {
		t.Errorf("live of what does not exist: %d", a.code)
	}
	if a := do(t, f.admin(), "GET", base+"ratelimits/broken/live", ""); a.code != 503 {
		t.Errorf("live when nobody answers: %d %s", a.code, a.body)
	}
	if a := do(t, f.admin(), "PUT", base+"ratelimits/here/live", "{}"); a.code != 405 {
		t.Errorf("live was written: %d", a.code)
	}
}

func TestEncodings(t *testing.T) {
	f := newFixture(t, nil)
	const protobuf = "application/vnd.kubernetes.protobuf"
	// The Status itself is in protobuf.
	if a := do(t, f.admin(), "GET", base+"ratelimits", "", "Accept", protobuf); a.code != 406 {
		t.Errorf("protobuf alone: %s", a.body)
	}
	if a := do(t, f.admin(), "GET", base+"ratelimits", "", "Accept", protobuf+",application/json"); a.code != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("protobuf or JSON: %d, %s", a.code, a.header.Get("Content-Type"))
	}
	if s := do(t, f.admin(), "POST", base+"ratelimits", "k8s\x00", "Content-Type", protobuf); s.status(t).Code != 415 {
		t.Errorf("protobuf sent: %s", s.body)
	}
	large := `{"apiVersion":"gateway.asi.io/v1alpha1","kind":"RateLimit","metadata":{"name":"large","annotations":{"a":"` + strings.Repeat("x", maxBodyBytes) + `"}},"spec":{"qps":1}}`
	if s := do(t, f.admin(), "POST", base+"ratelimits", large); s.status(t).Code != 413 {
		t.Errorf("a large one: %s", s.body)
	}
	yaml := "apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata: {name: written}\nspec: {qps: 3}\n"
	if a := do(t, f.admin(), "POST", base+"ratelimits", yaml, "Content-Type", "application/yaml"); a.code != 201 {
		t.Errorf("YAML: %d %s", a.code, a.body)
	}
}

func TestOpenAPIExplainsFields(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Live = counters{} })
	client, err := discovery.NewDiscoveryClientForConfig(f.admin())
	if err != nil {
		t.Fatal(err)
	}
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	document := paths["apis/gateway.asi.io/v1alpha1"]
	if document == nil {
		t.Fatalf("no document of the group in %v", paths)
	}
	schema, err := document.Schema("application/json")
	if err != nil {
		t.Fatal(err)
	}
	type reference struct {
		Ref   string `json:"$ref"`
		AllOf []struct {
			Ref string `json:"$ref"`
		}
	}
	// follow returns the name of the schema that a field or its items have.
	follow := func(to reference) string {
		for _, one := range to.AllOf {
			to.Ref = one.Ref
		}
		return strings.TrimPrefix(to.Ref, "#/components/schemas/")
	}
	var found struct {
		Components struct {
			Schemas map[string]struct {
				GVK        []metav1.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
				Properties map[string]struct {
					reference
					Description string
					Items       reference
				}
			}
		}
	}
	answer{200, nil, schema}.into(t, &found)
	schemas := found.Components.Schemas
	// As kubectl explain ratelimits.spec.match goes.
	type step struct{ field, description string }
	for kind, steps := range map[string][]step{
		"RateLimit": {
			{"spec", "what may pass"}, {"match", "selects the requests that are counted"}, {"clients", "who sends the request"}, {"userAgents", "patterns for the client's name"},
		},
		"Switch":             {{"spec", "what stops"}, {"forceGroup", "sends requests to one group"}, {"group", "name of the UpstreamGroup"}},
		"UpstreamGroup":      {{"spec", "which servers there are"}, {"servers", "are the kube-apiservers"}, {"weight", "its part of the requests"}},
		"UpstreamGroupLive":  {{"replicas", "the views of each gateway replica"}, {"endpoints", "its servers"}, {"health", "whether it gets requests"}},
		"CachedResource":     {{"spec", "what is kept in memory"}, {"labelIndexes", "labels by which objects are found"}},
		"CachedResourceLive": {{"replicas", "the caches of each gateway replica"}, {"encodings", "the encodings that the resource is kept in"}, {"since", "when that changed last"}},
		"Route":              {{"spec", "who serves what"}, {"header", "the requests with a header"}, {"values", "any of them"}},
	} {
		at := schemas["io.asi.gateway.v1alpha1."+kind]
		if len(at.GVK) != 1 || at.GVK[0].Version != "v1alpha1" {
			t.Errorf("kinds of %s: %v", kind, at.GVK)
		}
		for _, step := range steps {
			p := at.Properties[step.field]
			if !strings.Contains(p.Description, step.description) {
				t.Errorf("%s: %s is described as %q", kind, step.field, p.Description)
			}
			at = schemas[cmp.Or(follow(p.reference), follow(p.Items))]
		}
	}
	v2, err := client.OpenAPISchema()
	if err != nil || !strings.Contains(v2.String(), "io.asi.gateway.v1alpha1.SwitchSpec") {
		t.Errorf("OpenAPI v2: %v", err)
	}
}

func TestDiscovery(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Live = counters{} })
	client, err := discovery.NewDiscoveryClientForConfig(f.admin())
	if err != nil {
		t.Fatal(err)
	}
	groups, resources, err := client.ServerGroupsAndResources()
	// /api is not served here; the gateway merges what both have.
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if len(groups) != 1 || len(resources) != 1 {
		t.Fatalf("%v, %v", groups, resources)
	}
	got := map[string]metav1.APIResource{}
	for _, r := range resources[0].APIResources {
		got[r.Name] = r
	}
	for name, short := range map[string]string{"ratelimits": "rl", "clientclasses": "cc", "switches": "sw", "upstreamgroups": "ug", "routes": "rt", "cachedresources": "cached"} {
		r := got[name]
		if r.Namespaced || len(r.ShortNames) != 1 || r.ShortNames[0] != short || len(r.Categories) != 1 || r.Categories[0] != "asi" {
			t.Errorf("%s: %+v", name, r)
		}
		if got[name+"/status"].Kind != r.Kind {
			t.Errorf("%s has no status", name)
		}
	}
	for name, kind := range map[string]string{"ratelimits/live": "RateLimitLive", "upstreamgroups/live": "UpstreamGroupLive", "cachedresources/live": "CachedResourceLive"} {
		if got[name].Kind != kind {
			t.Errorf("%s: %+v", name, got[name])
		}
	}
	aggregated := do(t, f.admin(), "GET", "/apis", "", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	if aggregated.code != 200 || !strings.Contains(string(aggregated.body), `"APIGroupDiscoveryList"`) || !strings.Contains(string(aggregated.body), `"ratelimits"`) {
		t.Errorf("aggregated: %d %s", aggregated.code, aggregated.body)
	}
	for _, path := range []string{"/", "/api", "/version", "/metrics", "/healthz", "/readyz", "/livez", "/apis/apps/v1", "/apis/gateway.asi.iox", "/debug/pprof"} {
		if s := do(t, f.admin(), "GET", path, ""); s.status(t).Code != 404 {
			t.Errorf("%s: %d", path, s.code)
		}
	}
}

func impersonating(c *rest.Config, name string, groups ...string) *rest.Config {
	c = rest.CopyConfig(c)
	c.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: groups}
	return c
}

func TestAuthorization(t *testing.T) {
	f := newFixture(t, nil)
	f.rules.set(func(a authorizer.Attributes) (bool, error) {
		switch a.GetUser().GetName() {
		case "reader":
			return a.IsReadOnly() && a.GetResource() == "ratelimits", nil
		case "lead":
			return a.GetVerb() == "impersonate" && a.GetResource() == "users" && a.GetName() == "reader", nil
		}
		return false, nil
	})
	list := func(c *rest.Config, resource string) int32 {
		t.Helper()
		a := do(t, c, "GET", base+resource, "")
		if a.code == 200 {
			return 200
		}
		return a.status(t).Code
	}
	anonymous := &rest.Config{Host: f.front.URL}
	for name, c := range map[string]struct {
		config   *rest.Config
		resource string
		code     int32
	}{
		"allowed":                      {f.as("reader"), "ratelimits", 200},
		"not allowed that resource":    {f.as("reader"), "switches", 403},
		"nobody":                       {f.as("stranger"), "ratelimits", 403},
		"anonymous":                    {anonymous, "ratelimits", 403},
		"masters":                      {f.admin(), "switches", 200},
		"in-process":                   {f.ClientConfig(), "switches", 200},
		"as an allowed one":            {impersonating(f.as("lead"), "reader"), "ratelimits", 200},
		"as one who is not allowed":    {impersonating(f.as("lead"), "reader"), "switches", 403},
		"as one not to be":             {impersonating(f.as("lead"), "admin"), "ratelimits", 403},
		"as a master":                  {impersonating(f.as("lead"), "reader", user.SystemPrivilegedGroup), "ratelimits", 403},
		"a master as less than that":   {impersonating(f.admin(), "stranger"), "ratelimits", 403},
		"a master as somebody allowed": {impersonating(f.admin(), "reader"), "ratelimits", 200},
	} {
		if code := list(c.config, c.resource); code != c.code {
			t.Errorf("%s: %d, want %d", name, code, c.code)
		}
	}
	for _, a := range f.rules.asked {
		if u := a.GetUser(); u.GetName() == "admin" || u.GetName() == LoopbackUser {
			t.Errorf("the authorizer was asked about a master: %s", a.GetVerb())
		}
	}
	// Who may write must not be able to write as a side effect of who may not.
	_, err := objects(t, f.as("reader"), "ratelimits").Create(t.Context(), rateLimitNamed("r"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("created by a reader: %v", err)
	}
	lines := f.logs.FilterMessage("policy write").All()
	if len(lines) != 1 || lines[0].ContextMap()["code"] != int64(403) || lines[0].ContextMap()["user"] != "reader" {
		t.Errorf("the refused write in the log: %v", lines)
	}
	if _, err := objects(t, impersonating(f.admin(), "other", user.SystemPrivilegedGroup), "ratelimits").Create(t.Context(), rateLimitNamed("r"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	line := f.logs.FilterMessage("policy write").All()[1].ContextMap()
	if line["user"] != "admin" || line["as"] != "other" {
		t.Errorf("an impersonated write in the log: %v", line)
	}
}

func TestMastersGetInWithoutTheAuthorizer(t *testing.T) {
	f := newFixture(t, nil)
	f.rules.set(func(authorizer.Attributes) (bool, error) { return false, errors.New("connection refused") })
	if _, err := objects(t, f.admin(), "switches").Create(t.Context(), switchNamed("s"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]*rest.Config{
		"another user":             f.as("jane"),
		"anonymous":                {Host: f.front.URL},
		"another user as a third":  impersonating(f.as("jane"), "reader"),
		"a master as another user": impersonating(f.admin(), "reader"),
	} {
		a := do(t, c, "GET", base+"switches", "")
		s := a.status(t)
		if s.Code != 503 || s.Reason != metav1.StatusReasonServiceUnavailable || !strings.Contains(s.Message, "system:masters") || a.header.Get("Retry-After") != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	f := newFixture(t, nil)
	blocked, free := make(chan struct{}, maxInFlight), make(chan struct{})
	slow := authorizer.AuthorizerFunc(func(ctx context.Context, _ authorizer.Attributes) (authorizer.Decision, string, error) {
		blocked <- struct{}{}
		<-free
		return authorizer.DecisionDeny, "", nil
	})
	codecs := statusCodecs()
	f.current.Store(&api{handler: chain(http.NotFoundHandler(), f.config, newJudge(slow), codecs)})
	done := make(chan int, maxInFlight)
	for range maxInFlight {
		go func() {
			r, _ := http.NewRequest("GET", f.front.URL+base+"ratelimits", nil)
			r.Header.Set("Test-User", "jane")
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				done <- 0
				return
			}
			_ = response.Body.Close()
			done <- response.StatusCode
		}()
	}
	for range maxInFlight {
		<-blocked
	}
	a := do(t, f.as("john"), "GET", base+"ratelimits", "")
	if a.status(t).Code != 429 || a.header.Get("Retry-After") != "1" {
		t.Errorf("one more: %d %s", a.code, a.body)
	}
	if a := do(t, f.as("admin", user.SystemPrivilegedGroup), "GET", base+"ratelimits", ""); a.code != 404 {
		t.Errorf("a master in the crowd: %d, want through to the handler", a.code)
	}
	// Who shows no credentials has places, too, but few.
	nobody := int(maxInFlight * nobodysPart)
	anonymous := make(chan int, nobody)
	for range nobody {
		go func() { anonymous <- do(t, &rest.Config{Host: f.front.URL}, "GET", base+"ratelimits", "").code }()
	}
	for range nobody {
		<-blocked
	}
	if a := do(t, &rest.Config{Host: f.front.URL}, "GET", base+"ratelimits", ""); a.code != 429 {
		t.Errorf("one more without credentials: %d", a.code)
	}
	close(free)
	for range nobody {
		if code := <-anonymous; code != 403 {
			t.Errorf("one without credentials: %d", code)
		}
	}
	for range maxInFlight {
		if code := <-done; code != 403 {
			t.Errorf("one of the crowd: %d", code)
		}
	}
}

func TestLogLinesAreBounded(t *testing.T) {
	f := newFixture(t, nil)
	long := strings.Repeat("ä", 100_000)
	o := switchNamed("long")
	_ = unstructured.SetNestedField(o.Object, long, "spec", "reason")
	if _, err := objects(t, f.admin(), "switches").Create(t.Context(), o, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a long reason: %v", err)
	}
	line := f.logs.FilterMessage("policy write").All()[0].ContextMap()
	if reason := line["reason"].(string); len(reason) > 300 || !strings.HasPrefix(long, strings.TrimSuffix(reason, "...")) {
		t.Errorf("%d bytes of reason in the log", len(reason))
	}
}

// secretSeeker tells whether a secret was written to it.
type secretSeeker struct{ found atomic.Bool }

func (s *secretSeeker) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("secret")) {
		s.found.Store(true)
	}
	return len(b), nil
}

// TestQueriesAreNotLogged sends one that k8s.io/apiserver's own reading would log whole.
func TestQueriesAreNotLogged(t *testing.T) {
	state := klog.CaptureState()
	t.Cleanup(state.Restore)
	log := &secretSeeker{}
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(log, nil)))
	f := newFixture(t, nil)
	if a := do(t, f.admin(), http.MethodGet, base+"ratelimits?limit=secret&watch=0", ""); a.code != http.StatusBadRequest {
		t.Errorf("answered %d: %s", a.code, a.body)
	}
	if log.found.Load() {
		t.Error("the query was logged")
	}
}

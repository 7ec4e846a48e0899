package policy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	limits "github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// onlyValid fails if a router is given what is not valid.
type onlyValid struct{ t *testing.T }

// onlyValidCached is the same for a cache.
type onlyValidCached struct{ t *testing.T }

func (v onlyValidCached) Update(resources []*v1alpha1.CachedResource) {
	for _, o := range resources {
		if faults := Validate(o); len(faults) > 0 {
			v.t.Errorf("in force, and invalid: %v", faults)
		}
	}
}

func (v onlyValid) Update(groups []*v1alpha1.UpstreamGroup, routes []*v1alpha1.Route, forced []*v1alpha1.Switch) {
	check := func(object runtime.Object) {
		if faults := Validate(object); len(faults) > 0 {
			v.t.Errorf("in force, and invalid: %v", faults)
		}
	}
	for _, o := range groups {
		check(o)
	}
	for _, o := range routes {
		check(o)
	}
	for _, o := range forced {
		check(o)
	}
}

// FuzzStateOfTheLastRun starts with whatever may be in the file: a gateway that does
// not start for it would not start at all while its store is away. What it keeps for
// the next run reads the same.
func FuzzStateOfTheLastRun(f *testing.F) {
	name := func(s string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: s} }
	whole, err := json.Marshal(&state{
		Classes:  []*v1alpha1.ClientClass{{ObjectMeta: name("c"), Spec: v1alpha1.ClientClassSpec{Priority: "P3", Match: v1alpha1.Match{Clients: v1alpha1.ClientMatch{UserAgents: []string{"a*"}}}}}},
		Limits:   []*v1alpha1.RateLimit{rateLimit("l", "5", v1alpha1.ModeEnforce)},
		Switches: []*v1alpha1.Switch{{ObjectMeta: name("s"), Spec: v1alpha1.SwitchSpec{Type: v1alpha1.SwitchReadOnly, Reason: "x", ReadOnly: &v1alpha1.SwitchScope{}}}},
		Groups:   []*v1alpha1.UpstreamGroup{{ObjectMeta: name("main"), Spec: v1alpha1.UpstreamGroupSpec{Servers: []v1alpha1.UpstreamServer{{URL: "https://a"}}}}},
		Routes:   []*v1alpha1.Route{{ObjectMeta: name("r"), Spec: v1alpha1.RouteSpec{Groups: []string{"main"}}}},
		Cached:   []*v1alpha1.CachedResource{{ObjectMeta: name("pods"), Spec: v1alpha1.CachedResourceSpec{Resource: "pods"}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	for _, seed := range []string{"", "null", `{"limits":[null]}`, `{"switches":[{"spec":{"type":"ForceGroup"}}]}`, `{"limits":[{"spec":{"qps":"1E400"}}]}`} {
		f.Add([]byte(seed))
	}
	file := filepath.Join(f.TempDir(), "policies.json")
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := limits.New(limits.Config{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(Config{
			Client: &rest.Config{Host: "https://127.0.0.1:1"}, Limiter: l, Router: onlyValid{t}, Cache: onlyValidCached{t}, StateFile: file,
			Nodes: NewNodeCounter(nil, file+".nodes", 7, clock, zap.NewNop()),
			Clock: clock, Log: zap.NewNop(), Registry: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		a, err := request.NewParser().Parse(httptest.NewRequest(http.MethodPost, "/api/v1/namespaces/a/pods", nil))
		if err != nil {
			t.Fatal(err)
		}
		p.Classify(a)
		p.Refuse(a)

		s, err := loadState(file)
		if err != nil {
			return
		}
		if err := saveState(file, s); err != nil {
			t.Fatal(err)
		}
		first, _ := os.ReadFile(file)
		if s, err = loadState(file); err != nil {
			t.Fatalf("what was kept cannot be read: %v", err)
		}
		if err := saveState(file, s); err != nil {
			t.Fatal(err)
		}
		if second, _ := os.ReadFile(file); !bytes.Equal(first, second) {
			t.Errorf("%q is read as another state, %q", first, second)
		}
	})
}

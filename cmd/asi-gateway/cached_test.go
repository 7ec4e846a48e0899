package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func TestResourcesOfTheFlagAreReadAsPeopleNameThem(t *testing.T) {
	objects, err := parseResources([]string{"pods", "", "deployments.apps", "jobs.v1.batch", "widgets.v1beta1.diff.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		got = append(got, strings.Join([]string{o.Name, o.Spec.Group, o.Spec.Version, o.Spec.Resource}, " "))
	}
	want := []string{"pods  v1 pods", "deployments.apps apps v1 deployments", "jobs.batch batch v1 jobs", "widgets.diff.example.com diff.example.com v1beta1 widgets"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzResources(f *testing.F) {
	for _, seed := range []string{"pods", "pods.", "deployments.apps", "widgets.v1.example.com", "widgets.v0.example.com", "a.v1.b", "events", "leases.coordination.k8s.io", ".v1.a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		objects, err := parseResources([]string{name})
		if err != nil {
			return
		}
		for _, o := range objects {
			if o.Name == "" || o.Spec.Resource == "" || !strings.HasPrefix(o.Name, o.Spec.Resource) {
				t.Errorf("%q was read as %+v", name, o)
			}
		}
	})
}

// TestResourcesOfTheFlagAreMadeOnce starts on one store with other flags each time.
func TestResourcesOfTheFlagAreMadeOnce(t *testing.T) {
	p, logs := newTestPolicies(t, &fixedRouter{})
	p.options.defaultPolicies, p.options.cacheNamed = false, true
	start := func(files []runtime.Object, names ...string) (warned string) {
		t.Helper()
		logs.TakeAll()
		var err error
		if p.flaggedCached, err = parseResources(names); err != nil {
			t.Fatal(err)
		}
		p.seeds = files
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := p.trySeed(ctx); err != nil {
			t.Fatal(err)
		}
		for _, line := range logs.FilterLevelExact(zapcore.WarnLevel).All() {
			warned += " " + line.ContextMap()["flag"].(string) + " " + line.ContextMap()["cachedResource"].(string)
		}
		return warned
	}
	there := func() (names string) {
		t.Helper()
		for _, name := range []string{"nodes", "pods", "of-file", "services"} {
			found, err := p.policy.Read(t.Context(), &v1alpha1.CachedResource{ObjectMeta: metav1.ObjectMeta{Name: name}})
			if err != nil {
				t.Fatal(err)
			}
			if found {
				names += " " + name
			}
		}
		return names
	}
	if warned := start(nil); warned != "" || there() != "" {
		t.Errorf("without the flag: made%s, warned%s", there(), warned)
	}
	if warned := start(nil, "pods"); warned != "" || there() != " pods" {
		t.Errorf("with the flag: made%s, warned%s", there(), warned)
	}
	if warned := start(nil, "pods", "nodes"); warned != "" || there() != " nodes pods" {
		t.Errorf("one more: made%s, warned%s", there(), warned)
	}
	r := httptest.NewRequest("DELETE", "/apis/gateway.asi.io/v1alpha1/cachedresources/pods", nil)
	w := httptest.NewRecorder()
	admin := &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}
	if p.handler().ServeHTTP(w, r.WithContext(apirequest.WithUser(r.Context(), admin))); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if warned := start(nil, "pods", "nodes"); warned != " --cache-resources pods" || there() != " nodes" {
		t.Errorf("deleted by an operator: there are%s, warned%s", there(), warned)
	}
	p.options.cacheNamed = false
	if warned := start(nil, "pods", "nodes"); warned != "" || there() != " nodes" {
		t.Errorf("of the default, deleted by an operator: there are%s, warned%s", there(), warned)
	}
	file := &v1alpha1.CachedResource{ObjectMeta: metav1.ObjectMeta{Name: "of-file"}, Spec: v1alpha1.CachedResourceSpec{Resource: "services"}}
	v1alpha1.SetDefaults_CachedResource(file)
	if warned := start([]runtime.Object{file}, "services"); warned != "" || there() != " nodes of-file" {
		t.Errorf("described by a file: there are%s, warned%s", there(), warned)
	}
}

package request

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"k8s.io/klog/v2"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func TestClientNameIsTheFirstToken(t *testing.T) {
	for userAgent, want := range map[string]string{
		"kubelet/v1.30.0 (linux/amd64) kubernetes/7c48c2b": "kubelet",
		"node-problem-detector/v0.5.0-49-gfb81368":         "node-problem-detector",
		"Cilium 1.15.1":                   "Cilium",
		"OpenAPI-Generator/29.0.0/python": "OpenAPI-Generator",
		"curl":                            "curl",
		"":                                "",
		"/v1":                             "",
		"kube-controller-manager/v1.28.7 (linux/amd64) k/c": "kube-controller-manager",
	} {
		if got := ClientName(userAgent); got != want {
			t.Errorf("ClientName(%q) = %q, want %q", userAgent, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, method, target string
		verb, resource       string
		scope                v1alpha1.ListScope
		shape                v1alpha1.ListShape
		longRunning          bool
	}{
		{"list of everything", "GET", "/api/v1/pods", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeUnbounded, false},
		{"list of a namespace", "GET", "/api/v1/namespaces/a/pods", "list", "pods", v1alpha1.ListScopeNamespace, v1alpha1.ListShapeUnbounded, false},
		{"list from cache ignores its limit", "GET", "/api/v1/pods?limit=5&resourceVersion=0", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeRV0, false},
		{"a selector costs a scan even with a limit", "GET", "/api/v1/pods?limit=5&labelSelector=a%3Db", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeSelector, false},
		{"paginated", "GET", "/api/v1/pods?limit=5", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapePaginated, false},
		{"largest page", "GET", "/api/v1/pods?limit=10000", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapePaginated, false},
		{"limit that bounds nothing", "GET", "/api/v1/pods?limit=10001", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeUnbounded, false},
		{"limit beyond 64 bits", "GET", "/api/v1/pods?limit=99999999999999999999", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeUnbounded, false},
		{"continued", "GET", "/api/v1/pods?continue=abc", "list", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapePaginated, false},
		{"watch with initial state", "GET", "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "watch", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeUnbounded, true},
		{"watch that resumes lists nothing", "GET", "/api/v1/pods?watch=1&resourceVersion=5", "watch", "pods", "", "", true},
		{"watch that wants no initial state", "GET", "/api/v1/pods?watch=1&sendInitialEvents=false", "watch", "pods", "", "", true},
		{"watch without a version starts with a list", "GET", "/api/v1/pods?watch=1", "watch", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeUnbounded, true},
		{"watch from 0 with initial state", "GET", "/api/v1/pods?watch=1&resourceVersion=00", "watch", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeUnbounded, true},
		{"watch with initial state without a value", "GET", "/api/v1/pods?watch=1&resourceVersion=5&sendInitialEvents=", "watch", "pods", v1alpha1.ListScopeCluster, v1alpha1.ListShapeUnbounded, true},
		{"get", "GET", "/api/v1/namespaces/a/pods/b", "get", "pods", "", "", false},
		{"log", "GET", "/api/v1/namespaces/a/pods/b/log?follow=true", "get", "pods", "", "", true},
		{"exec", "POST", "/api/v1/namespaces/a/pods/b/exec?command=ls", "create", "pods", "", "", true},
		{"status", "PATCH", "/api/v1/namespaces/a/pods/b/status", "patch", "pods", "", "", false},
		{"non-resource", "GET", "/version", "get", "", "", "", false},
		{"group", "DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection", "deployments", "", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := NewParser().Parse(httptest.NewRequest(tc.method, tc.target, nil))
			if err != nil {
				t.Fatal(err)
			}
			if a.Verb != tc.verb || a.Resource != tc.resource || a.Scope != tc.scope || a.Shape != tc.shape || a.LongRunning != tc.longRunning {
				t.Errorf("got %s %s %s %s long-running %t", a.Verb, a.Resource, a.Scope, a.Shape, a.LongRunning)
			}
		})
	}
}

func TestUpgradeIsRecognisedAsAToken(t *testing.T) {
	for value, want := range map[string]bool{
		"Upgrade": true, "keep-alive, upgrade": true, "UPGRADE": true, "": false, "close": false, "upgraded": false,
	} {
		h := http.Header{}
		if value != "" {
			h["Connection"] = []string{value}
		}
		if got := isUpgrade(h); got != want {
			t.Errorf("Connection %q: upgrade %t, want %t", value, got, want)
		}
	}
}

func TestUpgradeIsNoWayAroundBounds(t *testing.T) {
	for target, want := range map[string]bool{
		"GET /api/v1/pods":                                                                     false,
		"GET /api/v1/namespaces/a/pods/b":                                                      false,
		"PATCH /api/v1/namespaces/a/pods/b/status":                                             false,
		"POST /api/v1/namespaces/a/pods/b/eviction":                                            false,
		"GET /apis/example.com/v1/widgets":                                                     false,
		"GET /apis/example.com/v1/namespaces/a/widgets/b/status":                               false,
		"GET /apis/proxies.example.com/v1/tunnels/t":                                           true,
		"GET /openapi/v2":                                                                      false,
		"GET /api/v1/pods?watch=1":                                                             true,
		"GET /api/v1/namespaces/a/pods/b/exec?command=id":                                      true,
		"POST /api/v1/namespaces/a/pods/b/portforward":                                         true,
		"GET /api/v1/namespaces/a/services/b/proxy/ws":                                         true,
		"GET /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/console": true,
	} {
		method, path, _ := strings.Cut(target, " ")
		r := httptest.NewRequest(method, path, nil)
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		a, err := NewParser().Parse(r)
		if err != nil {
			t.Fatal(err)
		}
		if a.Upgrade != want || a.LongRunning != want {
			t.Errorf("%s: upgrade %t, long-running %t; want %t", target, a.Upgrade, a.LongRunning, want)
		}
	}
}

// TestQueryThatReadersDisagreeAbout is one that kube-apiservers read or not, according
// to the Go that they were built with.
func TestQueryThatReadersDisagreeAbout(t *testing.T) {
	for n, want := range map[int]error{maxParameters - 1: nil, maxParameters: ErrTooManyParameters} {
		r := httptest.NewRequest("GET", "/api/v1/pods?limit=1"+strings.Repeat("&", n), nil)
		if _, err := NewParser().Parse(r); !errors.Is(err, want) {
			t.Errorf("%d parameters: %v, want %v", n+1, err, want)
		}
	}
}

func FuzzParameters(f *testing.F) {
	for _, seed := range []string{strings.Repeat("a=1&", maxParameters-1), strings.Repeat("&", maxParameters), "", "a=b", "labelSelector=a%3Db&limit=5", "a;b=c&d=e", "%zz=1", "a=%zz", "a=1&a=2", "=x", "&&", "a+b=c+d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := url.Values{}
		eachParameter(raw, func(k, v string) { got.Add(k, v) })
		if strings.Count(raw, "&") >= maxParameters {
			return // Parse refuses it.
		}
		want, _ := url.ParseQuery(raw)
		if got.Encode() != want.Encode() {
			t.Fatalf("%q: got %v, net/url says %v", raw, got, want)
		}
		o := parseListOptions(raw)
		if o.LabelSelector != want.Get("labelSelector") || o.ResourceVersion != want.Get("resourceVersion") {
			t.Fatalf("%q: options %+v, net/url says %v", raw, o, want)
		}
	})
}

// TestQueriesAreNotLogged: whoever can connect can send them, and people put secrets
// into them.
func TestQueriesAreNotLogged(t *testing.T) {
	defer klog.CaptureState().Restore()
	var logged bytes.Buffer
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(&logged, nil)))
	for _, query := range []string{
		"watch=1&limit=secret", "watch=1&timeoutSeconds=secret", "watch=0&fieldSelector=secret", "limit=secret", "secret=%zz",
		"fieldSelector=metadata.name%3Da&labelSelector=%21%21secret", "fieldSelector=metadata.name%21secret",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
			if _, err := NewParser().Parse(httptest.NewRequest(method, "/api/v1/pods?"+query, nil)); err != nil {
				t.Errorf("%s: %v", query, err)
			}
		}
	}
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/", "/api/v1/pods", "/apis//v1//", "/api/v1/watch/", "/api/v1/watch", "/api/v1/namespaces/a/pods/b/exec", "//..//"} {
		f.Add("GET", seed, "limit=1")
	}
	for _, seed := range []string{
		"watch", "watch=0", "w%61tch=1", "limit=x&watch=1", "fieldSelector=metadata.name%3Da", "fieldSelector=metadata%2Ename=a,spec.b!=c",
		"fieldSelector=metadata.name%3Da&limit=x&watch=0&watch=1", "watch=FALSE&labelSelector=%21%21&fieldSelector=x", "watch=1&fieldSelector=%21%21&labelSelector=a",
		"fieldSelector=spec.nodeName%3Da&labelSelector=%21%21", "fieldSelector=a;fieldSelector=metadata.name=b", "timeoutSeconds=x&fieldSelector=metadata.name=a",
	} {
		f.Add("GET", "/api/v1/namespaces/a/pods", seed)
		f.Add("GET", "/api/v1/watch/pods", seed)
		f.Add("DELETE", "/apis/apps/v1/deployments", seed)
	}
	parser := NewParser()
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}}
		a, err := parser.Parse(r)
		if errors.Is(err, ErrTooManyParameters) {
			return
		}
		info, infoErr := parser.info.NewRequestInfo(r)
		if (err == nil) != (infoErr == nil) || err != nil && err.Error() != infoErr.Error() {
			t.Fatalf("error %v, Kubernetes' is %v", err, infoErr)
		}
		if err == nil && !reflect.DeepEqual(a.RequestInfo, info) {
			t.Fatalf("%+v, Kubernetes reads %+v", a.RequestInfo, info)
		}
		if err == nil && (a.Scope == "") != (a.Shape == "") {
			t.Fatalf("scope %q and shape %q must come together", a.Scope, a.Shape)
		}
	})
}

func BenchmarkParseGet(b *testing.B) {
	parser := NewParser()
	r := httptest.NewRequest("GET", "/api/v1/namespaces/default/pods/web-0", nil)
	r.Header.Set("User-Agent", "kubelet/v1.37.2 (linux/amd64) kubernetes/7c48c2b")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parser.Parse(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseList has a query that need not be decoded whole, and one that must.
func BenchmarkParseList(b *testing.B) {
	parser := NewParser()
	for name, query := range map[string]string{
		"node":  "fieldSelector=spec.nodeName%3Dnode-1&resourceVersion=0",
		"watch": "watch=true&resourceVersion=0",
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/api/v1/pods?"+query, nil)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parser.Parse(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

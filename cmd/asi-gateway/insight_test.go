package main

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func TestExplainedRequestIsReadAsTheChainReadsIt(t *testing.T) {
	a, faults := attributesOf(&v1alpha1.RequestExplanationSpec{
		UserAgent: "operator/v1 (linux)", User: "alice", Groups: []string{"team"}, SourceIP: "10.1.2.3",
		Path: "/apis/apps/v1/deployments?resourceVersion=0",
	})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if a.ClientName != "operator" || a.Verb != "list" || a.Resource != "deployments" || a.Scope != v1alpha1.ListScopeCluster || a.Shape != v1alpha1.ListShapeRV0 ||
		a.Identity.GetName() != "alice" || !strings.Contains(strings.Join(a.Identity.GetGroups(), " "), "system:authenticated") || a.SourceIP.String() != "10.1.2.3" {
		t.Errorf("%+v", a)
	}
	if a, _ := attributesOf(&v1alpha1.RequestExplanationSpec{Path: "/version"}); a.Identity != nil || a.Verb != "get" {
		t.Errorf("without a user: %+v", a)
	}
}

func TestWhatCannotBeExplainedIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		spec  v1alpha1.RequestExplanationSpec
		field string
	}{
		"no path":        {v1alpha1.RequestExplanationSpec{}, "spec.path"},
		"relative path":  {v1alpha1.RequestExplanationSpec{Path: "api/v1"}, "spec.path"},
		"another host":   {v1alpha1.RequestExplanationSpec{Path: "https://example.com/api"}, "spec.path"},
		"broken escape":  {v1alpha1.RequestExplanationSpec{Path: "/api/%zz"}, "spec.path"},
		"no address":     {v1alpha1.RequestExplanationSpec{Path: "/api", SourceIP: "host"}, "spec.sourceIP"},
		"address, range": {v1alpha1.RequestExplanationSpec{Path: "/api", SourceIP: "10.0.0.0/8"}, "spec.sourceIP"},
	} {
		if _, faults := attributesOf(&tc.spec); len(faults) != 1 || faults[0].Field != tc.field {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

func TestFlowsOfReplicasAreSummed(t *testing.T) {
	flow := func(requests, bytes int64, rate string, p99 time.Duration) v1alpha1.Flow {
		return v1alpha1.Flow{Requests: requests, Refused: 1, BytesPerRequest: bytes, PerSecond: resource.MustParse(rate), Sustained: resource.MustParse(rate), Peak: resource.MustParse(rate), P99: &metav1.Duration{Duration: p99}}
	}
	sum, other := flow(300, 1000, "1500m", time.Second), flow(100, 3000, "500m", 2*time.Second)
	addFlow(&sum, &other)
	if sum.Requests != 400 || sum.Refused != 2 || sum.BytesPerRequest != 1500 || sum.PerSecond.String() != "2" || sum.P99.Duration != 2*time.Second {
		t.Errorf("%+v", sum)
	}
	first, none := v1alpha1.Flow{}, v1alpha1.Flow{}
	addFlow(&first, &none)
	if first.Requests != 0 || first.P99 != nil {
		t.Errorf("%+v", first)
	}
}

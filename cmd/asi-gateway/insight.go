package main

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Simulate implements apiserver.Insight. It looks at what this gateway has seen.
func (p *policies) Simulate(_ context.Context, limits []v1alpha1.SimulatedLimit) v1alpha1.LimitSimulationStatus {
	return p.flows.Simulate(limits, p.nodes.Count())
}

// Explain implements apiserver.Insight.
func (p *policies) Explain(_ context.Context, spec *v1alpha1.RequestExplanationSpec) (v1alpha1.RequestExplanationStatus, field.ErrorList) {
	a, faults := attributesOf(spec)
	if len(faults) > 0 {
		return v1alpha1.RequestExplanationStatus{}, faults
	}
	class, claimed := p.policy.Classify(a)
	a.Class, a.Priority = class.Name, class.Priority
	status := v1alpha1.RequestExplanationStatus{
		ClientName: a.ClientName,
		Verb:       a.Verb, Resource: request.ResourceName(a), ListScope: a.Scope, ListShape: a.Shape, Vital: a.Vital,
		Class: a.Class, Priority: a.Priority,
	}
	if claimed != nil {
		status.ClaimedClass = claimed.Name
	}
	for _, match := range p.limiter.Explain(a) {
		explained := v1alpha1.ExplainedLimit{
			Name: match.Name, Mode: v1alpha1.ModeEnforce, BeforeAuthentication: match.Phase == limiter.BeforeAuthentication,
			Rate: milli(match.QPS), Tokens: milli(match.Tokens),
		}
		if match.DryRun {
			explained.Mode = v1alpha1.ModeDryRun
		} else if match.Refuses && status.RefusedBy == "" {
			status.RefusedBy = "ratelimit/" + match.Name
		}
		status.Limits = append(status.Limits, explained)
	}
	if refusal := p.policy.Refuse(a); refusal != nil && status.RefusedBy == "" {
		status.RefusedBy = "switch/" + refusal.Name
	}
	var refused bool
	status.Route, status.Group, refused = p.router.Explain(a)
	if refused && status.RefusedBy == "" {
		status.RefusedBy = "upstreamgroup/" + status.Group
	}
	return status, nil
}

func milli(n float64) resource.Quantity {
	return *resource.NewMilliQuantity(int64(max(0, n)*1000), resource.DecimalSI)
}

// attributesOf reads a request as the chain would.
func attributesOf(spec *v1alpha1.RequestExplanationSpec) (*request.Attributes, field.ErrorList) {
	path := field.NewPath("spec")
	target, err := url.ParseRequestURI(spec.Path)
	if err != nil || target.Host != "" {
		return nil, field.ErrorList{field.Invalid(path.Child("path"), spec.Path, `want path and query, e.g. "/api/v1/pods?limit=5"`)}
	}
	r := &http.Request{Method: spec.Method, URL: target, Header: http.Header{}}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if spec.UserAgent != "" {
		r.Header.Set("User-Agent", spec.UserAgent)
	}
	a, err := request.NewParser().Parse(r)
	if err != nil {
		return nil, field.ErrorList{field.Invalid(path.Child("path"), spec.Path, err.Error())}
	}
	if spec.SourceIP != "" {
		if a.SourceIP, err = netip.ParseAddr(spec.SourceIP); err != nil {
			return nil, field.ErrorList{field.Invalid(path.Child("sourceIP"), spec.SourceIP, "want an IP address")}
		}
	}
	if spec.User != "" {
		groups := append([]string{user.AllAuthenticated}, spec.Groups...)
		a.Identity = &request.Identity{Info: &user.DefaultInfo{Name: spec.User, Groups: groups}}
	}
	return a, nil
}

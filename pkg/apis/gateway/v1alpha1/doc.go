// Package v1alpha1 holds the kinds with which a gateway is governed: which
// clients there are (ClientClass), what they may do (RateLimit), what stops at once
// in an emergency (Switch), which kube-apiservers serve whom (UpstreamGroup, Route),
// and what is answered from memory (CachedResource). All are cluster-scoped.
//
// The types are data without behaviour. They are served by pkg/apiserver,
// checked by pkg/apis/gateway/validation and compiled by pkg/policy. There is one
// version so far, which is also the internal one.
//
// +k8s:deepcopy-gen=package
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=io.asi.gateway.v1alpha1
// +groupName=gateway.asi.io
package v1alpha1

// Package request computes, once per request, everything that later stages ask
// about it: Kubernetes' own RequestInfo, the client's name taken from its user
// agent, the list options, and the scope and shape of a list. It is pure: no
// I/O, no clock, no HTTP writing.
//
// Attributes is one struct behind one context value, so that a request costs
// one lookup however many stages read it. The meaning of path and verb is left
// to k8s.io/apiserver's RequestInfoFactory, the code that kube-apiserver itself
// uses: a gateway that read a path differently from the server behind it could
// be talked past its own rules. The few query parameters needed here are
// scanned without building a map; a fuzz test keeps the scanner equal to
// net/url.
package request

package auth

import (
	"context"
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
)

// FrontProxies authenticates requests that kube-apiservers forward for their
// clients, as they do for a registered APIService: by X-Remote-* headers on a
// connection with a certificate from the cluster's requestheader CA. CA, names of
// certificates and names of headers are those in the config map
// kube-system/extension-apiserver-authentication.
type FrontProxies struct {
	ca      *dynamiccertificates.ConfigMapCAController
	headers *headerrequest.RequestHeaderAuthRequestController
	request authenticator.Request
	// Names of headers, as the config map has them.
	usernames, uids, groups, extraPrefixes headerrequest.StringSliceProviderFunc
}

// NewFrontProxies returns FrontProxies that trust nobody until Run has read the
// config map.
func NewFrontProxies(client kubernetes.Interface) (*FrontProxies, error) {
	const namespace, name = "kube-system", "extension-apiserver-authentication"
	ca, err := dynamiccertificates.NewDynamicCAFromConfigMapController("requestheader-client-ca", namespace, name, "requestheader-client-ca-file", client)
	if err != nil {
		return nil, err
	}
	p := &FrontProxies{ca: ca, headers: headerrequest.NewRequestHeaderAuthRequestController(name, namespace, client,
		"requestheader-username-headers", "requestheader-uid-headers", "requestheader-group-headers",
		"requestheader-extra-headers-prefix", "requestheader-allowed-names")}
	p.usernames, p.uids, p.groups, p.extraPrefixes = p.headers.UsernameHeaders, p.headers.UIDHeaders, p.headers.GroupHeaders, p.headers.ExtraHeaderPrefixes
	// As every server that authenticates does: kube-apiserver names itself without
	// groups when it reads API documents.
	p.request = group.NewAuthenticatedGroupAdder(headerrequest.NewDynamicVerifyOptionsSecure(ca.VerifyOptions,
		headerrequest.StringSliceProviderFunc(p.headers.AllowedClientNames), p.usernames, p.uids, p.groups, p.extraPrefixes))
	return p, nil
}

// Run follows the config map until ctx ends.
func (p *FrontProxies) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ca.Run(ctx, 1)
	}()
	p.headers.Run(ctx, 1)
	<-done
}

// Strip deletes the headers by which kube-apiservers are told for whom a request is
// forwarded. A cluster may have others than X-Remote-*: from a client they are lies.
// Until they are known it leaves those that kube-apiserver itself has a use for.
func (p *FrontProxies) Strip(h http.Header) {
	if len(p.usernames()) == 0 {
		for name := range h {
			if !plain(name) {
				delete(h, name)
			}
		}
		return
	}
	headerrequest.ClearAuthenticationHeaders(h, p.usernames, p.uids, p.groups, p.extraPrefixes)
}

// Authenticate returns the user for whom a kube-apiserver forwards the request;
// false if it does not come from one. The headers that say so are removed.
func (p *FrontProxies) Authenticate(r *http.Request) (user.Info, bool) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false
	}
	response, ok, err := p.request.AuthenticateRequest(r)
	if err != nil || !ok {
		// Also if the CA is not known yet, or the certificate is a client's of
		// another CA: that is for the other ways to authenticate.
		return nil, false
	}
	return response.User, true
}

// plain tells the headers, in canonical form, that kube-apiserver reads for something
// else than who a user is.
func plain(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Audit-Id", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Type",
		"Origin", "Traceparent", "Tracestate", "Upgrade", "User-Agent", "X-Forwarded-For", "X-Stream-Protocol-Version", "If-None-Match":
		return true
	}
	return strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "Sec-Websocket-")
}

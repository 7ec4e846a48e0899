package auth

import (
	"context"
	"crypto/x509"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	requestx509 "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// reverifyAfter bounds how long a connection's certificate is taken as verified
// without looking again. Expiry of the certificates sent and a changed CA bundle
// count at once; this bound is for a CA of the bundle that expires meanwhile.
const reverifyAfter = time.Minute

// ClientCA yields the options that verify client certificates; false while no
// CA bundle is known. A changed bundle must come with a new Roots pool.
// k8s.io/apiserver's dynamiccertificates providers satisfy both.
type ClientCA interface {
	VerifyOptions() (x509.VerifyOptions, bool)
}

// certificates authenticates TLS client certificates, once per connection.
type certificates struct {
	ca     ClientCA
	verify authenticator.Request
	assert Assert
	clock  clock.PassiveClock
}

func newCertificates(ca ClientCA, assert Assert, clock clock.PassiveClock) *certificates {
	return &certificates{
		ca:     ca,
		verify: group.NewAuthenticatedGroupAdder(requestx509.NewDynamic(ca.VerifyOptions, requestx509.CommonNameUserConversion)),
		assert: assert,
		clock:  clock,
	}
}

// authenticate returns the identity of the connection's certificate; nil
// without an error if there is no certificate, or no CA to judge it by.
func (c *certificates) authenticate(r *http.Request) (*request.Identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	options, ok := c.ca.VerifyOptions()
	if !ok {
		return nil, nil
	}
	now := c.clock.Now()
	session, _ := r.Context().Value(sessionKey{}).(*session)
	if session != nil {
		if v := session.verified.Load(); v != nil && v.roots == options.Roots && now.Before(v.until) {
			return v.identity, nil
		}
	}
	response, ok, err := c.verify.AuthenticateRequest(r)
	if err != nil {
		return nil, err
	}
	if !ok {
		// kube-apiserver's front-proxy check has an error for such a certificate,
		// so that it is no anonymous request there either.
		return nil, errNoUser
	}
	identity, err := c.assert.Identity(response.User)
	if err != nil {
		return nil, err
	}
	if session != nil {
		until := now.Add(reverifyAfter)
		for _, cert := range r.TLS.PeerCertificates {
			if cert.NotAfter.Before(until) {
				until = cert.NotAfter
			}
		}
		session.verified.Store(&verified{identity: identity, roots: options.Roots, until: until})
	}
	return identity, nil
}

// session is what authentication remembers of one client connection.
type session struct {
	verified atomic.Pointer[verified]
}

type verified struct {
	identity *request.Identity
	roots    *x509.CertPool
	until    time.Time
}

type sessionKey struct{}

// WithSession returns a context for one client connection, under which its
// certificate is verified once instead of with every request. It belongs into
// http.Server.ConnContext.
func WithSession(ctx context.Context) context.Context {
	return context.WithValue(ctx, sessionKey{}, &session{})
}

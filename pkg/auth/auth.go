package auth

import (
	"errors"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Authenticator tells who sent a request.
type Authenticator struct {
	certificates *certificates
	bearer       authenticator.Request
	websocket    authenticator.Request
}

// New returns an Authenticator that judges certificates by ca and tokens by
// tokens, and asserts certificate identities with assert.
func New(ca ClientCA, tokens *Tokens, assert Assert, clock clock.PassiveClock) *Authenticator {
	return &Authenticator{
		certificates: newCertificates(ca, assert, clock),
		bearer:       bearertoken.New(tokens),
		websocket:    websocket.NewProtocolAuthenticator(tokens),
	}
}

// Authenticate returns the identity behind the credentials of r: nil without
// an error if there are none. Otherwise errors match ErrInvalid or
// ErrUnavailable. Like kube-apiserver it takes the first credentials that are
// good, and fails if some were given and none is. Used credentials are removed
// from r's headers.
func (a *Authenticator) Authenticate(r *http.Request) (*request.Identity, error) {
	identity, certErr := a.certificates.authenticate(r)
	if identity != nil {
		return identity, nil
	}
	if len(r.Header["Authorization"]) > 0 {
		identity, err := fromToken(a.bearer.AuthenticateRequest(r))
		if identity != nil || err != nil {
			return identity, err
		}
	}
	if len(r.Header["Sec-Websocket-Protocol"]) > 0 {
		identity, err := fromToken(a.websocket.AuthenticateRequest(r))
		if identity != nil || err != nil {
			return identity, err
		}
	}
	if certErr != nil {
		return nil, errors.Join(ErrInvalid, certErr)
	}
	return nil, nil
}

// fromToken sorts the errors of the token authenticators: everything that is
// not an outage is the client's fault.
func fromToken(response *authenticator.Response, ok bool, err error) (*request.Identity, error) {
	switch {
	case err != nil && errors.Is(err, ErrUnavailable):
		return nil, err
	case err != nil:
		return nil, errors.Join(ErrInvalid, err)
	case !ok:
		return nil, nil
	}
	// Tokens, the only token authenticator used here, answers with identities.
	return response.User.(*request.Identity), nil
}

// NewAuthorizer returns an authorizer that asks the apiserver behind client by
// SubjectAccessReview and keeps each answer for ttl.
func NewAuthorizer(client kubernetes.Interface, ttl time.Duration) (authorizer.Authorizer, error) {
	return authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             ttl,
		DenyCacheTTL:              ttl,
		WebhookRetryBackoff:       &wait.Backoff{Steps: 1},
	}.New()
}

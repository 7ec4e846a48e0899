package proxy

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/asi-gateway/asi-gateway/pkg/auth"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// WithImpersonation lets a client act as another user if the apiserver, asked
// by SubjectAccessReview, allows it. The rules are kube-apiserver's own filter.
func WithImpersonation(next http.Handler, judge authorizer.UnconditionalAuthorizer, assert auth.Assert, status statusWriter) http.Handler {
	granted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		effective, _ := apirequest.UserFrom(r.Context())
		identity, err := assert.Identity(effective)
		if err != nil {
			status.write(w, r, apierrors.NewBadRequest(err.Error()))
			return
		}
		request.From(r.Context()).Impersonated = identity
		next.ServeHTTP(w, r)
	})
	filter := impersonation.WithConstrainedImpersonation(granted, judge, status.codecs)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		if a.Identity == nil || !wantsImpersonation(r.Header) {
			next.ServeHTTP(w, r)
			return
		}
		ctx := apirequest.WithRequestInfo(apirequest.WithUser(r.Context(), a.Identity.Info), a.RequestInfo)
		// The filter refuses by itself.
		ownHeaders(w.Header(), r)
		filter.ServeHTTP(w, r.WithContext(ctx))
		if a.Impersonated == nil {
			boundAnswer(w, r, status.patience)
		}
	})
}

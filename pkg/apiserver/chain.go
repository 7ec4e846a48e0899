package apiserver

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// maxInFlight bounds requests under way. The group system:masters has as many
	// to itself: a crowd must not keep those out who can end it.
	maxInFlight = 200
	// maxWatches bounds watches in the same way.
	maxWatches = 1000
	// nobodysPart of both is what clients without credentials have, to themselves.
	nobodysPart = 0.1
	// requestTimeout bounds everything but watches; no request waits for anything
	// but etcd and one review.
	requestTimeout = 30 * time.Second
)

// chain is what a request walks before it comes to the registry, last stage
// first. The part before it, entrance, is there when the API is not.
func chain(handler http.Handler, config Config, judge *judge, codecs serializer.CodecFactory) http.Handler {
	handler = withAuthorization(handler, judge, codecs)
	handler = withEffectiveUser(handler)
	handler = withImpersonation(handler, judge, codecs)

	// Around all that can refuse a write.
	handler = withRecord(handler, config.Log)

	// Before the judge, who may take long. Counts by the client, not by whom it
	// acts as.
	handler = withMaxInFlight(handler, codecs)

	handler = filters.WithWarningRecorder(handler)
	// Needs the deadline; makes late warnings safe.
	handler = genericfilters.WithTimeoutForNonLongRunningRequests(handler, isWatch)
	handler = withDeadline(handler)
	handler = filters.WithCacheControl(handler)
	handler = filters.WithRequestInfo(handler, request.NewParser())
	handler = filters.WithRequestReceivedTimestamp(handler)
	// The handlers of patches want it; there is no audit backend. It sets Audit-ID.
	return filters.WithAuditInit(handler)
}

// entrance is the beginning of every request.
func (s *Server) entrance() http.Handler {
	codecs := statusCodecs()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recover(r)
		if !isOwn(r.URL.Path) {
			responsewriters.RespondWithError(w, r, &apierrors.StatusError{ErrStatus: metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
				Message: "the policy API serves the group " + v1alpha1.GroupName + " only",
			}}, codecs)
			return
		}
		ctx, end, ok := s.requests.begin(r.Context())
		if !ok {
			responsewriters.RespondWithError(w, r, unavailable("the gateway is ending", 1), codecs)
			return
		}
		defer end()
		api := s.current.Load()
		if api == nil {
			responsewriters.RespondWithError(w, r, unavailable("the policy store is starting", 1), codecs)
			return
		}
		if _, ok := apirequest.UserFrom(ctx); !ok {
			ctx = apirequest.WithUser(ctx, &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}})
		}
		if _, ok := w.(http.Flusher); !ok {
			w = flusher{w}
		}
		api.handler.ServeHTTP(w, r.WithContext(ctx))
	})
}

// isOwn tells the paths of the group from what else k8s.io/apiserver serves.
func isOwn(path string) bool {
	const group = "/apis/" + v1alpha1.GroupName
	switch path {
	case "/apis", "/apis/", group, "/openapi/v2", "/openapi/v3":
		return true
	}
	return strings.HasPrefix(path, group+"/") || strings.HasPrefix(path, "/openapi/v3/")
}

// recover logs a panic and breaks the request off, no more than that.
func (s *Server) recover(r *http.Request) {
	failure := recover()
	if failure == nil {
		return
	}
	if failure != http.ErrAbortHandler {
		s.log.Error("panic in the policy API", zap.Any("panic", failure),
			zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Stack("stack"))
	}
	panic(http.ErrAbortHandler)
}

// withDeadline bounds requests that are no watches.
func withDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, _ := apirequest.RequestInfoFrom(r.Context())
		if isWatch(r, info) {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func isWatch(_ *http.Request, info *apirequest.RequestInfo) bool { return info.Verb == "watch" }

// withMaxInFlight refuses requests beyond a fixed number. There is no other limit
// on this API.
func withMaxInFlight(next http.Handler, codecs runtime.NegotiatedSerializer) http.Handler {
	type pool chan struct{}
	type pools struct{ requests, watches pool }
	newPools := func(part float64) pools {
		return pools{make(pool, int(maxInFlight*part)), make(pool, int(maxWatches*part))}
	}
	masters, others, nobody := newPools(1), newPools(1), newPools(nobodysPart)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _ := apirequest.UserFrom(r.Context())
		mine := others
		switch {
		case isMaster(client):
			mine = masters
		case client.GetName() == user.Anonymous:
			mine = nobody
		}
		taken := mine.requests
		if info, _ := apirequest.RequestInfoFrom(r.Context()); isWatch(r, info) {
			taken = mine.watches
		}
		select {
		case taken <- struct{}{}:
			defer func() { <-taken }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			responsewriters.RespondWithError(w, r, apierrors.NewTooManyRequests("too many requests to the policy API are under way", 1), codecs)
		}
	})
}

// flusher gives Flush to a writer that only http.ResponseController can flush.
type flusher struct{ http.ResponseWriter }

func (f flusher) Unwrap() http.ResponseWriter { return f.ResponseWriter }
func (f flusher) Flush()                      { _ = http.NewResponseController(f.ResponseWriter).Flush() }

// CloseNotify is asked for together with Flush, and never called.
func (f flusher) CloseNotify() <-chan bool { return nil }

// statusCodecs encodes metav1.Status only.
func statusCodecs() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, v1)
	scheme.AddUnversionedTypes(v1, &metav1.Status{})
	return serializer.NewCodecFactory(scheme)
}

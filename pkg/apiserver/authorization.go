package apiserver

import (
	"context"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// judge is the upstream's authorizer, with two differences: system:masters is
// allowed without a question, and an authorizer that fails is no refusal. It
// notes a failure with the request, because k8s.io/apiserver's impersonation
// filter makes a refusal of it.
type judge struct {
	authorizer.Authorizer
}

func newJudge(upstream authorizer.Authorizer) *judge { return &judge{upstream} }

func (j *judge) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if isMaster(a.GetUser()) {
		return authorizer.DecisionAllow, "", nil
	}
	decision, reason, err := j.Authorizer.Authorize(ctx, a)
	if err == nil || decision == authorizer.DecisionAllow {
		return decision, reason, nil
	}
	err = unavailable("access cannot be checked because no kube-apiserver answers the SubjectAccessReview; clients with a certificate of the group system:masters are let in without it: "+err.Error(), 0)
	if r := recordFrom(ctx); r != nil {
		r.reviewFailed(err)
	}
	return authorizer.DecisionNoOpinion, "", err
}

func (j *judge) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(j.Authorize(ctx, a))
}

// EvaluateConditions is never asked: no decision of this judge has conditions.
func (j *judge) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

func isMaster(u user.Info) bool {
	return u != nil && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup)
}

// withAuthorization lets those through whom the judge allows the request.
func withAuthorization(next http.Handler, judge *judge, codecs runtime.NegotiatedSerializer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		attributes, err := genericfilters.GetAuthorizerAttributes(r.Context())
		if err != nil {
			responsewriters.InternalError(w, r, err)
			return
		}
		decision, reason, err := judge.Authorize(r.Context(), attributes)
		switch {
		case decision == authorizer.DecisionAllow:
			next.ServeHTTP(w, r)
		case err != nil:
			responsewriters.RespondWithError(w, r, err, codecs)
		default:
			responsewriters.Forbidden(attributes, w, r, reason, codecs)
		}
	})
}

// withImpersonation lets a client act as somebody else (kubectl --as) by
// kube-apiserver's own rules. A judge that could not judge is answered as
// withAuthorization does it, not as a refusal.
func withImpersonation(next http.Handler, judge *judge, codecs runtime.NegotiatedSerializer) http.Handler {
	granted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The filter is through; next writes for itself.
		if held, ok := w.(*heldRefusal); ok {
			w = held.ResponseWriter
		}
		next.ServeHTTP(w, r)
	})
	filter := impersonation.WithConstrainedImpersonation(granted, judge, codecs)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held := &heldRefusal{ResponseWriter: w, record: recordFrom(r.Context())}
		filter.ServeHTTP(held, r)
		if held.err != nil {
			h := w.Header()
			h.Del("Content-Type")
			h.Del("Content-Length")
			responsewriters.RespondWithError(w, r, held.err, codecs)
		}
	})
}

// heldRefusal holds a 403 back that was caused by a failed review.
type heldRefusal struct {
	http.ResponseWriter
	record *record
	err    error
}

func (h *heldRefusal) WriteHeader(code int) {
	if code == http.StatusForbidden {
		if h.err = h.record.failedReview(); h.err != nil {
			return
		}
	}
	h.ResponseWriter.WriteHeader(code)
}

func (h *heldRefusal) Write(b []byte) (int, error) {
	if h.err != nil {
		return len(b), nil
	}
	return h.ResponseWriter.Write(b)
}

// unavailable is a 503; with a number of seconds clients try again by themselves.
func unavailable(message string, retryAfter int32) *apierrors.StatusError {
	e := apierrors.NewServiceUnavailable(message)
	if retryAfter > 0 {
		e.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: retryAfter}
	}
	return e
}

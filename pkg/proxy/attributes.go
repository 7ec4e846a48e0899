package proxy

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// WithAttributes computes what all later stages ask about a request.
func WithAttributes(next http.Handler, parser *request.Parser, status statusWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := parser.Parse(r)
		switch {
		case errors.Is(err, request.ErrTooManyParameters):
			status.write(w, r, apierrors.NewBadRequest(err.Error()))
			return
		case err != nil:
			status.write(w, r, apierrors.NewInternalError(err))
			return
		}
		if record, ok := w.(*responseRecord); ok {
			record.attributes = a
		}
		next.ServeHTTP(w, r.WithContext(request.WithAttributes(r.Context(), a)))
	})
}

package proxy

import (
	"net/http"

	"go.uber.org/zap"
)

// WithRecover keeps a panic from ending more than its own request: it is logged
// with its stack, and the client's stream is reset. http.ErrAbortHandler is no
// error but how handlers break off an answer.
func WithRecover(next http.Handler, log *zap.Logger, m *metrics) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			failure := recover()
			if failure == nil {
				return
			}
			if failure != http.ErrAbortHandler {
				m.panics.Inc()
				log.Error("panic while serving a request", zap.Any("panic", failure),
					zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Stack("stack"))
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(w, r)
	})
}

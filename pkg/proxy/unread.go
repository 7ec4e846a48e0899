package proxy

import (
	"net/http"
	"time"
)

// WithUnreadBody bounds how long a client is waited for whose request was
// answered without its body. In HTTP/1.1 net/http reads up to 256 KiB that a
// handler has left before it sends the answer: a client that sends a byte now and
// then would hold its connection for ever, with any credentials or none.
func WithUnreadBody(next http.Handler, patience time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.ProtoMajor == 1 && r.ContentLength != 0 {
			// net/http itself lifts the deadline for the next request. An error means
			// that the connection has been taken over or is gone.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience))
		}
	})
}

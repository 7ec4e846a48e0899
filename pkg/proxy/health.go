package proxy

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// health answers load balancers.
type health struct {
	drain *drainState
	// ready returns nil once the gateway can serve.
	ready func() error
	// patience is how long a client has to take the answer.
	patience time.Duration
}

// WithHealth answers /livez and /readyz without credentials: ok or not, and no
// more. With a query ("?verbose") or a path below they are the apiserver's, for
// those whom it lets.
func WithHealth(next http.Handler, h *health) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.serve(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// serve tells whether the request was one for health, and has been answered.
func (h *health) serve(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.RawQuery != "" || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		return false
	}
	switch r.URL.Path {
	case "/livez":
		h.respond(w, r, nil)
	case "/readyz":
		h.respond(w, r, h.notReady())
	default:
		return false
	}
	return true
}

func (h *health) notReady() error {
	if h.drain.reached(unready) {
		return errDraining
	}
	return h.ready()
}

func (h *health) respond(w http.ResponseWriter, r *http.Request, err error) {
	boundAnswer(w, r, h.patience)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "not ok\n")
		return
	}
	_, _ = io.WriteString(w, "ok")
}

package proxy

import (
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	ownGroupPath   = "/apis/" + v1alpha1.GroupName
	ownOpenAPIPath = "/openapi/v3" + ownGroupPath
)

// ownAPI tells the paths of the gateway's own API group.
func ownAPI(path string) bool {
	return below(path, ownGroupPath) || below(path, ownOpenAPIPath)
}

func below(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// WithOwnAPI has the gateway's own API group answered here. It leaves the chain
// before anything that can refuse: no policy must keep anybody from taking that
// policy back. The API judges access, impersonation and its own load itself.
func WithOwnAPI(next, api http.Handler, flights *flights) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := request.From(r.Context())
		if !ownAPI(a.Path) {
			next.ServeHTTP(w, r)
			return
		}
		var as user.Info
		if a.Identity != nil {
			as = a.Identity.Info
		}
		serveOwn(w, r, api, as, flights)
	})
}

var _ responsewriter.CloseNotifierFlusher = ownWriter{}

// ownWriter is what k8s.io/apiserver wants of a writer for watches. The sweeper sees
// how long it writes: a client that does not read would keep its place in the own
// API's limits for ever.
type ownWriter struct {
	http.ResponseWriter
	flight *flight
}

func (w ownWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w ownWriter) Write(b []byte) (int, error) { return w.flight.writeTo(w.ResponseWriter, b) }

// Flush implements http.Flusher. An error means that the client is gone, which
// the next write tells as well.
func (w ownWriter) Flush() { _ = w.flight.flush() }

// CloseNotify implements http.CloseNotifier, without which k8s.io/apiserver does not
// look for Flush; nobody asks it.
func (w ownWriter) CloseNotify() <-chan bool { return nil }

package proxy

import (
	"net/http"
	"sync/atomic"
	"time"
)

// drainPhase is how far the gateway is on its way out.
type drainPhase int32

const (
	// The zero phase serves.
	_ drainPhase = iota
	// unready: readyz fails, so that load balancers choose other gateways.
	unready
	// leaving: requests are served, but every answer ends its connection, so that
	// clients move to other gateways without being refused.
	leaving
	// refusing: requests are answered with 503, long-running ones are ended.
	refusing
)

// maxSettle bounds how long connections accepted last have to send their first
// request. net/http drops requests that it reads after Shutdown was called.
const maxSettle = time.Second

// drainState is shared by all stages that the drain concerns.
type drainState struct{ phase atomic.Int32 }

func (d *drainState) enter(phase drainPhase)        { d.phase.Store(int32(phase)) }
func (d *drainState) reached(phase drainPhase) bool { return d.phase.Load() >= int32(phase) }

// WithDrainGate sends clients away from a gateway that is shutting down. Refused
// requests have not reached an apiserver, so the client may send them again.
func WithDrainGate(next http.Handler, drain *drainState, status statusWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if drain.reached(leaving) {
			// In HTTP/2 net/http makes a graceful GOAWAY of it.
			w.Header()["Connection"] = []string{"close"}
		}
		if drain.reached(refusing) {
			status.write(w, r, errUnavailable("this gateway is shutting down; connect again to reach another one"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

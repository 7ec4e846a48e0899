package proxy

import (
	"net/http"
	"time"
)

// boundAnswer bounds how long a client is waited for that does not take an answer of
// the gateway's own. Most are so small that net/http sends them after the handler has
// returned, when no sweeper sees them any more. Over HTTP/2 a client that gives them no
// window would have as many goroutines as it likes for as long as it likes, with any
// credentials or none.
func boundAnswer(w http.ResponseWriter, r *http.Request, patience time.Duration) {
	if r.ProtoMajor == 2 {
		// It fails where there is no connection.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
	}
}

package routing

import (
	"io"
	"net/http"
	"strings"
)

// sendOnce keeps net/http from sending a request again by itself. It does so over
// HTTP/1.1, when a connection that has carried others breaks before the answer:
// with GETs, and with all that has an Idempotency-Key. But kube-apiserver knows no
// such key and would apply a write twice, and exec by WebSocket is a GET. It would
// even look as if nothing had been sent if the second time nobody listens.
func sendOnce(r *http.Request, call Call) {
	// net/http looks for the canonical spelling; to a server all are one name.
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := r.Header[name]; ok {
			delete(r.Header, name)
			r.Header[strings.ToLower(name)] = values
		}
	}
	if (call.Lane == Upgrade || call.As == Anonymous) && (r.Body == nil || r.Body == http.NoBody) && !call.Repeatable(r) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			// A body that cannot be had a second time. That it is empty is found out
			// before the headers are written, so that the server sees no difference.
			r.Body, r.GetBody = io.NopCloser(strings.NewReader("")), nil
		}
	}
}

// again returns a request to send once more, after nothing of r has arrived or a read
// has been lost. The transport that had r may still look at it.
func again(r *http.Request) (*http.Request, error) {
	next := *r
	address := *r.URL
	next.URL = &address
	if r.GetBody == nil {
		// Then no transport sends it twice, so that the dial that failed was the first.
		return &next, nil
	}
	// An HTTP/2 server that goes away refuses a stream unseen. The body has been read
	// by then, and it is the dial after it that failed.
	body, err := r.GetBody()
	next.Body = body
	return &next, err
}

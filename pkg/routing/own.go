package routing

import (
	"net/http"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// OwnRequests returns a round tripper for the gateway's own requests, for use
// as rest.Config.Transport: whatever host a request names, it goes to a server
// that can be reached; one on behalf of a client (request.OnBehalf) to where the
// client's would go, if it is let.
func (u *Upstream) OwnRequests() http.RoundTripper { return ownRequests{u} }

type ownRequests struct{ upstream *Upstream }

func (o ownRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	call := Call{As: Own, Lane: Short, Attributes: request.Behalf(r.Context())}
	switch {
	case r.URL.Query().Get("watch") != "":
		call.Lane = Watch
	case call.Attributes != nil:
		call.Lane = Bulk
	}
	if body := r.Body; body != nil {
		// http.RoundTripper promises to close it.
		defer body.Close()
	}
	response, _, err := o.upstream.RoundTrip(r.Clone(r.Context()), call)
	return response, err
}

package routing

import "net/http"

// OwnRequests returns a round tripper for the gateway's own requests, for use
// as rest.Config.Transport: whatever host a request names, it goes to a server
// that can be reached.
func (u *Upstream) OwnRequests() http.RoundTripper { return ownRequests{u} }

type ownRequests struct{ upstream *Upstream }

func (o ownRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	lane := Short
	if r.URL.Query().Get("watch") != "" {
		lane = Watch
	}
	if body := r.Body; body != nil {
		// http.RoundTripper promises to close it.
		defer body.Close()
	}
	response, _, err := o.upstream.RoundTrip(r.Clone(r.Context()), Call{As: Own, Lane: lane})
	return response, err
}

package consistency

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// Resources that are written and read.
const (
	configMaps = "configmaps"
	nodes      = "nodes"
)

// encodings are those in which clients read and write.
var encodings = []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf}

// client has connections of its own to one address.
type client struct {
	name string
	rest rest.Interface
}

func newClient(config *rest.Config, name, encoding string) (*client, error) {
	config = fixture.OwnConnection(config)
	config.UserAgent = "consistency-" + name
	config.ContentType, config.AcceptContentTypes = encoding, encoding
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return witness{rt} })
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &client{name, set.CoreV1().RESTClient()}, nil
}

// outcome is what a client knows of a write of its own.
type outcome int

const (
	// acknowledged writes have been applied.
	acknowledged outcome = iota
	// denied writes have not been, for what they are or for what there is.
	denied
	// refused writes have not been applied either: there was nobody to do it.
	refused
	// unknown writes may have been applied, or may be yet.
	unknown
	outcomes
)

// denials are the codes of answers that say no.
var denials = []int32{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity}

// sending is what is known of a request that was sent once.
type sending struct {
	// later tells that the answer was to send it again later: it was not applied.
	later bool
}

type sendingKey struct{}

// witness notes in a request's context what became of it.
type witness struct{ http.RoundTripper }

func (w witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.RoundTripper.RoundTrip(r)
	if s, ok := r.Context().Value(sendingKey{}).(*sending); ok && err == nil {
		s.later = response.StatusCode >= http.StatusTooManyRequests && response.Header.Get("Retry-After") != ""
	}
	return response, err
}

// send sends a write once and tells what became of it. The object is that of the
// answer.
func send(ctx context.Context, r *rest.Request) (runtime.Object, outcome) {
	s := &sending{}
	answer, err := r.MaxRetries(0).Do(context.WithValue(ctx, sendingKey{}, s)).Get()
	var status apierrors.APIStatus
	var dialing *net.OpError
	switch {
	case err == nil:
		return answer, acknowledged
	case s.later:
		return nil, refused
	case errors.As(err, &status) && slices.Contains(denials, status.Status().Code):
		return nil, denied
	case errors.As(err, &dialing) && dialing.Op == "dial":
		return nil, refused
	}
	return nil, unknown
}

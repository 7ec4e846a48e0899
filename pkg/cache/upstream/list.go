package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// list gets the whole page by page, all of one resource version.
func (s *Stream) list(ctx context.Context) error {
	s.sink.Begin()
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for {
		meta, err := s.page(ctx, query)
		if err != nil {
			return s.broken(ctx, err)
		}
		if meta.Continue == "" {
			rv, err := strconv.ParseUint(meta.ResourceVersion, 10, 64)
			if err != nil {
				return s.broken(ctx, fmt.Errorf("%w: resource version %q of a list", wire.ErrMalformed, meta.ResourceVersion))
			}
			return s.complete(rv, nil)
		}
		query.Set("continue", meta.Continue)
	}
}

func (s *Stream) page(ctx context.Context, query url.Values) (wire.ListMeta, error) {
	response, err := s.get(ctx, query)
	if err != nil {
		return wire.ListMeta{}, err
	}
	defer response.Body.Close()
	if err := s.checked(response, false); err != nil {
		return wire.ListMeta{}, err
	}
	return wire.ReadList(response.Body, s.config.Kind, s.config.Encoding, s.config.MaxObject, func(body []byte, meta *wire.Meta) error {
		s.sink.Add(body, meta)
		return nil
	})
}

// maxStatus bounds what is read of an error.
const maxStatus = 64 << 10

// readStatus returns the error that an apiserver has answered with.
func readStatus(response *http.Response) (status, err error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxStatus))
	if err != nil {
		return nil, err
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if s, ok := object.(*metav1.Status); err == nil && ok {
		return apierrors.FromObject(runtime.Object(s)), nil
	}
	return fmt.Errorf("upstream answered %s: %.200q", response.Status, body), nil
}

package transport

import (
	"compress/gzip"
	"io"
	"net/http"

	"github.com/klauspost/compress/snappy"
)

// framed is the name of snappy's framing format in Accept-Encoding. It is what the
// format's description proposes.
const framed = "x-snappy-framed"

// Snappy returns a round tripper that asks for answers in framed snappy, or else in
// gzip, and decodes them: whoever calls it sees neither. Requests that ask for an
// encoding themselves, or for a part of an answer, pass as they are.
func Snappy(next http.RoundTripper) http.RoundTripper { return &snappyTransport{next} }

type snappyTransport struct{ next http.RoundTripper }

func (t *snappyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Accept-Encoding") != "" || r.Header.Get("Range") != "" || r.Header.Get("Upgrade") != "" || r.Method == http.MethodHead {
		return t.next.RoundTrip(r)
	}
	// A round tripper must not change the request that it is given.
	r = r.Clone(r.Context())
	r.Header.Set("Accept-Encoding", framed+", gzip")
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	switch response.Header.Get("Content-Encoding") {
	case framed:
		response.Body = &decoded{Reader: snappy.NewReader(response.Body), body: response.Body}
	case "gzip":
		response.Body = &decoded{Reader: &lazyGzip{from: response.Body}, body: response.Body}
	default:
		return response, nil
	}
	response.Header.Del("Content-Encoding")
	response.Header.Del("Content-Length")
	response.ContentLength = -1
	response.Uncompressed = true
	return response, nil
}

// WrappedRoundTripper lets client-go find what is below, to cancel or to close.
func (t *snappyTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

// decoded reads what is decoded, and closes what came.
type decoded struct {
	io.Reader
	body io.Closer
}

func (d *decoded) Close() error { return d.body.Close() }

// lazyGzip reads the head of the stream when it is read itself: of a watch it comes
// with the first event.
type lazyGzip struct {
	from io.Reader
	zip  *gzip.Reader
	err  error
}

func (l *lazyGzip) Read(b []byte) (int, error) {
	if l.zip == nil && l.err == nil {
		l.zip, l.err = gzip.NewReader(l.from)
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.zip.Read(b)
}

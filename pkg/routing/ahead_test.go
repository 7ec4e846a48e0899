package routing

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// watchedBody tells whether it was closed.
type watchedBody struct {
	io.Reader
	closed bool
}

func (w *watchedBody) Close() error {
	w.closed = true
	return nil
}

func TestABodyFetchedAheadIsTheSame(t *testing.T) {
	for _, size := range []int{0, 1, aheadBytes - 1, aheadBytes, aheadBytes + 1, 5 * aheadBytes} {
		want := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		for name, slowly := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "by halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			body := &watchedBody{Reader: slowly(bytes.NewReader(want))}
			response := &http.Response{Body: body}
			if err := fetchAhead(response); err != nil {
				t.Fatalf("%d bytes %s: %v", size, name, err)
			}
			got, err := io.ReadAll(iotest.OneByteReader(response.Body))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes %s: read %d, %v", size, name, len(got), err)
			}
			if n, err := response.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%d bytes %s: behind the end is %d, %v", size, name, n, err)
			}
			if response.Body.Close(); !body.closed {
				t.Errorf("%d bytes %s: not closed", size, name)
			}
		}
	}
}

func TestABodyThatBreaksOffAheadIsNoAnswer(t *testing.T) {
	broken := errors.New("connection reset by peer")
	body := &watchedBody{Reader: io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken))}
	if err := fetchAhead(&http.Response{Body: body}); !errors.Is(err, broken) || !body.closed {
		t.Errorf("%v, closed %t", err, body.closed)
	}
	body = &watchedBody{Reader: io.MultiReader(strings.NewReader(strings.Repeat("x", aheadBytes)), iotest.ErrReader(broken))}
	response := &http.Response{Body: body}
	if err := fetchAhead(response); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(response.Body); !errors.Is(err, broken) || len(got) != aheadBytes {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

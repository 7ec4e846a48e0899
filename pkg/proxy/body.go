package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// Bodies are read before they are sent, so that the request can be sent once more
// when the apiserver has provably not looked at it: HTTP/2 servers refuse streams
// behind a GOAWAY, and kube-apiserver sends one when it is restarted, or at random
// to spread its clients.
const (
	// smallBytes is up to which size a body always is. Nearly all writes of a
	// cluster are smaller.
	smallBytes = 64 << 10
	// replayBytes is up to which size one is while replayMemory lasts: as much as
	// kube-apiserver accepts.
	replayBytes  = 3 << 20
	replayMemory = 64 << 20
)

// replays is the memory that bodies larger than smallBytes hold.
type replays struct{ used atomic.Int64 }

func (m *replays) reserve(n int64) bool {
	if m.used.Add(n) <= replayMemory {
		return true
	}
	m.used.Add(-n)
	return false
}

// clientBody remembers why a client's body could not be read: a transport
// reports that like a failure of the apiserver's.
type clientBody struct {
	io.ReadCloser
	failure atomic.Pointer[error]
}

// newClientBody makes the body of r, which is on its way upstream, ready to be
// sent. The result is nil, and good to use, for a body that is in memory. Errors
// are clientErrors. Release must be called when the request is over.
func newClientBody(r *http.Request, memory *replays) (body *clientBody, release func(), err error) {
	release = func() {}
	n := r.ContentLength
	switch {
	case n == 0:
		// Not http.NoBody, which the transport closes in a goroutine of its own and waits for.
		r.Body = nil
		return nil, release, nil
	case n > smallBytes && n <= replayBytes && memory.reserve(n):
		release = func() { memory.used.Add(-n) }
	case n < 0 || n > smallBytes:
		body = &clientBody{ReadCloser: r.Body}
		r.Body = body
		return body, release, nil
	}
	whole := make([]byte, n)
	if _, err := io.ReadFull(r.Body, whole); err != nil {
		return nil, release, clientError{err}
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(whole)), nil }
	r.Body, _ = r.GetBody()
	return nil, release, nil
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.failure.Store(&err)
	}
	return n, err
}

// blame returns err, as a clientError if a round trip failed with it because
// the body could not be read.
func (b *clientBody) blame(err error) error {
	if b == nil {
		return err
	}
	if failure := b.failure.Load(); failure != nil && errors.Is(err, *failure) {
		return clientError{err}
	}
	return err
}

package routing

import (
	"io"
	"net/http"
	"sync"
)

// aheadBytes is how much of a body is read before the answer counts as one.
const aheadBytes = 32 << 10

var aheadBuffers = sync.Pool{New: func() any { return new([aheadBytes]byte) }}

// fetchAhead reads the beginning of a body, all of it if it is short; reading the body
// starts with that. With an error the body is closed.
func fetchAhead(response *http.Response) error {
	buffer := aheadBuffers.Get().(*[aheadBytes]byte)
	n, err := 0, error(nil)
	for n < len(buffer) && err == nil {
		var read int
		read, err = response.Body.Read(buffer[n:])
		n += read
	}
	if err != nil && err != io.EOF {
		aheadBuffers.Put(buffer)
		response.Body.Close()
		return err
	}
	response.Body = &ahead{ReadCloser: response.Body, buffer: buffer, rest: buffer[:n], end: err}
	return nil
}

// ahead is a body whose beginning has been read.
type ahead struct {
	io.ReadCloser
	// buffer is nil once its bytes, of which rest is what is left, have been read. Who
	// closes the body before leaves it to the garbage collector: somebody might still
	// read.
	buffer *[aheadBytes]byte
	rest   []byte
	// end is io.EOF if that was all.
	end error
}

func (a *ahead) Read(b []byte) (n int, err error) {
	if a.buffer != nil {
		n = copy(b, a.rest)
		if a.rest = a.rest[n:]; len(a.rest) > 0 {
			return n, nil
		}
		aheadBuffers.Put(a.buffer)
		a.buffer = nil
		return n, a.end
	}
	if a.end != nil {
		return 0, a.end
	}
	return a.ReadCloser.Read(b)
}

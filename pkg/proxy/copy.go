package proxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

const (
	// bulkBufferBytes carries answers: two TLS records a read and write.
	bulkBufferBytes = 32 << 10
	// idleBufferBytes is what a watch holds while it waits, 5% of what it costs.
	idleBufferBytes = 2 << 10
)

var (
	bulkBuffers = sync.Pool{New: func() any { return new([bulkBufferBytes]byte) }}
	idleBuffers = sync.Pool{New: func() any { return new([idleBufferBytes]byte) }}
)

// copyResponse sends an apiserver's answer to the client, byte for byte.
//
// Answers of long-running requests are flushed after the headers and whenever
// all that has come is written. An answer that breaks off upstream, or is ended by
// a drain, is broken off for the client too, so that nobody takes the part for the
// whole; except that a watch between two events ends as if the apiserver had ended
// it, since the client then resumes where it was.
func (f *forwarder) copyResponse(ctx context.Context, w http.ResponseWriter, a *request.Attributes, response *http.Response, by *routing.Endpoint, flight *flight) {
	forgetOwnHeaders(w.Header())
	inbound(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	var err error
	if a.LongRunning {
		opened(a)
		err = copyStream(w, response, flight)
	} else {
		buffer := bulkBuffers.Get().(*[bulkBufferBytes]byte)
		err = copyBody(w, response.Body, buffer[:], flight)
		bulkBuffers.Put(buffer)
	}
	if err != nil {
		if a.Verb == "watch" && !flight.midEvent.Load() && !errors.As(err, &clientError{}) {
			f.stagger(ctx, a, by)
			return
		}
		// Ends the client's stream without an end: RST_STREAM, or a closed
		// connection in HTTP/1.1.
		panic(http.ErrAbortHandler)
	}
	for name, values := range response.Trailer {
		w.Header()[http.TrailerPrefix+name] = values
	}
}

// stagger waits before a client learns that its watch has ended: of a server that
// dies, all would come back in the same moment. The control plane does not wait.
func (f *forwarder) stagger(ctx context.Context, a *request.Attributes, by *routing.Endpoint) {
	if by == nil || a.Priority == v1alpha1.PriorityP0 {
		return
	}
	spread := by.Spread()
	if spread <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-f.flights.clock.After(rand.N(spread)):
	}
}

// clientError is a failure to read from the client or write to it.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

func copyBody(w http.ResponseWriter, body io.Reader, buffer []byte, flight *flight) error {
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			if _, err := flight.writeTo(w, buffer[:n]); err != nil {
				return clientError{err}
			}
		}
		if err != nil {
			return ignoreEOF(err)
		}
	}
}

// copyStream waits for events with a small buffer; a read that fills it is
// followed by ones into a large buffer, until the stream is quiet again.
func copyStream(w http.ResponseWriter, response *http.Response, flight *flight) error {
	if err := flight.flush(); err != nil {
		return clientError{err}
	}
	idle := idleBuffers.Get().(*[idleBufferBytes]byte)
	defer idleBuffers.Put(idle)
	events := newEventScanner(response.Header)
	buffer := idle[:]
	var bulk *[bulkBufferBytes]byte
	for {
		n, err := response.Body.Read(buffer)
		if n > 0 {
			flight.midEvent.Store(events.scan(buffer[:n]))
			if _, err := flight.writeTo(w, buffer[:n]); err != nil {
				return clientError{err}
			}
			if err := flight.flush(); err != nil {
				return clientError{err}
			}
		}
		if err != nil {
			if bulk != nil {
				bulkBuffers.Put(bulk)
			}
			return ignoreEOF(err)
		}
		switch {
		case n == len(buffer) && bulk == nil:
			bulk = bulkBuffers.Get().(*[bulkBufferBytes]byte)
			buffer = bulk[:]
		case n < len(buffer) && bulk != nil:
			bulkBuffers.Put(bulk)
			bulk, buffer = nil, idle[:]
		}
	}
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

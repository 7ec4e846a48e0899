package wire

import (
	"io"
	"sync"
)

// ContentEncoding is how the bytes of an answer are encoded for the way.
type ContentEncoding uint8

const (
	// Identity is no encoding.
	Identity ContentEncoding = iota
	// Gzip is the encoding that clients of Kubernetes ask for.
	Gzip
	// Snappy is snappy's framing format, which costs the least to write and to read.
	Snappy
)

const (
	// writerBuffer is how much is collected before it is written: it must hold a
	// chunk, and beyond a few TLS records it makes no difference.
	writerBuffer = 128 << 10
	// direct is the length from which bytes are not collected but written as they are.
	direct = writerBuffer / 2
	// plainMin is the length under which a body is not worth a piece of its own: it is
	// written like what stands between bodies.
	plainMin = 256
)

var writerBuffers = sync.Pool{New: func() any { return new([writerBuffer]byte) }}

// Writer writes one answer, or the events of one watch, in one content encoding.
// It is used by one goroutine. Between Flush and what is written next it holds no
// buffers, so that a watch in which nothing happens costs little.
//
// The first error sticks. All that is written after it is dropped.
type Writer struct {
	w        io.Writer
	encoding ContentEncoding
	// started tells that the head of the stream is written, closed its end.
	started, closed bool
	err             error

	// buffer is nil while nothing is waiting to be written; pending is the part of it
	// that is.
	buffer  *[writerBuffer]byte
	pending []byte
	// literal is where in pending the head of the literal begins that is being
	// collected; -1 if there is none. Its length is not known until the next body.
	literal int
	// unsynced tells that a reader of gzip might not hand on all that is written.
	unsynced bool
	// crc and size are those of all bytes before encoding, for gzip.
	crc, size uint32
}

// NewWriter returns a Writer to w. Close ends it; one that is abandoned instead
// leaves its buffers to the garbage collector.
func NewWriter(w io.Writer, e ContentEncoding) *Writer {
	return &Writer{w: w, encoding: e, literal: -1}
}

// Literal writes what stands around bodies, or a body that is made for this answer
// only. It copies b.
func (w *Writer) Literal(b []byte) {
	if len(b) == 0 || w.err != nil {
		return
	}
	switch w.encoding {
	case Gzip:
		w.gzipLiteral(b)
	case Snappy:
		w.snappyLiteral(b)
	default:
		w.raw(b)
	}
}

// Body writes a body.
func (w *Writer) Body(b *Body) { w.BodyPart(b, b.Size()) }

// BodyPart writes the first n bytes of a body. A part costs what it costs to encode
// it, a whole body next to nothing.
func (w *Writer) BodyPart(b *Body, n int) {
	switch {
	case w.err != nil:
	case w.encoding == Identity:
		w.identityBody(b, n)
	case n < plainMin:
		w.smallBody(b, n)
	case w.encoding == Gzip:
		w.gzipBody(b, n)
	default:
		w.snappyBody(b, n)
	}
}

// Flush hands all to the underlying writer that has been written so far, so that
// who reads it can decode all of it. It does not flush the underlying writer.
func (w *Writer) Flush() error {
	if w.closed {
		return w.err
	}
	w.closeLiteral()
	if w.encoding == Gzip && w.unsynced {
		w.room(len(gzipSync))
		w.pending = append(w.pending, gzipSync...)
		w.unsynced = false
	}
	w.drain()
	w.release()
	return w.err
}

// Close ends the stream. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closeLiteral()
	w.room(0)
	if w.encoding == Gzip {
		w.gzipEnd()
	}
	w.drain()
	w.release()
	w.closed = true
	return w.err
}

// Err returns the first error.
func (w *Writer) Err() error { return w.err }

// fail keeps the first error.
func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// identityBody decodes straight into what is to be written.
func (w *Writer) identityBody(b *Body, n int) {
	if !b.framed {
		w.raw(b.data[:n])
		return
	}
	for chunks := newChunks(b); chunks.at < n; {
		at := chunks.at
		chunk, holds := chunks.next()
		w.room(holds)
		end := len(w.pending) + holds
		if err := openChunk(w.pending[len(w.pending):end], chunk); err != nil {
			w.fail(err)
			return
		}
		w.pending = w.pending[:end-holds+min(holds, n-at)]
	}
}

// smallBody writes a few bytes of a body as a literal.
func (w *Writer) smallBody(b *Body, n int) {
	w.withPart(b, n, w.Literal)
}

// withPart calls fn with the first n bytes of a body.
func (w *Writer) withPart(b *Body, n int, fn func([]byte)) {
	if !b.framed {
		fn(b.data[:n])
		return
	}
	scratch := takeScratch()
	defer giveScratch(scratch)
	var err error
	if *scratch, err = b.appendPart((*scratch)[:0], n); err != nil {
		w.fail(err)
		return
	}
	fn(*scratch)
}

// closeLiteral completes the literal that is being collected, if there is one.
func (w *Writer) closeLiteral() {
	if w.literal < 0 {
		return
	}
	b := w.pending[w.literal:]
	w.literal = -1
	if w.encoding == Gzip {
		putStoredHeader(b)
	} else {
		putChunkHeader(b, chunkUncompressed, checksum(b[chunkHeader:]))
	}
}

// collect appends b to the literal that is being collected, in as many pieces as
// needed; each has a head and holds no more than most bytes.
func (w *Writer) collect(b []byte, head, most int) {
	for len(b) > 0 {
		free := min(cap(w.pending), w.literal+head+most) - len(w.pending)
		if w.literal < 0 || free == 0 {
			w.closeLiteral()
			w.room(head + min(len(b), most))
			w.literal = len(w.pending)
			// What is there is overwritten when the literal is complete.
			w.pending = w.pending[:len(w.pending)+head]
			free = min(cap(w.pending)-len(w.pending), most)
		}
		n := min(len(b), free)
		w.pending = append(w.pending, b[:n]...)
		b = b[n:]
	}
}

// raw writes bytes that are encoded already. No literal must be open.
func (w *Writer) raw(b []byte) {
	if len(b) < direct {
		w.room(len(b))
		w.pending = append(w.pending, b...)
		return
	}
	w.room(0)
	w.drain()
	w.write(b)
}

// room makes room for n more bytes in pending, at most writerBuffer. No literal
// must be open.
func (w *Writer) room(n int) {
	if w.buffer == nil {
		w.buffer = writerBuffers.Get().(*[writerBuffer]byte)
		w.pending = w.buffer[:0]
	}
	if !w.started {
		w.started = true
		switch w.encoding {
		case Gzip:
			w.pending = append(w.pending, gzipHeader...)
		case Snappy:
			w.pending = append(w.pending, streamIdentifier...)
		}
	}
	if cap(w.pending)-len(w.pending) < n {
		w.drain()
	}
}

// drain writes what is pending.
func (w *Writer) drain() {
	w.write(w.pending)
	w.pending = w.pending[:0]
}

func (w *Writer) write(b []byte) {
	if w.err != nil || len(b) == 0 {
		return
	}
	if _, err := w.w.Write(b); err != nil {
		w.fail(err)
	}
}

// release gives the buffer back. Nothing must be pending.
func (w *Writer) release() {
	if w.buffer != nil {
		writerBuffers.Put(w.buffer)
		w.buffer, w.pending = nil, nil
	}
}

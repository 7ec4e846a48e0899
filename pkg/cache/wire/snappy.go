package wire

// A framed snappy answer is a sequence of chunks: literals are uncompressed ones,
// bodies are the chunks that they keep.

func (w *Writer) snappyLiteral(b []byte) { w.collect(b, chunkHeader, chunkMax) }

func (w *Writer) snappyBody(b *Body, n int) {
	w.closeLiteral()
	if !b.framed {
		w.snappyPart(b.data[:n])
		return
	}
	if n == b.Size() {
		w.raw(b.data)
		return
	}
	w.withPart(b, n, w.snappyPart)
}

// snappyPart compresses on the spot.
func (w *Writer) snappyPart(b []byte) {
	for len(b) > 0 {
		n := min(len(b), chunkMax)
		w.room(chunkRoom)
		w.pending = appendChunk(w.pending, b[:n])
		b = b[n:]
	}
}

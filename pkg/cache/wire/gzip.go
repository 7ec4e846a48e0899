package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// A gzip answer is one member: the literals are stored blocks of deflate, the
// bodies are the pieces that they keep (deflated), and the checksum at the end is
// combined from theirs.
const (
	// gzipHeader says deflate, no name, no time, and an unknown system, as compress/gzip
	// writes it.
	gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
	// gzipSync is a stored block of no bytes: what readers take as a reason to hand on
	// all they have. gzipFinal is one that is the last.
	gzipSync  = "\x00\x00\x00\xff\xff"
	gzipFinal = "\x01\x00\x00\xff\xff"
	// storedHeader is the length of the head of a stored block, storedMax how much it
	// can hold.
	storedHeader = 5
	storedMax    = 65535
)

// putStoredHeader writes the head of the stored block that b is.
func putStoredHeader(b []byte) {
	n := uint16(len(b) - storedHeader)
	b[0] = 0
	binary.LittleEndian.PutUint16(b[1:], n)
	binary.LittleEndian.PutUint16(b[3:], ^n)
}

func (w *Writer) gzipLiteral(b []byte) {
	w.crc = crc32.Update(w.crc, crc32.IEEETable, b)
	w.size += uint32(len(b))
	w.collect(b, storedHeader, storedMax)
	w.unsynced = true
}

func (w *Writer) gzipBody(b *Body, n int) {
	w.closeLiteral()
	if n < b.Size() {
		w.withPart(b, n, w.gzipPart)
		return
	}
	d, err := b.deflate()
	if err != nil {
		w.fail(err)
		return
	}
	w.deflated(d)
}

// deflated writes a piece. No literal must be open.
func (w *Writer) deflated(d *deflated) {
	w.raw(d.data)
	w.crc = combine(w.crc, d.crc, d.shift)
	w.size += d.size
	w.unsynced = false
}

// gzipPart compresses on the spot.
func (w *Writer) gzipPart(b []byte) {
	w.crc = crc32.Update(w.crc, crc32.IEEETable, b)
	w.size += uint32(len(b))
	scratch := takeScratch()
	defer giveScratch(scratch)
	*scratch = appendDeflated((*scratch)[:0], b)
	w.raw(*scratch)
	w.unsynced = false
}

// gzipEnd ends the stream.
func (w *Writer) gzipEnd() {
	w.room(len(gzipFinal) + 8)
	w.pending = append(w.pending, gzipFinal...)
	w.pending = binary.LittleEndian.AppendUint32(w.pending, w.crc)
	w.pending = binary.LittleEndian.AppendUint32(w.pending, w.size)
}

package wire

import (
	"hash/crc32"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/flate"
)

// deflated is a piece of a gzip stream: blocks of which none is the last, that
// refer to nothing before them and end with a sync flush, which leaves them
// aligned to bytes. It can stand anywhere between blocks.
type deflated struct {
	data []byte
	// crc is that of the content, shift what its length multiplies the checksum of
	// all before by, and size its length.
	crc, shift, size uint32
}

// resident is how many bytes of memory it takes.
func (d *deflated) resident() int { return int(unsafe.Sizeof(*d)) + len(d.data) }

// deflater appends such pieces.
type deflater struct {
	flate *flate.Writer
	out   []byte
}

// deflateLevel takes a fifth more time than the fastest, and a run of pods a fifth less
// room (BenchmarkRuns); what is made is kept.
const deflateLevel = 3

// deflaters are pooled as each holds tables of more than a megabyte.
var deflaters = sync.Pool{New: func() any {
	d := &deflater{}
	// Only an unknown level is an error.
	d.flate, _ = flate.NewWriter(d, deflateLevel)
	return d
}}

// Write implements io.Writer, for the flate.Writer.
func (d *deflater) Write(b []byte) (int, error) {
	d.out = append(d.out, b...)
	return len(b), nil
}

// appendDeflated appends b as a piece of a gzip stream.
func appendDeflated(dst, b []byte) []byte {
	d := deflaters.Get().(*deflater)
	d.out = dst
	d.flate.Reset(d)
	// Write of deflater has no error to return.
	_, _ = d.flate.Write(b)
	_ = d.flate.Flush()
	dst, d.out = d.out, nil
	deflaters.Put(d)
	return dst
}

// newDeflated compresses b.
func newDeflated(b []byte) *deflated {
	scratch := takeScratch()
	defer giveScratch(scratch)
	*scratch = appendDeflated((*scratch)[:0], b)
	d := &deflated{data: make([]byte, len(*scratch)), crc: crc32.ChecksumIEEE(b), shift: shiftBy(len(b)), size: uint32(len(b))}
	copy(d.data, *scratch)
	return d
}

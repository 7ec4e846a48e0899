package wire

import (
	"compress/flate"
	"hash/crc32"
	"slices"
	"sync"
)

// deflated is a piece of a gzip stream: blocks of which none is the last, that
// refer to nothing before them and end with a sync flush, which leaves them
// aligned to bytes. It can stand anywhere between blocks.
type deflated struct {
	data []byte
	// crc is that of the content, shift what its length multiplies the checksum of
	// all before by.
	crc, shift uint32
}

// deflater appends such pieces.
type deflater struct {
	flate *flate.Writer
	out   []byte
}

// deflaters are pooled as each holds tables of more than a megabyte.
var deflaters = sync.Pool{New: func() any {
	d := &deflater{}
	// Only an unknown level is an error.
	d.flate, _ = flate.NewWriter(d, flate.BestSpeed)
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
	return &deflated{
		data:  slices.Clip(append(make([]byte, 0, len(*scratch)), *scratch...)),
		crc:   crc32.ChecksumIEEE(b),
		shift: shiftBy(len(b)),
	}
}

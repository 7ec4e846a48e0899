package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/s2"
)

// The framing format of snappy: after the stream identifier, chunks of a type, a
// length of three bytes, and that many bytes: a masked CRC-32C of the content
// uncompressed, and the content. Each chunk stands by itself, which is what makes
// them fit to be kept and joined.
const (
	streamIdentifier = "\xff\x06\x00\x00sNaPpY"

	chunkCompressed   = 0x00
	chunkUncompressed = 0x01
	// chunkHeader is the length of type, length and checksum.
	chunkHeader = 8
	// chunkMax is how much a chunk can hold, uncompressed.
	chunkMax = 65536
)

// chunkRoom is the most that appendChunk appends.
const chunkRoom = chunkHeader + 32 + chunkMax + chunkMax/6

// errCorrupt is for kept bytes that are not what was kept: a fault of the memory.
var errCorrupt = errors.New("the bytes of an object have changed in memory")

// scratchKept is the largest scratch space that is kept for the next user.
const scratchKept = 1 << 20

var scratches = sync.Pool{New: func() any { return new(make([]byte, 0, chunkRoom)) }}

func takeScratch() *[]byte { return scratches.Get().(*[]byte) }

func giveScratch(s *[]byte) {
	if cap(*s) <= scratchKept {
		*s = (*s)[:0]
		scratches.Put(s)
	}
}

// appendChunks appends b as a sequence of chunks.
func appendChunks(dst, b []byte) []byte {
	for len(b) > 0 {
		n := min(len(b), chunkMax)
		dst = appendChunk(dst, b[:n])
		b = b[n:]
	}
	return dst
}

// appendChunk appends one chunk that holds b, at most chunkMax bytes; compressed
// unless that saves less than an eighth.
func appendChunk(dst, b []byte) []byte {
	at := len(dst)
	dst = grow(dst, chunkRoom)
	block := s2.EncodeSnappy(dst[at+chunkHeader:at+chunkRoom], b)
	kind := byte(chunkCompressed)
	if len(block) >= len(b)-len(b)/8 {
		kind = chunkUncompressed
		block = dst[at+chunkHeader : at+chunkHeader+copy(dst[at+chunkHeader:at+chunkRoom], b)]
	}
	dst = dst[:at+chunkHeader+len(block)]
	putChunkHeader(dst[at:], kind, checksum(b))
	return dst
}

// putChunkHeader writes the header of the chunk that b is.
func putChunkHeader(b []byte, kind byte, sum uint32) {
	n := len(b) - 4
	b[0], b[1], b[2], b[3] = kind, byte(n), byte(n>>8), byte(n>>16)
	binary.LittleEndian.PutUint32(b[4:], sum)
}

// checksum returns the masked CRC-32C of b, as chunks carry it.
func checksum(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}

// nextChunk splits the first chunk off a sequence that appendChunks has made.
func nextChunk(b []byte) (chunk, rest []byte) {
	n := 4 + (int(b[1]) | int(b[2])<<8 | int(b[3])<<16)
	return b[:n:n], b[n:]
}

// openChunk writes what a chunk holds into dst, whose length it must have.
func openChunk(dst, chunk []byte) error {
	content := chunk[chunkHeader:]
	if chunk[0] == chunkUncompressed {
		if len(content) != len(dst) {
			return errCorrupt
		}
		copy(dst, content)
		return nil
	}
	if n, err := s2.DecodedLen(content); err != nil || n != len(dst) {
		return errCorrupt
	}
	if _, err := s2.Decode(dst, content); err != nil {
		return errCorrupt
	}
	return nil
}

// grow returns b with room for n more bytes.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	grown := make([]byte, len(b), max(2*cap(b), len(b)+n))
	copy(grown, b)
	return grown
}

package wire

import (
	"sync/atomic"
	"unsafe"
)

// Body is the bytes of an object, kept for all answers to come. It is immutable
// and can be used by many at a time.
//
// It is held in one form from the beginning, plain or as chunks of framed snappy,
// which an answer in that encoding takes as they are. The form for gzip is made
// when the first such answer is written, and kept as well; and so are those of the run
// that it is the first of (Runs).
type Body struct {
	// data is the bytes, or chunks if framed is set.
	data   []byte
	size   uint32
	framed bool
	// id tells it from all others there have been.
	id   uint64
	made atomic.Pointer[forms]
}

// forms are those that are made for answers.
type forms struct {
	deflated atomic.Pointer[deflated]
	// run is the last one that began with the body.
	run atomic.Pointer[run]
}

// NewBody copies b. Above compressAbove bytes it is kept compressed, if that makes
// it smaller; a negative compressAbove never compresses.
func NewBody(b []byte, compressAbove int) *Body {
	body := &Body{size: uint32(len(b)), id: bodies.Add(1)}
	if compressAbove >= 0 && len(b) > compressAbove {
		scratch := takeScratch()
		defer giveScratch(scratch)
		*scratch = appendChunks((*scratch)[:0], b)
		if len(*scratch) < len(b) {
			b, body.framed = *scratch, true
		}
	}
	// Unlike append and slices.Clone, make leaves no unused capacity.
	body.data = make([]byte, len(b))
	copy(body.data, b)
	return body
}

// Size returns the length of the bytes, uncompressed.
func (b *Body) Size() int { return int(b.size) }

// Held returns how many bytes of memory the body takes from the beginning.
func (b *Body) Held() int { return int(unsafe.Sizeof(*b)) + len(b.data) }

// Resident returns how many bytes of memory the body takes, with all forms that it
// holds at this time.
func (b *Body) Resident() int {
	n := b.Held()
	forms := b.made.Load()
	if forms == nil {
		return n
	}
	n += int(unsafe.Sizeof(*forms))
	if d := forms.deflated.Load(); d != nil {
		n += d.resident()
	}
	if r := forms.run.Load(); r != nil {
		n += r.resident()
	}
	return n
}

// AppendTo appends the bytes, uncompressed. It panics if what it holds is not what
// NewBody has made, which only a fault of the memory can do.
func (b *Body) AppendTo(dst []byte) []byte {
	dst, err := b.appendPart(dst, b.Size())
	if err != nil {
		panic(err)
	}
	return dst
}

// appendPart appends the first n bytes, uncompressed.
func (b *Body) appendPart(dst []byte, n int) ([]byte, error) {
	if !b.framed {
		return append(dst, b.data[:n]...), nil
	}
	// The last chunk is opened whole, even if only a part of it is wanted.
	dst = grow(dst, min(b.Size(), (n+chunkMax-1)/chunkMax*chunkMax))
	at := len(dst)
	for chunks := newChunks(b); chunks.at < n; {
		chunk, holds := chunks.next()
		dst = dst[:len(dst)+holds]
		if err := openChunk(dst[len(dst)-holds:], chunk); err != nil {
			return dst[:at], err
		}
	}
	return dst[:at+n], nil
}

// chunks goes through those of a framed body.
type chunks struct {
	rest []byte
	// at is how many bytes the chunks passed hold, size how many all hold.
	at, size int
}

func newChunks(b *Body) chunks { return chunks{rest: b.data, size: b.Size()} }

// next returns a chunk, and how many bytes it holds.
func (c *chunks) next() (chunk []byte, holds int) {
	chunk, c.rest = nextChunk(c.rest)
	holds = min(c.size-c.at, chunkMax)
	c.at += holds
	return chunk, holds
}

// forms returns what is made for answers, to be added to.
func (b *Body) forms() *forms {
	if made := b.made.Load(); made != nil {
		return made
	}
	b.made.CompareAndSwap(nil, &forms{})
	return b.made.Load()
}

// deflate returns the form for gzip.
func (b *Body) deflate() (*deflated, error) {
	forms := b.forms()
	if d := forms.deflated.Load(); d != nil {
		return d, nil
	}
	plain := b.data
	if b.framed {
		scratch := takeScratch()
		defer giveScratch(scratch)
		var err error
		if *scratch, err = b.appendPart((*scratch)[:0], b.Size()); err != nil {
			return nil, err
		}
		plain = *scratch
	}
	// Of several that come here at a time one wins, and all use its form.
	forms.deflated.CompareAndSwap(nil, newDeflated(plain))
	return forms.deflated.Load(), nil
}

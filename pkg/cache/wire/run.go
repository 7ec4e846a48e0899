package wire

import (
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	// runMax is how much a run holds at most, in bytes: what fits into one chunk.
	runMax = chunkMax
	// runMin is from how much on a run can end before it is full, and runSpread over
	// how many more bytes it then does on average. The longer they are the better they
	// compress, and the more is done again for each change. Pods of 8 KB
	// (BenchmarkRuns), by how many they are:
	//
	//	        1    2     4     6
	//	gzip    5.3  8.0  10.9  12.7
	//	snappy  3.6  5.0   6.5   7.2
	runMin    = 32 << 10
	runSpread = 16 << 10
)

// bodies counts them, to tell one from another.
var bodies atomic.Uint64

// run is a body and those that stood behind it in a list, with what stood between:
// compressed together they take half of what they take one by one. A list is cut
// into the same runs again and again, so they are kept, in the first one's Body.
type run struct {
	// rest says which bodies stood behind; that of one that has changed is another.
	rest []uint64

	// making is held while a form is made, for the others who want it would do the
	// same.
	making   sync.Mutex
	deflated atomic.Pointer[deflated]
	chunk    atomic.Pointer[[]byte]
}

// Runs writes the items of a list that has all objects of a range. In an answer
// without compression they are written one by one.
type Runs struct {
	w      *Writer
	format *Format
	// first tells that nothing has been written.
	first  bool
	bodies []*Body
	// size is that of the run that is being collected.
	size int
	head [64]byte
}

// NewRuns returns what writes a list's items, which are whole. A body is to be in
// lists of one format only.
func NewRuns(w *Writer, format *Format) *Runs {
	return &Runs{w: w, format: format, first: true}
}

// Item writes one. Apart tells that a list could begin with it: one of a namespace.
func (r *Runs) Item(b *Body, apart bool) {
	if r.w.encoding == Identity || b.Size() > runMax-len(r.head) {
		r.write()
		r.w.Literal(r.format.AppendItemHead(r.head[:0], r.first, b.Size()))
		r.w.Body(b)
		r.first = false
		return
	}
	size := len(r.format.AppendItemHead(r.head[:0], false, b.Size())) + b.Size()
	if r.size+size > runMax || apart && r.size >= runMin/2 || r.size >= runMin && b.parts() {
		r.write()
	}
	r.bodies = append(r.bodies, b)
	r.size += size
}

// parts tells whether a run that is long enough ends before a body. It is the same
// in all lists, so that their runs meet again after one has been cut differently.
func (b *Body) parts() bool {
	// The end of MurmurHash3: numbers in order must not part in a pattern, in which
	// two lists never meet.
	h := (b.id ^ b.id>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return int(h>>33%runSpread) < b.Size()
}

// Close writes what is left.
func (r *Runs) Close() { r.write() }

func (r *Runs) write() {
	if len(r.bodies) == 0 {
		return
	}
	r.w.Literal(r.format.AppendItemHead(r.head[:0], r.first, r.bodies[0].Size()))
	r.first = false
	if len(r.bodies) == 1 {
		r.w.Body(r.bodies[0])
	} else {
		r.w.run(runOf(r.bodies), r.appendTo)
	}
	r.bodies, r.size = r.bodies[:0], 0
}

// appendTo appends what the run holds.
func (r *Runs) appendTo(dst []byte) ([]byte, error) {
	var err error
	for i, b := range r.bodies {
		if i > 0 {
			dst = r.format.AppendItemHead(dst, false, b.Size())
		}
		if dst, err = b.appendPart(dst, b.Size()); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// runOf returns the run of bodies, which is a new one if another begins with the
// same.
func runOf(all []*Body) *run {
	slot := &all[0].forms().run
	known := slot.Load()
	if known != nil && known.of(all[1:]) {
		return known
	}
	fresh := &run{rest: make([]uint64, len(all)-1)}
	for i, b := range all[1:] {
		fresh.rest[i] = b.id
	}
	if !slot.CompareAndSwap(known, fresh) {
		// Somebody else lists as well.
		if known = slot.Load(); known.of(all[1:]) {
			return known
		}
	}
	return fresh
}

func (r *run) of(rest []*Body) bool {
	return slices.EqualFunc(r.rest, rest, func(id uint64, b *Body) bool { return id == b.id })
}

// run writes one; appendTo appends what it holds.
func (w *Writer) run(r *run, appendTo func([]byte) ([]byte, error)) {
	if w.err != nil {
		return
	}
	w.closeLiteral()
	if w.encoding == Snappy {
		chunk, err := made(r, &r.chunk, appendTo, newChunk)
		if err != nil {
			w.fail(err)
			return
		}
		w.raw(*chunk)
		return
	}
	d, err := made(r, &r.deflated, appendTo, newDeflated)
	if err != nil {
		w.fail(err)
		return
	}
	w.deflated(d)
}

// made returns a form of a run, and makes it if nobody has.
func made[F any](r *run, form *atomic.Pointer[F], appendTo func([]byte) ([]byte, error), from func([]byte) *F) (*F, error) {
	if f := form.Load(); f != nil {
		return f, nil
	}
	r.making.Lock()
	defer r.making.Unlock()
	if f := form.Load(); f != nil {
		return f, nil
	}
	scratch := takeScratch()
	defer giveScratch(scratch)
	plain, err := appendTo((*scratch)[:0])
	if err != nil {
		return nil, err
	}
	*scratch = plain
	f := from(plain)
	form.Store(f)
	return f, nil
}

// newChunk returns one that holds b.
func newChunk(b []byte) *[]byte {
	scratch := takeScratch()
	defer giveScratch(scratch)
	*scratch = appendChunk((*scratch)[:0], b)
	chunk := make([]byte, len(*scratch))
	copy(chunk, *scratch)
	return &chunk
}

// resident is how many bytes of memory the run takes.
func (r *run) resident() int {
	n := int(unsafe.Sizeof(*r)) + 8*len(r.rest)
	if d := r.deflated.Load(); d != nil {
		n += d.resident()
	}
	if c := r.chunk.Load(); c != nil {
		n += len(*c)
	}
	return n
}

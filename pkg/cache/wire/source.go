package wire

import "io"

const (
	// bufferKept is the largest buffer that is not given up when it is empty: a watch
	// may be quiet for long after a large object has passed.
	bufferKept = 512 << 10
	// emptyReads is how many reads in a row may bring nothing.
	emptyReads = 100
)

// source buffers what a reader brings, as much as the caller needs at once.
type source struct {
	r io.Reader
	// size is that of the buffer to begin with.
	size int
	// buffer holds, from start to end, what is read and not taken.
	buffer     []byte
	start, end int
}

// bytes returns what is buffered, valid until more is read.
func (s *source) bytes() []byte { return s.buffer[s.start:s.end] }

// take gives up the first n bytes of what is buffered.
func (s *source) take(n int) { s.start += n }

// need reads until n bytes are buffered. It is io.EOF if there are none, and
// io.ErrUnexpectedEOF if there are fewer. Memory grows with what has come, not with
// what has been announced.
func (s *source) need(n int) error {
	for s.end-s.start < n {
		if err := s.more(); err == io.EOF && s.end > s.start {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
	}
	return nil
}

// more reads at least one byte.
func (s *source) more() error {
	s.makeRoom()
	for range emptyReads {
		n, err := s.r.Read(s.buffer[s.end:])
		s.end += n
		if n > 0 {
			// An error that is there to stay comes again.
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom makes room behind what is buffered.
func (s *source) makeRoom() {
	held := s.end - s.start
	switch {
	case s.buffer == nil || held == 0 && len(s.buffer) > bufferKept:
		s.buffer = make([]byte, s.size)
	case held == 0 || s.end == len(s.buffer) && held <= len(s.buffer)/2:
		copy(s.buffer, s.bytes())
	case s.end == len(s.buffer):
		larger := make([]byte, 2*len(s.buffer))
		copy(larger, s.bytes())
		s.buffer = larger
	default:
		return
	}
	s.start, s.end = 0, held
}

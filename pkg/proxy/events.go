package proxy

import (
	"encoding/binary"
	"net/http"
	"strings"
)

// eventScanner follows a watch stream to know whether what has passed so far
// ends between two events. It looks at the framing only: newline-delimited JSON,
// or protobuf behind 4-byte big-endian lengths (k8s.io/apimachinery
// serializer/json and serializer/protobuf framers). Of any other stream,
// compressed ones included, it knows nothing and always says that it does.
type eventScanner struct {
	framing framing
	// skip is how many bytes of a protobuf frame are to come; header collects
	// the bytes of a length that came in parts.
	skip   int64
	header []byte
}

type framing int

const (
	unknownFraming framing = iota
	newlineFraming
	lengthFraming
)

func newEventScanner(h http.Header) *eventScanner {
	if h.Get("Content-Encoding") != "" {
		return &eventScanner{}
	}
	mediaType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	switch strings.TrimSpace(mediaType) {
	case "application/json":
		return &eventScanner{framing: newlineFraming}
	case "application/vnd.kubernetes.protobuf":
		return &eventScanner{framing: lengthFraming}
	default:
		return &eventScanner{}
	}
}

// scan takes the next bytes of the stream, at least one, and tells whether they
// end in the middle of an event.
func (s *eventScanner) scan(b []byte) bool {
	switch s.framing {
	case newlineFraming:
		return b[len(b)-1] != '\n'
	case lengthFraming:
		for len(b) > 0 {
			if s.skip > 0 {
				n := min(int64(len(b)), s.skip)
				s.skip -= n
				b = b[n:]
				continue
			}
			n := min(len(b), 4-len(s.header))
			s.header = append(s.header, b[:n]...)
			b = b[n:]
			if len(s.header) == 4 {
				s.skip = int64(binary.BigEndian.Uint32(s.header))
				s.header = s.header[:0]
			}
		}
		return s.skip > 0 || len(s.header) > 0
	default:
		return false
	}
}

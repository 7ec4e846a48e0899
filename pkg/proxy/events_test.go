package proxy

import (
	"encoding/binary"
	"net/http"
	"testing"
)

func scanner(contentType, encoding string) *eventScanner {
	h := http.Header{"Content-Type": {contentType}}
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	return newEventScanner(h)
}

func TestEventBoundaries(t *testing.T) {
	json := scanner("application/json", "")
	if !json.scan([]byte(`{"type":`)) || json.scan([]byte("\"ADDED\"}\n")) || !json.scan([]byte("{}\n{")) {
		t.Error("JSON: an event ends with its newline")
	}
	proto := scanner("application/vnd.kubernetes.protobuf;stream=watch", "")
	for i, step := range []struct {
		bytes string
		mid   bool
	}{{"\x00\x00", true}, {"\x00\x02", true}, {"a", true}, {"b", false}, {"\x00\x00\x00\x00", false}, {"\x00\x00\x00\x01c\x00", true}} {
		if got := proto.scan([]byte(step.bytes)); got != step.mid {
			t.Errorf("protobuf step %d: mid-event %t, want %t", i, got, step.mid)
		}
	}
	if scanner("application/json", "gzip").scan([]byte("{")) {
		t.Error("of a compressed stream nothing can be known")
	}
}

// FuzzEventScanner cuts a stream of frames at any place: only at the end of a
// frame may the scanner say so.
func FuzzEventScanner(f *testing.F) {
	f.Add([]byte("abc"), uint8(3), uint16(5))
	f.Fuzz(func(t *testing.T, payload []byte, size uint8, cut uint16) {
		var stream []byte
		ends := map[int]bool{0: true}
		for len(payload) > 0 {
			n := min(int(size), len(payload))
			stream = binary.BigEndian.AppendUint32(stream, uint32(n))
			stream = append(stream, payload[:n]...)
			ends[len(stream)] = true
			if payload = payload[n:]; n == 0 {
				break
			}
		}
		if len(stream) == 0 {
			return
		}
		s := scanner("application/vnd.kubernetes.protobuf", "")
		first := int(cut) % len(stream)
		if first > 0 && s.scan(stream[:first]) == ends[first] {
			t.Fatalf("cut at %d of %x", first, stream)
		}
		if s.scan(stream[first:]) {
			t.Fatalf("the whole of %x is mid-event", stream)
		}
	})
}

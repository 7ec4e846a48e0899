package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// around is more than what stands around the body in a watch event, or in an answer to
// a GET.
const around = 1024

// eventBuffer is what a reader of events buffers; there is one for each resource, and
// most are quiet.
const eventBuffer = 16 << 10

// EventReader reads the answer to a watch. It is used by one goroutine. After an
// error, it is the same for ever.
type EventReader struct {
	source    source
	scanner   *scanner
	maxObject int
	event     Event
	err       error
	// taken is the length of the frame that event refers to.
	taken int

	json bool
	// object is what an object begins with, without the brace of JSON.
	object string
	// searched is how much of what is buffered has no newline.
	searched int
}

// NewEventReader reads a watch response of kind in encoding. An object of more than
// maxObject bytes is ErrTooLarge.
func NewEventReader(r io.Reader, kind *Kind, encoding Encoding, maxObject int) *EventReader {
	return &EventReader{
		source:    source{r: r, size: eventBuffer},
		scanner:   newScanner(kind, encoding),
		maxObject: maxObject,
		json:      encoding == JSON || kind.Custom,
		object:    kind.objectHead(encoding),
	}
}

// objectHead is what objects of the kind begin with where their kind is said before
// the body, in JSON without the brace.
func (k *Kind) objectHead(encoding Encoding) string {
	switch {
	case k.Custom:
		return ""
	case encoding == Protobuf:
		return unknownHead(k.apiVersion(), k.Kind)
	default:
		return jsonPrefix(k.Kind, k.apiVersion())
	}
}

// Next returns the next event. It and its Body are valid until the next call; its
// Meta can be kept. The error is io.EOF if the stream has ended between two events,
// and io.ErrUnexpectedEOF if it has in one.
func (r *EventReader) Next() (*Event, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.source.take(r.taken)
	r.taken = 0
	r.event = Event{}
	if r.json {
		r.err = r.nextJSON()
	} else {
		r.err = r.nextProtobuf()
	}
	if r.err != nil {
		return nil, r.err
	}
	return &r.event, nil
}

// nextJSON reads a line: there are no newlines in what apiservers send but at the
// ends of events.
func (r *EventReader) nextJSON() error {
	r.searched = 0
	for {
		b := r.source.bytes()
		if i := bytes.IndexByte(b[r.searched:], '\n'); i >= 0 {
			r.taken = r.searched + i + 1
			return r.parseJSON(b[:r.searched+i])
		}
		r.searched = len(b)
		if len(b) > r.maxObject+around {
			return ErrTooLarge
		}
		if err := r.source.more(); err == io.EOF && len(b) > 0 {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
	}
}

func (r *EventReader) parseJSON(line []byte) error {
	rest, ok := bytes.CutPrefix(line, []byte(`{"type":"`))
	if !ok {
		return malformed("no event")
	}
	name, rest, _ := bytes.Cut(rest, []byte(`"`))
	if r.event.Type, ok = eventType(name); !ok {
		return malformed("an event of type %.40q", name)
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"object":{`))
	if !ok || len(rest) < len("}}") || rest[len(rest)-1] != '}' {
		return malformed("an event without an object")
	}
	object := line[len(line)-len(rest)-1 : len(line)-1]
	if r.event.Type == Error {
		r.event.Status = &metav1.Status{}
		if err := json.Unmarshal(object, r.event.Status); err != nil {
			return malformed("status: %v", err)
		}
		if s := r.event.Status; s.APIVersion != "v1" || s.Kind != "Status" {
			return malformed("an error that is a %.40q of %.40q", s.Kind, s.APIVersion)
		}
		return nil
	}
	body, err := r.scanner.jsonObject(object, r.object)
	if err != nil {
		return err
	}
	return r.found(body)
}

// nextProtobuf reads a length of four bytes and a WatchEvent of that length.
func (r *EventReader) nextProtobuf() error {
	if err := r.source.need(4); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint32(r.source.bytes()))
	if n > r.maxObject+around {
		return ErrTooLarge
	}
	if err := r.source.need(4 + n); err != nil {
		return err
	}
	r.taken = 4 + n
	return r.parseProtobuf(r.source.bytes()[4 : 4+n])
}

func (r *EventReader) parseProtobuf(b []byte) error {
	name, rest, err := sole(b, tagEventType)
	if err != nil {
		return err
	}
	var ok bool
	if r.event.Type, ok = eventType(name); !ok {
		return malformed("an event of type %.40q", name)
	}
	extension, rest, err := sole(rest, tagEventObject)
	if err != nil {
		return err
	}
	object, rest2, err := sole(extension, tagExtensionRaw)
	if err != nil {
		return err
	}
	if len(rest) > 0 || len(rest2) > 0 {
		return malformed("an event with more than an object")
	}
	if r.event.Type == Error {
		raw, err := cutUnknown(object, unknownHead("v1", "Status"))
		if err != nil {
			return err
		}
		r.event.Status = &metav1.Status{}
		if err := r.event.Status.Unmarshal(raw); err != nil {
			return malformed("status: %v", err)
		}
		return nil
	}
	body, err := r.scanner.protobufObject(object, r.object)
	if err != nil {
		return err
	}
	return r.found(body)
}

// found completes an event that has an object, which the scanner has passed over.
func (r *EventReader) found(body []byte) error {
	if len(body) > r.maxObject {
		return ErrTooLarge
	}
	r.event.Body = body
	var err error
	if r.event.Type == Bookmark {
		r.event.Meta.ResourceVersion, err = r.scanner.resourceVersion(body)
		r.event.InitialEventsEnd = r.scanner.is(body, r.scanner.initialEnd, "true")
		return err
	}
	r.event.Meta, err = r.scanner.meta(body)
	return err
}

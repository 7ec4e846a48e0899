package wire

import "io"

// EventReader reads the answer to a watch. It is used by one goroutine.
type EventReader struct{}

// NewEventReader reads a watch response of kind in encoding. An object of more than
// maxObject bytes is ErrTooLarge.
func NewEventReader(r io.Reader, kind *Kind, encoding Encoding, maxObject int) *EventReader {
	return nil
}

// Next returns the next event.
func (r *EventReader) Next() (*Event, error) { return nil, io.EOF }

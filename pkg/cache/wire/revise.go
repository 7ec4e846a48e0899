package wire

// WithResourceVersion returns what this format writes of a body, with another
// resource version: for the event that tells of an object's leaving a selection,
// which carries the old object and the version at which it left. The result is to be
// written as it is, with its own length as size: Part has been applied.
func (f *Format) WithResourceVersion(body []byte, resourceVersion string) ([]byte, error) {
	return nil, ErrMalformed
}

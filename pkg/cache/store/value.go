package store

// IsLabel tells an index of a label from those of what every object has.
func (i Index) IsLabel() bool { return i.kind == byLabel }

// Of returns the one value by which an object is found; false if there is none.
// Owners, of which there can be several, are not found this way.
func (i Index) Of(o *Object) (value string, ok bool) {
	value, ok, _ = i.values(o)
	return value, ok
}

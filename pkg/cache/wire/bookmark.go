package wire

// BookmarkTemplate makes bookmarks. What an empty object of a kind looks like on
// the wire ("spec":{"containers":null} and the like) only its server knows, so it is
// learned from a bookmark of upstream's. It is immutable.
type BookmarkTemplate struct {
}

// NewBookmark learns from the body of a Bookmark event of that kind.
func NewBookmark(kind *Kind, encoding Encoding, body []byte) (*BookmarkTemplate, error) {
	return nil, ErrMalformed
}

// AppendEvent appends a whole bookmark event. f must be a Format of the same kind and
// encoding.
func (t *BookmarkTemplate) AppendEvent(dst []byte, f *Format, resourceVersion string, initialEventsEnd bool) []byte {
	return dst
}

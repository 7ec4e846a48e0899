package cache

// Reason is why a request is not answered from the cache. Reasons are a closed set,
// for they are metric labels.
type Reason string

// Shareable tells whether a read that is declined for the reason is one of a
// cached resource whose answer would be the same for all who may read it.
func (r Reason) Shareable() bool {
	switch r {
	case Form, Selector, Version, Loading, Future, Expired, Strict:
		return true
	}
	return false
}

const (
	// Hit is no reason at all: the request is answered.
	Hit Reason = ""
	// NoRead is for everything but get, list and watch.
	NoRead Reason = "NoRead"
	// NotCached is for resources that are not cached, and subresources.
	NotCached Reason = "NotCached"
	// Spelling is for paths and queries that could be read in two ways.
	Spelling Reason = "Spelling"
	// Form is for answers that cannot be spliced: tables, YAML, indented JSON.
	Form Reason = "Form"
	// Identity is for anonymous clients, and those that act as somebody else where
	// the apiserver judges that.
	Identity Reason = "Identity"
	// Selector is for selectors that are not understood.
	Selector Reason = "Selector"
	// Version is for combinations of resourceVersion, resourceVersionMatch, limit
	// and continue that only the apiserver answers.
	Version Reason = "Version"
	// Loading is for resources whose state is not there yet, or not any more.
	Loading Reason = "Loading"
	// Future is for a resource version that was not reached in time.
	Future Reason = "Future"
	// Expired is for one that is not held any more.
	Expired Reason = "Expired"
	// Strict is for reads of the newest state that cannot be proved to be that.
	Strict Reason = "Strict"
	// Missing is for an object that is not there: the apiserver says so.
	Missing Reason = "Missing"
	// Denied is for who may not, as the apiserver has said; it says so again.
	Denied Reason = "Denied"
	// Unjudged is for when it cannot be asked.
	Unjudged Reason = "Unjudged"
)

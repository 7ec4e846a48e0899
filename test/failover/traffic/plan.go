// Package traffic sends what clients of a cluster send, at a steady rate whatever
// becomes of it, and tells what becomes of every request and every watch. Its
// command (in cmd) is a process of its own, without the race detector, so that what
// a test measures is the gateway and not the test.
package traffic

import "time"

// Plan is what to send until told to stop.
type Plan struct {
	// CAFile verifies servers; CertFile and KeyFile are who the clients are.
	CAFile, CertFile, KeyFile string
	Streams                   []Stream
	Watches                   []Watch
}

// Stream is requests of one kind. The next one is sent when it is due, also if
// those before it have not been answered.
type Stream struct {
	Name, Server string
	// UserAgent is the clients'; "%d" in it stands for the number of one of Clients.
	UserAgent string
	Clients   int
	// Method, Path and Body are the request; "%d" in the latter two stands for its
	// number, of Objects if that is not 0.
	Method, Path, Body string
	Objects            int
	// Rate is requests per second.
	Rate float64
}

// Watch is a client that watches, and goes on where it was whenever a watch ends.
type Watch struct {
	Name, Server, UserAgent string
	// Path is what to watch, without a query; From the resource version to begin at.
	Path, From string
	// Until is the name of the object with whose first event the client is content.
	Until string
}

// Line is what the command writes, as JSON: a Result or a Watched.
type Line struct {
	Result  *Result  `json:",omitempty"`
	Watched *Watched `json:",omitempty"`
}

// Result is what became of a request.
type Result struct {
	Stream, Method string
	Begun          time.Time
	Took           time.Duration
	// Code is that of the answer; 0 if there was none.
	Code int
	// Broken tells that the answer broke off after its headers. Torn tells that it
	// did, and that nothing but its text shows it.
	Broken, Torn bool
	// RetryAfter and RefusedBy are headers of the answer.
	RetryAfter, RefusedBy string `json:",omitempty"`
	// Said is the error, or the beginning of an answer that is no success.
	Said string `json:",omitempty"`
}

// OK tells whether the request succeeded.
func (r Result) OK() bool { return r.Code/100 == 2 && !r.Broken && !r.Torn }

// Ended is when its answer had come, or its error.
func (r Result) Ended() time.Time { return r.Begun.Add(r.Took) }

// Watched is what a Watch has seen.
type Watched struct {
	Name string
	// Events has "TYPE RESOURCEVERSION" of each, up to Until's.
	Events []string
	// Ends are those of the watches that ended before. Refusals are answers to ones
	// that could not be opened.
	Ends     []End
	Refusals []End
	// Failure is why the client could not go on to the end: a watch that would have
	// needed a new list, for instance.
	Failure string `json:",omitempty"`
}

// End is how one watch ended.
type End struct {
	When time.Time
	// Clean is an end as a kube-apiserver makes it: of the stream, between events.
	Clean bool
	// Said is the error if not.
	Said string `json:",omitempty"`
}

package discovery

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/utils/clock"
)

const (
	// maxDocument bounds what is merged. A cluster with 2,000 CRDs has an
	// OpenAPI v2 document of 40 MB.
	maxDocument = 64 << 20
	// maxReads is how many answers are read and merged at a time. When a document
	// changes, all clients ask for it at once, and all but the first find it
	// merged when it is their turn.
	maxReads = 8
)

// Upstream sends a request to an apiserver as the client that r came from. It may
// change the headers of r. An error means that there is no answer.
type Upstream = func(r *http.Request) (*http.Response, error)

// Options are what a Merger is made of. All are needed.
type Options struct {
	// Own serves /apis, /openapi/v2 and /openapi/v3 with the gateway's group. It
	// is called in process, with a user of the group system:masters.
	Own http.Handler
	// Authorize tells whether the client may see r.URL.Path. It is asked only
	// while no apiserver answers.
	Authorize func(r *http.Request) bool
	// Log gets what could not be merged; sampled, since it may be every request.
	Log *zap.Logger
	// Registry gets the metrics.
	Registry prometheus.Registerer
	// Clock tells when to ask Own again.
	Clock clock.PassiveClock
}

// Merger adds the gateway's API group to an apiserver's discovery documents.
type Merger struct {
	own       *own
	authorize func(r *http.Request) bool
	log       *zap.Logger
	answers   *prometheus.CounterVec

	store *store
	// reads holds a token for each answer that is being read or merged.
	reads chan struct{}

	mu sync.Mutex
	// good are the last good aggregated documents, guarded by mu.
	good map[aggregatedKey]*goodDocument
}

// New returns a Merger.
func New(options Options) (*Merger, error) {
	if options.Own == nil || options.Authorize == nil || options.Log == nil || options.Registry == nil || options.Clock == nil {
		return nil, errors.New("discovery: Own, Authorize, Log, Registry and Clock are needed")
	}
	own, err := newOwn(options.Own, options.Clock)
	if err != nil {
		return nil, err
	}
	store, err := newStore(storeBytes)
	if err != nil {
		return nil, err
	}
	m := &Merger{
		own:       own,
		authorize: options.Authorize,
		log:       options.Log,
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "asi_gateway_discovery_answers_total",
			Help: "Answers to requests for discovery documents, by path and outcome: Merged, Reused, NotModified, Passed (upstream's refusals), Unmerged (without the own group), Stale, Failed.",
		}, []string{"path", "outcome"}),
		store: store,
		reads: make(chan struct{}, maxReads),
		good:  map[aggregatedKey]*goodDocument{},
	}
	return m, options.Registry.Register(m.answers)
}

// outcome is a label of the metric.
type outcome string

const (
	merged      outcome = "Merged"
	reused      outcome = "Reused"
	notModified outcome = "NotModified"
	passed      outcome = "Passed"
	unmerged    outcome = "Unmerged"
	servedStale outcome = "Stale"
	failed      outcome = "Failed"
)

// documentPath returns the path that a request's document has here, "" for
// others. kube-apiserver knows /apis with a slash at its end, too.
func documentPath(path string) string {
	switch path {
	case pathAPIs, pathAPIs + "/":
		return pathAPIs
	case pathOpenAPIv2, pathOpenAPIv3:
		return path
	}
	return ""
}

// Wants tells whether a request is one for Serve.
func (m *Merger) Wants(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && documentPath(r.URL.Path) != ""
}

// Serve answers a request that Wants has chosen. The caller writes the answer and
// closes its body; an error, upstream's own, means that there is nothing to write.
func (m *Merger) Serve(r *http.Request, upstream Upstream) (*http.Response, error) {
	path := documentPath(r.URL.Path)
	response, outcome, err := m.serve(r, path, upstream)
	m.answers.WithLabelValues(path, string(outcome)).Inc()
	return response, err
}

// question is a request on its way.
type question struct {
	client *http.Request
	path   string
	part   *part
	// tags are upstream's parts of the ETags of what the client has.
	tags []string
	// kind is what the answer depends on: requests of one kind have the same.
	kind digest

	// sent is the ETag that upstream is asked about, kept what the gateway has
	// for it, if that was not the client's own.
	sent string
	kept *document
}

func (m *Merger) serve(r *http.Request, path string, upstream Upstream) (*http.Response, outcome, error) {
	part, err := m.own.part(path)
	if err != nil {
		m.log.Warn("discovery goes without the gateway's own resources", zap.Error(err))
	}
	if part == nil {
		response, err := upstream(r)
		if err != nil {
			return nil, failed, err
		}
		return response, unmerged, nil
	}
	q := &question{
		client: r,
		path:   path,
		part:   part,
		tags:   ownTags(r.Header["If-None-Match"], part.tag),
		kind:   digestOf(nil, path, part.tag, strings.Join(r.Header["Accept"], ","), prettiness(r)),
	}
	response, err := upstream(m.outgoing(q))
	if err != nil {
		return m.outage(r, path, err)
	}
	switch response.StatusCode {
	case http.StatusNotModified:
		return m.unchanged(q, response)
	case http.StatusOK:
		return m.changed(q, response)
	default:
		return response, passed, nil
	}
}

// outgoing makes upstream's request of the client's: about the merged document
// upstream knows nothing.
func (m *Merger) outgoing(q *question) *http.Request {
	r := q.client.Clone(q.client.Context())
	for _, name := range []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range", "Range"} {
		delete(r.Header, name)
	}
	// To merge what is compressed costs more than the bytes save.
	r.Header["Accept-Encoding"] = []string{"identity"}
	if q.client.Method == http.MethodGet {
		q.sent, q.kept = m.store.variant(q.kind)
	}
	if q.kept == nil && len(q.tags) > 0 {
		// One is enough; kube-apiserver compares /apis with the whole header.
		q.sent = q.tags[0]
	}
	if q.sent != "" {
		r.Header["If-None-Match"] = []string{q.sent}
	}
	return r
}

// clientHas tells whether the client has the merged document for upstream's ETag.
func (q *question) clientHas(etag string) bool {
	for _, tag := range q.tags {
		if sameTag(tag, etag) {
			return true
		}
	}
	return false
}

// unchanged answers when upstream's document is the one asked about.
func (m *Merger) unchanged(q *question, response *http.Response) (*http.Response, outcome, error) {
	if q.sent == "" {
		return response, passed, nil
	}
	_ = response.Body.Close()
	if q.kept != nil {
		m.keep(q.client, q.kept)
	}
	if q.kept == nil || q.clientHas(q.sent) {
		return q.notModified(response, q.sent), notModified, nil
	}
	return q.answer(response, q.sent, q.kept), reused, nil
}

// changed answers when upstream has sent its document.
func (m *Merger) changed(q *question, response *http.Response) (*http.Response, outcome, error) {
	contentType := response.Header.Get("Content-Type")
	format, ok := formatOf(q.path, contentType)
	if !ok {
		m.log.Warn("a discovery document has a format that cannot be merged; the client sees no "+groupName,
			zap.String("path", q.path), zap.String("contentType", contentType))
		return response, unmerged, nil
	}
	etag := response.Header.Get("Etag")
	if q.client.Method == http.MethodHead {
		_ = response.Body.Close()
		if known, d := m.store.variant(q.kind); sameTag(known, etag) && d.contentType == contentType {
			return m.finish(q, response, etag, d)
		}
		if q.clientHas(etag) {
			return q.notModified(response, etag), notModified, nil
		}
		response.Header = q.header(response, etag)
		response.ContentLength, response.Body = -1, http.NoBody
		return response, merged, nil
	}
	select {
	case m.reads <- struct{}{}:
		defer func() { <-m.reads }()
	case <-q.client.Context().Done():
		_ = response.Body.Close()
		return nil, failed, context.Cause(q.client.Context())
	}
	if known, d := m.store.variant(q.kind); sameTag(known, etag) && d.contentType == contentType {
		// Somebody has merged it in the meantime.
		_ = response.Body.Close()
		return m.finish(q, response, etag, d)
	}
	body, whole, err := read(response)
	if err != nil {
		_ = response.Body.Close()
		return m.outage(q.client, q.path, err)
	}
	if !whole {
		m.log.Error("a discovery document is too large to merge, or in a coding that nobody asked for; the client sees no "+groupName,
			zap.String("path", q.path), zap.Int("limit", maxDocument), zap.String("contentEncoding", response.Header.Get("Content-Encoding")))
		return response, unmerged, nil
	}
	_ = response.Body.Close()
	d, err := m.merge(q, format, contentType, etag, body)
	if err != nil {
		m.log.Error("a discovery document cannot be merged; the client sees no "+groupName,
			zap.String("path", q.path), zap.String("contentType", contentType), zap.Error(err))
		return withBody(response, body), unmerged, nil
	}
	return m.finish(q, response, etag, d)
}

// merge returns the merged document for one of upstream's.
func (m *Merger) merge(q *question, f format, contentType, etag string, body []byte) (*document, error) {
	source := digestOf(body, q.path, q.part.tag, contentType)
	d := m.store.document(source)
	if d == nil {
		all, err := f.merge(body, q.part)
		if err != nil {
			return nil, err
		}
		d = newDocument(f, contentType, all)
		m.store.add(source, d)
	}
	m.store.remember(q.kind, etag, source)
	return d, nil
}

// finish answers a client that may have the document already.
func (m *Merger) finish(q *question, response *http.Response, etag string, d *document) (*http.Response, outcome, error) {
	m.keep(q.client, d)
	if q.clientHas(etag) {
		return q.notModified(response, etag), notModified, nil
	}
	return q.answer(response, etag, d), merged, nil
}

// header is upstream's, without what is upstream's document's alone.
func (q *question) header(response *http.Response, etag string) http.Header {
	h := response.Header
	for _, name := range []string{"Content-Length", "Content-Encoding", "Last-Modified", "Accept-Ranges", "Etag"} {
		delete(h, name)
	}
	if etag = compose(etag, q.part.tag); etag != "" {
		h["Etag"] = []string{etag}
	}
	return h
}

func (q *question) answer(response *http.Response, etag string, d *document) *http.Response {
	return d.response(q.client, q.header(response, etag))
}

func (q *question) notModified(response *http.Response, etag string) *http.Response {
	h := q.header(response, etag)
	delete(h, "Content-Type")
	return &http.Response{
		Status: "304 Not Modified", StatusCode: http.StatusNotModified,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: http.NoBody, Request: q.client,
	}
}

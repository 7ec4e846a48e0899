package discovery

import (
	"net/http"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// goodDocument is what to serve when nothing else answers.
type goodDocument struct {
	*document
	stale func() (*document, error)
}

// keep remembers a document for an outage.
func (m *Merger) keep(r *http.Request, d *document) {
	if d.format.markStale == nil {
		return
	}
	key, ok := negotiate(r)
	media, _, _ := strings.Cut(d.contentType, ";")
	if !ok || key.version != d.format.version || key.media != media {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if last := m.good[key]; last != nil && last.document == d {
		return
	}
	m.good[key] = &goodDocument{document: d, stale: sync.OnceValues(func() (*document, error) {
		body, err := d.format.markStale(d.body)
		return newDocument(d.format, d.contentType, body), err
	})}
}

// outage answers when upstream does not: with the last good copy, if the format
// can say that it is one.
func (m *Merger) outage(r *http.Request, path string, cause error) (*http.Response, outcome, error) {
	key, ok := negotiate(r)
	if path != pathAPIs || !ok || r.Context().Err() != nil {
		return nil, failed, cause
	}
	m.mu.Lock()
	last := m.good[key]
	m.mu.Unlock()
	if last == nil || !m.authorize(r) {
		return nil, failed, cause
	}
	d, err := last.stale()
	if err != nil {
		m.log.Error("a discovery document cannot be marked stale", zap.Error(err))
		return nil, failed, cause
	}
	h := http.Header{"Cache-Control": {"no-cache, private"}, "Vary": {"Accept"}}
	return d.response(r, h), servedStale, nil
}

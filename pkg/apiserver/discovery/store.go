package discovery

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// storeBytes bounds the merged documents that are kept for reuse. A cluster
	// without many CRDs has 5 MB of them.
	storeBytes = 64 << 20
	// storeVariants bounds what is remembered of requests, 300 bytes each.
	storeVariants = 1024
	// gzipAbove is from where kube-apiserver compresses, gzipLevel how much.
	gzipAbove = 128 << 10
	gzipLevel = gzip.BestSpeed
)

// document is a merged document. It does not change.
type document struct {
	format      format
	contentType string
	body        []byte
	compressed  func() []byte
}

func newDocument(f format, contentType string, body []byte) *document {
	return &document{format: f, contentType: contentType, body: body, compressed: sync.OnceValue(func() []byte {
		var out bytes.Buffer
		w, err := gzip.NewWriterLevel(&out, gzipLevel)
		if err != nil {
			return nil // of a wrong level
		}
		_, _ = w.Write(body)
		_ = w.Close() // into memory nothing fails
		return out.Bytes()
	})}
}

// cost is what the document takes, compressed copy included: OpenAPI shrinks to a
// tenth, by a quarter one is safe.
func (d *document) cost() int { return len(d.body) + len(d.body)/4 }

type digest [sha256.Size]byte

// digestOf hashes so that no two lists of parts are taken for one.
func digestOf(body []byte, parts ...string) digest {
	h := sha256.New()
	for _, p := range parts {
		one := sha256.Sum256([]byte(p))
		h.Write(one[:])
	}
	h.Write(body)
	return digest(h.Sum(nil))
}

// variant is what was answered last to requests that are alike.
type variant struct {
	etag string // upstream's
	// source finds the merged document.
	source digest
}

// store keeps merged documents by a digest of what they are made of, and for each
// kind of request which one it had. Requests that differ but have the same answer
// share one document.
type store struct {
	mu        sync.Mutex
	variants  *simplelru.LRU[digest, variant]
	documents *simplelru.LRU[digest, *document]
	bytes     int
	limit     int
}

func newStore(limit int) (*store, error) {
	s := &store{limit: limit}
	var err error
	if s.variants, err = simplelru.NewLRU[digest, variant](storeVariants, nil); err != nil {
		return nil, err
	}
	s.documents, err = simplelru.NewLRU(storeVariants, func(_ digest, d *document) { s.bytes -= d.cost() })
	return s, err
}

// variant returns upstream's ETag and the document for it that a request like
// this had last.
func (s *store) variant(request digest) (etag string, d *document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.variants.Get(request)
	if !ok {
		return "", nil
	}
	if d, ok = s.documents.Get(v.source); !ok {
		return "", nil
	}
	return v.etag, d
}

func (s *store) document(source digest) *document {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, _ := s.documents.Get(source)
	return d
}

func (s *store) add(source digest, d *document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.cost() > s.limit || s.documents.Contains(source) {
		return
	}
	s.documents.Add(source, d)
	s.bytes += d.cost()
	for s.bytes > s.limit {
		s.documents.RemoveOldest()
	}
}

// remember notes what a request had. Without an ETag upstream cannot be asked
// whether it is still so.
func (s *store) remember(request digest, etag string, source digest) {
	if etag == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.variants.Add(request, variant{etag: etag, source: source})
}

package cache

import (
	"context"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
)

// point says which states may answer a read.
type point struct {
	kind freshness
	// rv is that of atLeast, exactly and after, need is for newest.
	rv   uint64
	need need
	// from is the first key of a page.
	from string
	// limit is how many objects a page has at most; 0 for all.
	limit int64
}

type freshness uint8

const (
	// anyState is whatever there is.
	anyState freshness = iota
	// newest is everything that was acknowledged before the read, or a moment that
	// is long enough ago for its client.
	newest
	// atLeast is a resource version or a later one.
	atLeast
	// exactly is the state at a resource version.
	exactly
	// after is for watches: every change behind a resource version.
	after
)

// ofGet, ofList and ofWatch read resourceVersion and what goes with it as
// kube-apiserver does (reads.md has the table). False is for what it refuses, and
// for what is rare enough to be left to it.
func (q *query) ofGet() (p point, ok bool) {
	if q.match != "" || q.limit != 0 || q.token != "" || q.initialEvents != nil || q.labelSelector != "" || q.fieldSelector != "" {
		return p, false
	}
	return q.plainVersion()
}

func (q *query) plainVersion() (p point, ok bool) {
	switch q.version {
	case "":
		return point{kind: newest}, true
	case "0":
		return point{kind: anyState}, true
	}
	rv, ok := resourceVersion(q.version)
	return point{kind: atLeast, rv: rv}, ok && rv > 0
}

func (q *query) ofList(prefix string) (p point, ok bool) {
	if q.initialEvents != nil {
		return p, false
	}
	if q.token != "" {
		if q.match != "" || q.version != "" {
			return p, false
		}
		p = point{kind: exactly, limit: q.limit}
		p.rv, p.from, ok = readToken(q.token, prefix)
		return p, ok
	}
	if p, ok = q.plainVersion(); !ok {
		return p, false
	}
	switch q.match {
	case "":
		switch p.kind {
		case newest:
			p.limit = q.limit
		case atLeast:
			// As it was before there was a resourceVersionMatch.
			if p.limit = q.limit; q.limit > 0 {
				p.kind = exactly
			}
		}
		return p, true
	case "NotOlderThan":
		p.limit = q.limit
		return p, p.kind == atLeast || (p.kind == anyState && q.limit == 0)
	case "Exact":
		p.limit = q.limit
		wasNumber := p.kind == atLeast
		p.kind = exactly
		return p, wasNumber
	}
	return p, false
}

func (q *query) ofWatch() (p point, ok bool) {
	if q.limit != 0 || q.token != "" {
		return p, false
	}
	if p, ok = q.plainVersion(); !ok {
		return p, false
	}
	// Who asks for the state by name is an informer, which waits for a second; others
	// may be somebody at a terminal.
	p.need.patient = q.initialEvents != nil
	switch {
	case q.initialEvents == nil && q.match == "":
		// Without a number it begins with the state, as before there was a way to ask
		// for it.
		if p.kind == atLeast {
			p.kind = after
		}
		return p, true
	case q.initialEvents != nil && *q.initialEvents && q.match == "NotOlderThan":
		return p, true
	}
	return p, false
}

// state waits for a state that may answer, and returns it.
func (s *stream) state(ctx context.Context, p point) (*store.Snapshot, Reason) {
	least, reason := s.await(ctx, p)
	if reason != Hit {
		return nil, reason
	}
	snapshot := s.hub.Snapshot()
	if p.kind == exactly {
		var ok bool
		if snapshot, ok = s.hub.At(p.rv); !ok {
			return nil, Expired
		}
	}
	if snapshot.ResourceVersion() < least {
		// It was dropped meanwhile. An empty list would be believed.
		return nil, Loading
	}
	return snapshot, Hit
}

// await waits until the state has got as far as it must, and returns how far that
// is. A state that is dropped has resource version 0, so that whoever gets one
// below the least knows.
func (s *stream) await(ctx context.Context, p point) (least uint64, reason Reason) {
	switch p.kind {
	case newest:
		rv, ok := s.prove(ctx, p.need)
		// What may be a little stale was proved before others were shown a list that is
		// newer (outline.go).
		if shown := s.shown.Load(); ok && rv < shown {
			rv, ok = shown, s.reach(ctx, shown, patience)
		}
		if !ok {
			return 0, Strict
		}
		return rv, Hit
	case atLeast, exactly:
		if s.arrives(ctx, p.rv) {
			return p.rv, Hit
		}
		if p.need.patient {
			if rv, ok := s.proveByFence(ctx); ok && rv >= p.rv {
				return p.rv, Hit
			}
		}
		return 0, Future
	}
	return 1, Hit
}

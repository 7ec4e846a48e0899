package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/asi-gateway/asi-gateway/pkg/cache/store"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

const (
	// checkPage is how many objects a check asks for at a time, checkPause how long
	// it waits between: it is never urgent, and costs an apiserver the more the
	// larger a page is.
	checkPage  = 500
	checkPause = 200 * time.Millisecond
)

// errDifferent is for a state that is not upstream's.
var errDifferent = errors.New("the cache is not what upstream says")

// checks compares all streams with upstream now and then, one after another, until
// ctx ends.
func (c *Cache) checks(ctx context.Context) {
	if c.config.CheckEvery <= 0 {
		return
	}
	for {
		// Jittered, so that replicas do not check at the same time.
		wait := c.config.CheckEvery/2 + rand.N(c.config.CheckEvery)
		if !c.pause(ctx, wait) {
			return
		}
		c.each(func(r *resource, s *stream) {
			if s.ready.Load() && ctx.Err() == nil {
				c.check(ctx, r, s)
			}
		})
	}
}

func (c *Cache) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c.config.Clock.After(d):
		return true
	}
}

// check compares one stream with upstream. What is found to be wrong is dropped and
// read anew, and an operator is told.
func (c *Cache) check(ctx context.Context, r *resource, s *stream) {
	result := "Equal"
	switch err := c.compare(ctx, s); {
	case errors.Is(err, errDifferent) && c.redefined(ctx, r):
		result = "Unknown"
	case errors.Is(err, errDifferent):
		result = "Different"
		c.config.Log.Error("the cache differs from upstream; it is dropped and read anew", zap.String("resource", r.name()), zap.Stringer("encoding", s.encoding), zap.Error(err))
		s.restart(err)
	case err != nil:
		result = "Unknown"
		c.config.Log.Info("the cache could not be compared with upstream", zap.String("resource", r.name()), zap.Stringer("encoding", s.encoding), zap.Error(err))
	}
	c.metrics.checks.WithLabelValues(r.name(), s.encoding.String(), result).Inc()
}

// redefined tells whether a custom resource is not cached as it was any more. When its
// definition changes, so may what upstream makes of the same objects, and upstream
// can know that a moment before the cache does.
func (c *Cache) redefined(ctx context.Context, r *resource) bool {
	return r.Custom && (!c.pause(ctx, definitionSettles) || r.ctx.Err() != nil)
}

// compare goes through the state and upstream's at the same resource version, byte
// by byte. Both are in the order of keys.
func (c *Cache) compare(ctx context.Context, s *stream) error {
	snapshot := s.hub.Snapshot()
	rv := snapshot.ResourceVersion()
	query := fmt.Sprintf("limit=%d&resourceVersion=%d&resourceVersionMatch=Exact", checkPage, rv)
	from := ""
	for {
		next, token, err := s.comparePage(ctx, snapshot, from, query)
		if err != nil {
			return err
		}
		if token == "" {
			if left := snapshot.Sum("", next).Objects; left > 0 {
				return fmt.Errorf("%w: at resource version %d it has %d objects behind %q, upstream none", errDifferent, rv, left, next)
			}
			return nil
		}
		from, query = next, fmt.Sprintf("limit=%d&continue=%s", checkPage, token)
		if !c.pause(ctx, checkPause) {
			return ctx.Err()
		}
	}
}

// comparePage compares a page of upstream's with the state from a key on, and returns
// the key behind it.
func (s *stream) comparePage(ctx context.Context, snapshot *store.Snapshot, from, query string) (next, token string, err error) {
	body, err := s.asker.get(ctx, s.asker.encoding.MediaType(), s.asker.resource.Path(), query)
	if err != nil {
		return "", "", err
	}
	defer body.Close()
	var own []*store.Object
	snapshot.Range("", from, func(o *store.Object) bool {
		own = append(own, o)
		return len(own) <= checkPage
	})
	n, buffer := 0, []byte(nil)
	next = from
	different := func(format string, args ...any) error {
		return fmt.Errorf("%w: at resource version %d %s", errDifferent, snapshot.ResourceVersion(), fmt.Sprintf(format, args...))
	}
	meta, err := wire.ReadList(body, s.kind, s.encoding, maxObject, func(theirs []byte, meta *wire.Meta) error {
		key := store.Key(meta.Namespace, meta.Name)
		if n == len(own) {
			return different("upstream has %q, which it has not", key)
		}
		o := own[n]
		n++
		next = key + "\x00"
		if o.Key != key {
			return different("upstream has %q where it has %q", key, o.Key)
		}
		if o.ResourceVersion != meta.ResourceVersion {
			return different("%q is at %d upstream, and at %d in it", key, meta.ResourceVersion, o.ResourceVersion)
		}
		if buffer = o.Body.AppendTo(buffer[:0]); !bytes.Equal(buffer, theirs) {
			return different("the bytes of %q are not upstream's", key)
		}
		return nil
	})
	if err != nil {
		return "", "", err
	}
	if meta.Continue == "" && meta.ResourceVersion != strconv.FormatUint(snapshot.ResourceVersion(), 10) {
		return "", "", fmt.Errorf("asked for resource version %d, upstream answered with %s", snapshot.ResourceVersion(), meta.ResourceVersion)
	}
	return next, meta.Continue, nil
}

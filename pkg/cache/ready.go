package cache

import (
	"errors"
	"fmt"
	"time"
)

// startFor is for how long a gateway that starts waits for a resource that is being
// read.
const startFor = time.Minute

// Ready returns nil once what is to be cached is there, or cannot be had for now:
// before, all clients of a gateway that has just started would read from the
// apiservers. It stays nil. What is to be cached later does not make a gateway that
// serves not ready.
func (c *Cache) Ready() error {
	if c.started.Load() {
		return nil
	}
	at := c.published.Load()
	if at.of != c.wanted.Load() {
		return errors.New("what is to be cached is about to be read")
	}
	if at.partial && c.defined.promising() {
		return errors.New("CustomResourceDefinitions are being read for the cache")
	}
	now := c.config.Clock.Now()
	for _, r := range at.resources {
		var err error
		r.each(func(s *stream, m *monitor) {
			if m.starting(now) {
				err = fmt.Errorf("%s is being read for the cache (%s)", r.name(), s.encoding)
			}
		})
		if err != nil {
			return err
		}
	}
	c.started.Store(true)
	return nil
}

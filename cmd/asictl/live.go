package main

import (
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// liveAtOnce is how many objects are asked about at a time: the gateway asks all
// its replicas for each.
const liveAtOnce = 8

// eachLive calls read for n objects, several at a time, and returns one of the
// errors. An object that has been deleted since it was listed is none.
func eachLive(n int, read func(i int) error) error {
	var mu sync.Mutex
	var failed error
	var g errgroup.Group
	g.SetLimit(liveAtOnce)
	for i := range n {
		g.Go(func() error {
			if err := read(i); err != nil && (!apierrors.IsNotFound(err) || unexpectedServer(err)) {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait()
	return failed
}

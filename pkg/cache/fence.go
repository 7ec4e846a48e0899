package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

const (
	// fenceSeconds is how long the watch of a fence is asked to last: an apiserver
	// sends a bookmark two seconds before the end, and for one of two seconds none.
	fenceSeconds = 3
	// fenceTimeout bounds a fence.
	fenceTimeout = 4 * time.Second
)

var errNoFence = errors.New("no bookmark came in time")

// raiseFence finds out that nothing is missing although nothing comes, and returns
// up to which resource version.
//
// A quiet resource is at the resource version of its last change, however many
// other resources have changed since, until a bookmark comes, once a minute. A watch
// that is about to end gets one sooner. So a second watch is opened from where the
// state is. What it sees up to the bookmark is all there is: once the state has got
// that too, it is as new as the bookmark. That costs upstream what has changed
// meanwhile, however large the whole is.
func (s *stream) raiseFence() (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fenceTimeout)
	defer cancel()
	from, epoch := s.hub.Where()
	if from == 0 {
		return 0, errNoFence
	}
	told := make(chan error, 1)
	var until uint64
	go func() {
		var err error
		until, err = s.asker.probe()
		told <- err
	}()
	body, err := s.asker.get(ctx, s.asker.encoding.MediaType(), s.asker.resource.Path(), fmt.Sprintf("watch=1&allowWatchBookmarks=true&resourceVersion=%d&timeoutSeconds=%d", from, fenceSeconds))
	if err != nil {
		<-told
		return 0, err
	}
	defer body.Close()
	if err := <-told; err != nil {
		return 0, err
	}
	if until < from {
		err := restored(until, from)
		s.restart(err)
		return 0, err
	}
	last, upTo, err := passFence(body, s.asker, from, until)
	if err != nil {
		return 0, err
	}
	if !s.reach(ctx, last, fenceTimeout) {
		return 0, errNoFence
	}
	if err := s.hub.Pass(epoch, last, upTo); err != nil {
		return 0, err
	}
	return upTo, nil
}

// passFence reads a watch until it is at a resource version, and returns that of
// the last change, and how far it is. Changes are at most from if there were none.
func passFence(body io.Reader, a *asker, from, until uint64) (last, upTo uint64, err error) {
	events := wire.NewEventReader(body, &a.resource.Kind, a.encoding, maxObject)
	for last, upTo = from, from; upTo < until; {
		e, err := events.Next()
		switch {
		case errors.Is(err, io.EOF):
			return 0, 0, errNoFence
		case err != nil:
			return 0, 0, err
		case e.Type == wire.Error:
			return 0, 0, apierrors.FromObject(e.Status)
		case e.Meta.ResourceVersion < upTo:
			return 0, 0, fmt.Errorf("resource version %d behind %d", e.Meta.ResourceVersion, upTo)
		case e.Type != wire.Bookmark:
			last = e.Meta.ResourceVersion
		}
		upTo = e.Meta.ResourceVersion
	}
	return last, upTo, nil
}

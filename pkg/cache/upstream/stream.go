package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// Sink gets what a stream has read. Bodies are valid during the call only.
type Sink interface {
	// Begin announces a new whole: Add for every object, then Complete.
	Begin()
	Add(body []byte, meta *wire.Meta)
	// Complete replaces everything there was by what was added. It fails if the
	// resource version is lower than before: upstream has gone back in time. Abandon
	// follows every failure, of Apply as well.
	Complete(resourceVersion uint64) error
	// Apply is a change. It fails if it is older than what there is.
	Apply(t wire.EventType, body []byte, meta *wire.Meta) error
	// Bookmark tells that nothing has changed up to a resource version. Its body
	// is the object that upstream sent for it.
	Bookmark(resourceVersion uint64, body []byte) error
	// Disconnected tells that changes are not followed at the moment; the next
	// Connected that they are again.
	Disconnected(err error)
	Connected()
	// Abandon drops everything: it cannot be trusted.
	Abandon(err error)
	// Warnings are what upstream warns of everybody who reads this resource.
	Warnings(values []string)
}

// Config is what a Stream is made of. All fields are needed.
type Config struct {
	// Client reaches upstream; the host of requests is ignored.
	Client http.RoundTripper
	// Path of the resource in all namespaces, like /api/v1/pods.
	Path     string
	Kind     *wire.Kind
	Encoding wire.Encoding
	// MaxObject bounds one object, in bytes.
	MaxObject int
	UserAgent string
	// Now asks upstream for its resource version of now: not below that of anything it
	// has ever sent, unless its store was restored. It ends by itself.
	Now   func() (uint64, error)
	Clock clock.Clock
	Log   *zap.Logger
}

// Stream follows a resource.
type Stream struct {
	config Config
	sink   Sink
	// rv is what has been reached; 0 before there is a whole.
	rv uint64
	// paged tells that the server does not send initial state in a watch; half that the
	// last watch ended before all of it was there.
	paged, half bool
	// distrust has why everything is to be dropped.
	distrust chan error
}

// New returns a Stream into a sink.
func New(config Config, sink Sink) *Stream {
	return &Stream{config: config, sink: sink, distrust: make(chan error, 1)}
}

// Restart has everything dropped and read anew, because of something that the
// stream itself does not see. It does not wait for it.
func (s *Stream) Restart(why error) {
	select {
	case s.distrust <- fmt.Errorf("%w: %w", errDistrust, why):
	default:
	}
}

// ErrGiveUp is for errors of a Sink that will not go away soon. The stream waits long
// before it tries again.
var ErrGiveUp = errors.New("this is given up for a while")

var (
	// errExpired tells that the resource version is no more in upstream's history.
	errExpired = errors.New("upstream's history does not go back that far")
	// errNoWatchList tells that a server does not send initial state in a watch.
	errNoWatchList = errors.New("upstream does not send initial events")
	// errDistrust is for what Restart was told.
	errDistrust = errors.New("what was read is not trusted any more")
	// errIdle ends a watch without a sign of life.
	errIdle = errors.New("no answer, no event and no bookmark for a long time")
)

const (
	// minBackoff and maxBackoff bound the wait before trying again, which doubles.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	// giveUpFor is the wait behind ErrGiveUp.
	giveUpFor = 10 * time.Minute
	// watchSeconds is how long watches are asked to last, up to twice of it: not
	// all streams end together.
	watchSeconds = 300
	// initialSeconds is the same for those that begin with the initial state, which
	// may take a while: at their end everything would be read from the beginning.
	initialSeconds = 1800
	// headersWithin bounds the wait for a watch to begin. maxIdle is how long one can
	// say nothing: bookmarks come every minute.
	headersWithin = 30 * time.Second
	maxIdle       = 3 * time.Minute
	// pageSize is that of a paged list.
	pageSize = 500
	// nowEvery is how far apart are questions of how far upstream is that fail.
	nowEvery = 5 * time.Second
)

// Run follows until ctx ends.
func (s *Stream) Run(ctx context.Context) {
	backoff := minBackoff
	for ctx.Err() == nil {
		before := s.rv
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errNoWatchList) {
			s.paged = true
			continue
		}
		s.sink.Disconnected(err)
		switch {
		case errors.Is(err, errExpired):
			s.config.Log.Info("starting anew", zap.String("path", s.config.Path), zap.Error(err))
			s.rv = 0
			continue
		case errors.Is(err, io.EOF) && s.rv != 0:
			// The watch has lasted as long as it was asked to.
			backoff = minBackoff
			if s.rv != before {
				continue
			}
		case err != nil:
			s.config.Log.Warn("the cache does not follow upstream at the moment", zap.String("path", s.config.Path), zap.Error(err))
		}
		if s.rv != before {
			backoff = minBackoff
		}
		// Jittered, so that streams that fail together do not come back together.
		wait := backoff/2 + rand.N(backoff)
		backoff = min(2*backoff, maxBackoff)
		if errors.Is(err, ErrGiveUp) {
			wait = giveUpFor/2 + rand.N(giveUpFor)
		}
		select {
		case <-ctx.Done():
		case <-s.config.Clock.After(wait):
		}
	}
}

// follow gets the whole, if there is none, and changes until the watch ends. The
// error is never nil; io.EOF for a clean end.
func (s *Stream) follow(ctx context.Context) error {
	// What does not come in one piece may come in many, or the server has a reason
	// not to send it in a watch. Of a list that fails the next try is a watch again.
	if s.rv == 0 && (s.paged || s.half) {
		s.half = false
		if err := s.list(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	query := url.Values{"watch": {"1"}, "allowWatchBookmarks": {"true"}}
	initial, seconds := s.rv == 0, watchSeconds
	if initial {
		seconds = initialSeconds
		query.Set("sendInitialEvents", "true")
		query.Set("resourceVersionMatch", "NotOlderThan")
	} else {
		query.Set("resourceVersion", strconv.FormatUint(s.rv, 10))
	}
	query.Set("timeoutSeconds", strconv.Itoa(seconds+rand.IntN(seconds)))
	idle := s.config.Clock.NewTimer(headersWithin)
	defer idle.Stop()
	alive := make(chan struct{}, 1)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-idle.C():
				cancel(errIdle)
				return
			case err := <-s.distrust:
				cancel(err)
				return
			case <-alive:
				idle.Reset(maxIdle)
			}
		}
	}()
	response, err := s.get(ctx, query)
	if err != nil {
		return s.broken(ctx, err)
	}
	defer response.Body.Close()
	alive <- struct{}{}
	if err := s.checked(response, initial); err != nil {
		return s.broken(ctx, err)
	}
	events := wire.NewEventReader(response.Body, s.config.Kind, s.config.Encoding, s.config.MaxObject)
	if initial {
		s.sink.Begin()
		defer func() { s.half = initial }()
	} else {
		s.sink.Connected()
		go s.compare(ctx, s.rv)
	}
	for {
		e, err := events.Next()
		if err != nil {
			return s.broken(ctx, err)
		}
		select {
		case alive <- struct{}{}:
		default:
		}
		if err := s.take(e, &initial); err != nil {
			return err
		}
	}
}

// compare has everything read anew if upstream is not as far as it was: its store was
// restored while nobody watched. The watch itself does not tell. A kube-apiserver takes
// a resource version from the future, and leaves out all that happens up to there.
func (s *Stream) compare(ctx context.Context, before uint64) {
	for {
		now, err := s.config.Now()
		if err == nil {
			if now < before {
				s.Restart(fmt.Errorf("upstream is at resource version %d after %d: its store was restored", now, before))
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-s.config.Clock.After(nowEvery):
		}
	}
}

// broken says why a stream has ended, and drops everything if it cannot be
// understood: whatever stands there, it is not what the apiserver meant.
func (s *Stream) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, errDistrust) || errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrTooLarge) {
		s.abandon(err)
	}
	return err
}

func (s *Stream) abandon(err error) {
	s.rv = 0
	s.sink.Abandon(err)
}

// take handles one event.
func (s *Stream) take(e *wire.Event, initial *bool) error {
	rv := e.Meta.ResourceVersion
	switch e.Type {
	case wire.Error:
		return s.failed(apierrors.FromObject(e.Status))
	case wire.Bookmark:
		if *initial {
			if !e.InitialEventsEnd {
				return nil
			}
			*initial = false
			return s.complete(rv, e.Body)
		}
		if rv < s.rv {
			err := fmt.Errorf("bookmark %d behind %d", rv, s.rv)
			s.abandon(err)
			return err
		}
		s.rv = rv
		return s.sink.Bookmark(rv, e.Body)
	default:
		if *initial {
			if e.Type != wire.Added {
				err := fmt.Errorf("%w: a change before the initial state was complete", wire.ErrMalformed)
				s.abandon(err)
				return err
			}
			s.sink.Add(e.Body, &e.Meta)
			return nil
		}
		if err := s.sink.Apply(e.Type, e.Body, &e.Meta); err != nil {
			s.abandon(err)
			return err
		}
		s.rv = rv
		return nil
	}
}

// complete ends the initial state.
func (s *Stream) complete(rv uint64, bookmark []byte) error {
	if err := s.sink.Complete(rv); err != nil {
		s.abandon(err)
		return err
	}
	s.rv = rv
	s.sink.Connected()
	if bookmark == nil {
		return nil
	}
	return s.sink.Bookmark(rv, bookmark)
}

// failed is for a Status that upstream has sent.
func (s *Stream) failed(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return fmt.Errorf("%w: %w", errExpired, err)
	}
	return err
}

// checked returns an error for an answer that is no watch.
func (s *Stream) checked(response *http.Response, initial bool) error {
	s.sink.Warnings(response.Header["Warning"])
	if response.StatusCode == http.StatusOK {
		return nil
	}
	status, err := readStatus(response)
	if err != nil {
		return err
	}
	if initial && (response.StatusCode == http.StatusUnprocessableEntity || response.StatusCode == http.StatusBadRequest) {
		return fmt.Errorf("%w: %w", errNoWatchList, status)
	}
	return s.failed(status)
}

func (s *Stream) get(ctx context.Context, query url.Values) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://upstream"+s.config.Path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", s.config.Encoding.MediaType())
	r.Header.Set("User-Agent", s.config.UserAgent)
	return s.config.Client.RoundTrip(r)
}

package routing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/version"
)

const (
	// probeEvery and probeTimeout are for /readyz of a server that is up; the
	// timeout is above the two seconds after which kube-apiserver gives up on etcd.
	probeEvery   = time.Second
	probeTimeout = 3 * time.Second
	// probeDownEvery is for one that is not.
	probeDownEvery = 250 * time.Millisecond
	// probeGap is the least time before a probe that a failure asks for.
	probeGap = 20 * time.Millisecond
	// versionEvery is how often /version is read: a server is upgraded in place.
	versionEvery = time.Minute
	// maxProbeBytes bounds what is read of an answer.
	maxProbeBytes = 64 << 10
)

// Run probes all servers and judges all groups until ctx ends.
func (u *Upstream) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	watched := map[*Endpoint]context.CancelFunc{}
	defer func() {
		for _, cancel := range watched {
			cancel()
		}
	}()
	presence := u.config.Clock.NewTicker(silenceTick)
	defer presence.Stop()
	pressure := u.config.Clock.NewTicker(pressureTick)
	defer pressure.Stop()
	adaptive := u.config.Clock.NewTicker(adaptiveTick)
	defer adaptive.Stop()
	for {
		u.follow(ctx, watched, &running)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-u.changed:
		case <-presence.C():
			u.lookForAbsence()
		case <-pressure.C():
			u.judgePressure()
		case <-adaptive.C():
			u.limitConcurrency()
		}
	}
}

// follow starts and ends the probing of servers that have come and gone.
func (u *Upstream) follow(ctx context.Context, watched map[*Endpoint]context.CancelFunc, running *sync.WaitGroup) {
	present := map[*Endpoint]bool{}
	for _, e := range u.Endpoints() {
		present[e] = true
		if watched[e] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		watched[e] = cancel
		running.Go(func() { u.probeUntil(ctx, e) })
		running.Go(func() { u.listenUntil(ctx, e) })
	}
	for e, cancel := range watched {
		if !present[e] {
			cancel()
			delete(watched, e)
		}
	}
}

func (u *Upstream) lookForAbsence() {
	now := u.config.Clock.Now()
	for _, g := range u.table.Load().groups {
		g.absence.look(g.usable(now.UnixNano()), now)
	}
}

func (u *Upstream) judgePressure() {
	for _, g := range u.table.Load().groups {
		g.pressure.tick()
	}
}

func (u *Upstream) limitConcurrency() {
	for _, g := range u.table.Load().groups {
		g.adaptive.tick(g.inFlight.Load())
	}
}

// probeUntil asks a server again and again how it is.
func (u *Upstream) probeUntil(ctx context.Context, e *Endpoint) {
	var versionRead time.Time
	for {
		u.probe(ctx, e)
		now := u.config.Clock.Now()
		if e.health.condition() == ready && now.Sub(versionRead) >= versionEvery {
			versionRead = now
			e.readVersion(ctx)
		}
		wait := probeDownEvery
		if e.health.condition() == ready {
			wait = probeEvery
		}
		timer := u.config.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.kick:
			timer.Stop()
			// Who fails many requests at once is asked once.
			select {
			case <-ctx.Done():
				return
			case <-u.config.Clock.After(probeGap):
			}
		case <-timer.C():
		}
	}
}

// probe asks once.
func (u *Upstream) probe(ctx context.Context, e *Endpoint) {
	code, body, err := e.get(ctx, probing, "/readyz")
	now := u.config.Clock.Now()
	switch {
	case ctx.Err() != nil, ownFault(err):
	case err == nil:
		// Who may not ask has been answered all the same.
		isReady := code == http.StatusOK || code == http.StatusUnauthorized || code == http.StatusForbidden
		e.health.probed(isReady, fmt.Sprintf("/readyz says %d: %s", code, lastLine(body)), now)
	case errors.As(err, &notSent{}):
		e.health.unreached(err, false, now)
	default:
		e.health.noAnswer(err, now)
	}
}

// lastLine of a verbose answer says what is wrong.
func lastLine(body []byte) string {
	text := strings.TrimSpace(string(body))
	return shorten(text[strings.LastIndexByte(text, '\n')+1:])
}

// listenUntil has the server's connections reset when it shows no sign of life:
// who waits for an answer goes to another server, or learns that there is none.
func (u *Upstream) listenUntil(ctx context.Context, e *Endpoint) {
	ticker := u.config.Clock.NewTicker(silenceTick)
	defer ticker.Stop()
	s := silence{looked: u.config.Clock.Now()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		e.conns.flush()
		now := u.config.Clock.Now()
		frozen := s.look(now, e.conns.heard.Load(), e.waiting())
		e.health.quiet.Store(s.still >= maxQuiet)
		if s.still >= maxWait {
			u.moveReads(e, now)
		}
		if frozen {
			s.forget()
			u.metrics.silences.WithLabelValues(e.Group, e.URL.Host).Inc()
			e.health.silent(now)
			e.conns.reset()
			e.probeSoon()
		}
	}
}

// get asks the server for a path with the gateway's own credential.
func (e *Endpoint) get(ctx context.Context, lane Lane, path string) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	e.asked.Add(1)
	defer e.asked.Add(-1)
	target := *e.URL
	target.Path = path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := e.transport(Own, lane).RoundTrip(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxProbeBytes))
	return response.StatusCode, body, err
}

func (e *Endpoint) readVersion(ctx context.Context) {
	code, body, err := e.get(ctx, probing, "/version")
	var info version.Info
	if err == nil && code == http.StatusOK && json.Unmarshal(body, &info) == nil {
		e.version.Store(&info.GitVersion)
	}
}

// Check asks one server for path with the gateway's own credential, and returns
// the status code.
func (u *Upstream) Check(ctx context.Context, e *Endpoint, path string) (int, error) {
	code, _, err := e.get(ctx, probing, path)
	return code, err
}

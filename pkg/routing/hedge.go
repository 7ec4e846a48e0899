package routing

import (
	"context"
	"io"
	"net/http"
	"time"
)

// minHedge keeps reads from being sent twice for a hiccup of the gateway's own.
const minHedge = 5 * time.Millisecond

// attempt is one of the two ways in which a hedged read is sent.
type attempt struct {
	to       *Endpoint
	response *http.Response
	err      error
	cancel   context.CancelFunc
}

// hedged sends a read to e, and to another server of the group as well if there
// is no answer after what 99% of them take. The first answer counts. An error
// counts only if both fail.
func (t *trip) hedged(r *http.Request, g *group, e *Endpoint) (*http.Response, error) {
	u := t.upstream
	results := make(chan attempt, 2)
	start := func(to *Endpoint) context.CancelFunc {
		ctx, cancel := context.WithCancel(r.Context())
		out := r.WithContext(ctx)
		address := *r.URL
		address.Scheme, address.Host = to.URL.Scheme, to.URL.Host
		out.URL = &address
		rt := to.transport(t.call.As, t.call.Lane)
		go func() {
			response, err := rt.RoundTrip(out)
			results <- attempt{to, response, err, cancel}
		}()
		return cancel
	}
	cancelFirst := start(e)
	timer := u.config.Clock.NewTimer(max(minHedge, e.slowest.load()))
	defer timer.Stop()
	select {
	case first := <-results:
		return first.take()
	case <-timer.C():
	}
	second := t.pick(g, healthy, u.config.Clock.Now())
	if second == nil || !u.budget.spend() {
		first := <-results
		return first.take()
	}
	u.metrics.hedges.Inc()
	t.tried = append(t.tried, second)
	second.sent.Add(1)
	second.inFlight.Add(1)
	defer second.inFlight.Add(-1)
	cancelSecond := start(second)
	winner := <-results
	if winner.err != nil && r.Context().Err() == nil {
		winner.cancel()
		winner = <-results
		return winner.take()
	}
	if winner.to == e {
		cancelSecond()
	} else {
		cancelFirst()
	}
	// The other one is on its way to an end, and nobody reads its answer.
	go func() {
		if late := <-results; late.err == nil {
			late.response.Body.Close()
		}
	}()
	return winner.take()
}

// take hands over the response; its context ends with its body.
func (a attempt) take() (*http.Response, error) {
	if a.err != nil {
		a.cancel()
		return nil, a.err
	}
	a.response.Body = cancelling{a.response.Body, a.cancel}
	return a.response, nil
}

type cancelling struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c cancelling) Close() error {
	err := c.ReadCloser.Close()
	c.cancel()
	return err
}

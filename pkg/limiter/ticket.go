package limiter

import "time"

// ticketGrants is how many grants a ticket holds without an allocation.
const ticketGrants = 16

// Ticket remembers what a request has been granted. The zero value is ready;
// after Refund, Opened or Done it can be used for another request. It is not
// safe for concurrent use.
type Ticket struct {
	limiter *Limiter
	// scarce tells that a grant was asked for in vain just before.
	scarce bool
	n      int
	grants [ticketGrants]grant
	more   []grant
}

// grant is a slot of a bucket, and the token that came with it.
type grant struct {
	state  *state
	bucket *bucket
	source source
}

func (t *Ticket) add(g grant) {
	if t.n < ticketGrants {
		t.grants[t.n] = g
	} else {
		t.more = append(t.more, g)
	}
	t.n++
}

func (t *Ticket) at(i int) *grant {
	if i < ticketGrants {
		return &t.grants[i]
	}
	return &t.more[i-ticketGrants]
}

// Scarce tells that a rule refuses others like the request: there was a refusal
// between this request and the one that was granted before it.
func (t *Ticket) Scarce() bool { return t.scarce }

// Refund gives back tokens and slots: a later stage has refused the request.
// Without effect after Opened or Done.
func (t *Ticket) Refund() {
	if t.n > 0 {
		t.giveBack(t.limiter.clock.Now(), t.n)
	}
}

// giveBack refunds all grants. Those from first on have not been counted as
// admitted yet.
func (t *Ticket) giveBack(now time.Time, first int) {
	for i := range t.n {
		g := t.at(i)
		g.bucket.refund(g.source, now)
		if i < first {
			g.state.refunded.Add(1)
		}
	}
	t.release()
}

// Opened tells that a watch has begun: it is in flight no longer, and its tokens
// are spent.
func (t *Ticket) Opened() { t.release() }

// Done tells that the request is over. It may be called more than once, and
// after Opened or Refund.
func (t *Ticket) Done() { t.release() }

func (t *Ticket) release() {
	for i := range t.n {
		g := t.at(i)
		g.bucket.inFlight.Add(-1)
		g.state.inFlight.Add(-1)
		*g = grant{} // a pooled ticket must not hold on to rules that are gone
	}
	t.n, t.more, t.scarce = 0, t.more[:0], false
}

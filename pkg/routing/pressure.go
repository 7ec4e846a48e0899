package routing

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// pressureTick is how often a group's load is judged.
	pressureTick = time.Second
	// overloadedPart of the answers must say that the servers are too busy, of at least
	// overloadedLeast, for them to be overloaded.
	overloadedPart  = 0.1
	overloadedLeast = 10
	// calmTicks must pass without overload before one more priority is let in.
	calmTicks = 5
)

// sheddable priorities, the first to be refused first.
var sheddable = [...]v1alpha1.Priority{v1alpha1.PriorityP4, v1alpha1.PriorityP3, v1alpha1.PriorityP2}

// pressure refuses priorities while a group's servers refuse requests: one more,
// the lowest first, in every second that is bad, one less after calmTicks that
// were not. That servers take long is for adaptive.go: to refuse whole priorities for
// that would leave servers without work and overload them again, by turns, and a mean
// latency is also that of a tenant whose requests wait for something else.
type pressure struct {
	// answers and overloads are since the last tick.
	answers, overloads atomic.Int64
	// level is how many of sheddable are refused.
	level atomic.Int32

	// calm is of the ticking goroutine alone.
	calm int
}

// answered counts an answer, which may be a refusal.
func (p *pressure) answered(refused bool) {
	p.answers.Add(1)
	if refused {
		p.overloads.Add(1)
	}
}

// tooBusy tells whether an answer to a request, of which attributes may not be known,
// is an apiserver's refusal for having too much to do. It says when to come again
// then (k8s.io/apiserver pkg/server/filters). An eviction that a disruption budget
// forbids, a proxied pod and an aggregated apiserver that is gone have the same codes.
func tooBusy(response *http.Response, a *request.Attributes) bool {
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return response.Header.Get("Retry-After") != "" && (a == nil || ofObjects(a))
	}
	return false
}

// tick judges the last second.
func (p *pressure) tick() {
	answers, overloads := p.answers.Swap(0), p.overloads.Swap(0)
	refuses := overloads >= overloadedLeast && float64(overloads) > overloadedPart*float64(answers)
	level := p.level.Load()
	switch {
	case refuses:
		p.calm = 0
		p.level.Store(min(level+1, int32(len(sheddable))))
	case level > 0:
		if p.calm++; p.calm >= calmTicks {
			p.calm = 0
			p.level.Store(level - 1)
		}
	}
}

func (p *pressure) sheds(priority v1alpha1.Priority) bool {
	level := p.level.Load()
	for _, refused := range sheddable[:level] {
		if refused == priority {
			return true
		}
	}
	return false
}

// highest is the highest priority that is refused; empty if none is.
func (p *pressure) highest() v1alpha1.Priority {
	if level := p.level.Load(); level > 0 {
		return sheddable[level-1]
	}
	return ""
}

package routing

import (
	"time"
)

// member is a server of a group with its weight.
type member struct {
	*Endpoint
	weight float64
}

const (
	// maxConsidered bounds what is looked at for one request; of larger groups a
	// random window of that many servers.
	maxConsidered = 16
	// minSpeed is the least part of the fastest server's speed that a server is
	// taken to have. A slow one must get requests to be known as faster again.
	minSpeed = 0.1
)

// ranks are what servers are asked for, best first.
type rank int

const (
	// healthy servers are ready, or nobody has asked them yet.
	healthy rank = iota
	// avoided ones are ready, but have lost requests or say nothing at the moment.
	avoided
	// unready ones say so. A kube-apiserver that is starting answers, and forbids what
	// is allowed: it does not know the roles yet.
	unready
)

func (m member) has(r rank, now int64) bool {
	switch c := m.health.condition(); {
	case c == down:
		return false
	case c == notReady:
		return r == unready
	case m.health.ejected(now) || m.health.quiet.Load():
		return r == avoided
	default:
		return r == healthy
	}
}

// pick chooses one of the servers of a rank that have not been tried; nil if
// there is none.
//
// For a short request two are drawn, each with a probability in proportion to its
// weight and speed, and of these it goes to the one with less under way for its
// weight. Drawing by speed alone would let queues grow, and counting what is
// under way alone would send as much to a slow server as to a fast one while
// there is little to do (see TestBalance). A long-running request goes where the
// fewest are.
func pick(members []member, r rank, long bool, tried []*Endpoint, now time.Time, slowStart time.Duration, random func() uint64) *Endpoint {
	if len(members) > maxConsidered {
		first := int(random() % uint64(len(members)))
		members = append(append(make([]member, 0, maxConsidered), members[first:]...), members[:first]...)[:maxConsidered]
	}
	var found [maxConsidered]member
	n := 0
	nanos := now.UnixNano()
	for _, m := range members {
		if m.weight > 0 && m.has(r, nanos) && !contains(tried, m.Endpoint) {
			m.weight *= m.health.warmth(nanos, slowStart)
			found[n] = m
			n++
		}
	}
	switch {
	case n == 0:
		return nil
	case n == 1:
		return found[0].Endpoint
	case long:
		return fewest(found[:n], random).Endpoint
	}
	var speeds [maxConsidered]float64
	total := speed(found[:n], speeds[:n])
	a := draw(found[:n], speeds[:n], total, random)
	b := draw(found[:n], speeds[:n], total, random)
	if float64(b.inFlight.Load())/b.weight < float64(a.inFlight.Load())/a.weight {
		return b.Endpoint
	}
	return a.Endpoint
}

func contains(tried []*Endpoint, e *Endpoint) bool {
	for _, t := range tried {
		if t == e {
			return true
		}
	}
	return false
}

// speed fills in weight and speed of each, and returns the sum.
func speed(members []member, speeds []float64) (total float64) {
	var fastest time.Duration
	for _, m := range members {
		if latency := m.latency.load(); latency > 0 && (fastest == 0 || latency < fastest) {
			fastest = latency
		}
	}
	for i, m := range members {
		speeds[i] = m.weight
		if latency := m.latency.load(); latency > fastest {
			speeds[i] *= max(minSpeed, float64(fastest)/float64(latency))
		}
		total += speeds[i]
	}
	return total
}

func draw(members []member, speeds []float64, total float64, random func() uint64) *member {
	point := float64(random()>>11) / (1 << 53) * total
	for i := range members {
		if point -= speeds[i]; point < 0 {
			return &members[i]
		}
	}
	// Only rounding leads here.
	return &members[len(members)-1]
}

// fewest returns the member with the fewest long-running requests for its weight,
// any of them if there are several.
func fewest(members []member, random func() uint64) *member {
	first := int(random() % uint64(len(members)))
	best := &members[first]
	for i := range members {
		m := &members[(first+i)%len(members)]
		if float64(m.longRunning.Load()+1)/m.weight < float64(best.longRunning.Load()+1)/best.weight {
			best = m
		}
	}
	return best
}

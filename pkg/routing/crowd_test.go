package routing

import (
	"container/heap"
	"math"
	"slices"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// job is a simulated request. Times are in seconds since the beginning.
type job struct {
	priority v1alpha1.Priority
	list     bool
	// work is what it takes of one processor, wait what it takes of none.
	work, wait float64
	arrived    float64
	// patience is how long its client waits.
	patience float64
	// over tells that it was answered, or given up.
	over bool
	// running tells that processors work for it, until they have served as much to each
	// as finish.
	running bool
	finish  float64
}

type jobs []*job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].finish < j[b].finish }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)        { *j = append(*j, x.(*job)) }
func (j *jobs) Pop() any {
	last := (*j)[len(*j)-1]
	*j = (*j)[:len(*j)-1]
	return last
}

// processors are a simulated kube-apiserver. All requests that run have the same part
// of them, and none has more than one.
type processors struct {
	count   float64
	running jobs
	n       int
	// stalled tells that nothing goes on at the moment.
	stalled bool
	// served is what each request has had that was there all the time, at that time.
	served, at float64
	// levels are of API priority and fairness; none: every request runs at once.
	levels map[v1alpha1.Priority]*level
}

// level is a queue of API priority and fairness.
type level struct {
	seats, most int
	running     int
	waiting     []*job
}

func (p *processors) speed() float64 {
	switch {
	case p.stalled:
		return 0
	case p.n == 0:
		return 1
	}
	return min(1, p.count/float64(p.n))
}

func (p *processors) advance(now float64) {
	p.served += (now - p.at) * p.speed()
	p.at = now
}

// next is when the next answer is ready.
func (p *processors) next() float64 {
	for len(p.running) > 0 && p.running[0].over {
		heap.Pop(&p.running)
	}
	if len(p.running) == 0 || p.stalled {
		return math.Inf(1)
	}
	return p.at + max(0, p.running[0].finish-p.served)/p.speed()
}

// take has a request run or wait; it is false if the server refuses it.
func (p *processors) take(j *job, now float64) bool {
	p.advance(now)
	l := p.levels[j.priority]
	switch {
	case l == nil || l.running < l.seats:
		p.run(j)
	case len(l.waiting) >= l.most:
		return false
	default:
		l.waiting = append(l.waiting, j)
	}
	return true
}

func (p *processors) run(j *job) {
	if l := p.levels[j.priority]; l != nil {
		l.running++
	}
	p.n++
	j.running, j.finish = true, p.served+j.work
	heap.Push(&p.running, j)
}

// end takes a request off that is over.
func (p *processors) end(j *job, now float64) {
	p.advance(now)
	j.over = true
	l := p.levels[j.priority]
	if !j.running {
		if l != nil {
			l.waiting = slices.DeleteFunc(l.waiting, func(other *job) bool { return other == j })
		}
		return
	}
	j.running = false
	p.n--
	if l == nil {
		return
	}
	l.running--
	for len(l.waiting) > 0 && l.running < l.seats {
		first := l.waiting[0]
		l.waiting = l.waiting[1:]
		p.run(first)
	}
}

// event is something that happens at a time.
type event struct {
	at float64
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(a, b int) bool { return e[a].at < e[b].at }
func (e events) Swap(a, b int)      { e[a], e[b] = e[b], e[a] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

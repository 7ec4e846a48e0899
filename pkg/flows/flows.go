package flows

import (
	"hash/maphash"
	"strings"
	"sync"

	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// maxFlows bounds the flows of their own.
	maxFlows = 2048
	// maxName bounds what is kept of a client's name, in bytes.
	maxName = 64
	shards  = 16
)

// Key tells flows apart. The zero value is the flow of all that have none of
// their own.
type Key struct {
	Client      string
	Class       string
	Verb        string
	APIGroup    string
	Resource    string
	Subresource string
	Scope       v1alpha1.ListScope
	Shape       v1alpha1.ListShape
}

// Recorder counts flows. It is safe for concurrent use.
type Recorder struct {
	clock  clock.PassiveClock
	seed   maphash.Seed
	shards [shards]shard
	// rest is the flow of requests beyond maxFlows.
	rest *Flow
}

type shard struct {
	mu    sync.RWMutex
	flows map[Key]*Flow
	// searched is the second in which forget last found nothing.
	searched int64
}

// NewRecorder returns an empty Recorder.
func NewRecorder(clock clock.PassiveClock) *Recorder {
	r := &Recorder{clock: clock, seed: maphash.MakeSeed(), rest: &Flow{}}
	for i := range r.shards {
		r.shards[i].flows = map[Key]*Flow{}
	}
	return r
}

// Arrived counts a request and returns its flow, for Flow.Finished.
func (r *Recorder) Arrived(a *request.Attributes) *Flow {
	f := r.flow(keyOf(a))
	f.arrived(r.clock.Now().Unix())
	return f
}

// keyOf makes the key of a request. Its strings are the request's: they are
// copied when a flow is made.
func keyOf(a *request.Attributes) Key {
	k := Key{Client: a.ClientName, Class: a.Class, Verb: a.Verb, Scope: a.Scope, Shape: a.Shape}
	if len(k.Client) > maxName {
		k.Client = k.Client[:maxName]
	}
	if a.IsResourceRequest {
		k.APIGroup, k.Resource, k.Subresource = a.APIGroup, a.Resource, a.Subresource
		if len(k.APIGroup)+len(k.Resource)+len(k.Subresource) > 4*maxName {
			// No such resource exists.
			k.APIGroup, k.Resource, k.Subresource = "", "", ""
		}
	} else if len(k.Verb) > maxName {
		k.Verb = ""
	}
	return k
}

func (r *Recorder) flow(k Key) *Flow {
	s := &r.shards[maphash.Comparable(r.seed, k)%shards]
	s.mu.RLock()
	f := s.flows[k]
	s.mu.RUnlock()
	if f != nil {
		return f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.flows[k]; f != nil {
		return f
	}
	if len(s.flows) >= maxFlows/shards && !s.forget(r.clock.Now().Unix()) {
		return r.rest
	}
	k.Client, k.Class, k.Verb = strings.Clone(k.Client), strings.Clone(k.Class), strings.Clone(k.Verb)
	k.APIGroup, k.Resource, k.Subresource = strings.Clone(k.APIGroup), strings.Clone(k.Resource), strings.Clone(k.Subresource)
	f = &Flow{Key: k}
	// A flow that has not counted yet must not look old.
	f.newest.Store(r.clock.Now().Unix())
	s.flows[k] = f
	return f
}

// forget removes a flow without a request in the last hour, and tells whether
// there was one.
func (s *shard) forget(now int64) bool {
	if s.searched == now {
		// Not with every request of a client that makes names up.
		return false
	}
	for k, f := range s.flows {
		if now-f.newest.Load() > hour {
			delete(s.flows, k)
			return true
		}
	}
	s.searched = now
	return false
}

// All returns the flows that had a request in the last hour.
func (r *Recorder) All() []*Flow {
	now := r.clock.Now().Unix()
	var all []*Flow
	add := func(f *Flow) {
		if f.newest.Load() > 0 && now-f.newest.Load() <= hour {
			all = append(all, f)
		}
	}
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		for _, f := range s.flows {
			add(f)
		}
		s.mu.RUnlock()
	}
	add(r.rest)
	return all
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/klauspost/compress/snappy"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apiserver"
)

const (
	// noteInterval is how often a gateway tells the others what it counts.
	noteInterval = 2 * time.Second
	// noteTTL is for how long it is believed.
	noteTTL = 10 * time.Second
	// notedFlows bounds the flows in a note; together with the limits' counters and
	// the states of servers it is some ten KiB.
	notedFlows = 200
	// maxNoteBytes bounds what is unpacked: a few bytes that are no note could ask for
	// gigabytes.
	maxNoteBytes = 16 << 20
)

// note is what a gateway tells the others.
type note struct {
	Limits map[string]v1alpha1.LimitCounters `json:"limits"`
	Groups map[string]v1alpha1.GroupState    `json:"groups"`
	Caches map[string]v1alpha1.CacheState    `json:"caches"`
	Flows  []v1alpha1.Flow                   `json:"flows"`
}

// publish writes notes until ctx ends. A gateway that is alone has nobody to
// tell.
func (p *policies) publish(ctx context.Context) {
	if len(p.options.etcdServers) == 0 {
		return
	}
	ticker := time.NewTicker(noteInterval)
	defer ticker.Stop()
	peers := p.api.Peers()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := p.publishOnce(ctx, peers); err != nil && ctx.Err() == nil {
			p.log.Debug("the other gateways could not be told what was counted", zap.Error(err))
		}
	}
}

func (p *policies) publishOnce(ctx context.Context, peers *apiserver.Peers) error {
	ctx, cancel := context.WithTimeout(ctx, noteInterval)
	defer cancel()
	n := p.own()
	n.Flows = n.Flows[:min(len(n.Flows), notedFlows)]
	data, err := n.encode()
	if err != nil {
		return err
	}
	return peers.Write(ctx, p.options.replicaName, data, noteTTL)
}

func (p *policies) own() note {
	return note{Limits: p.limiter.LiveAll(), Groups: p.router.LiveGroups(), Caches: p.cache.Live(), Flows: p.flows.List(time.Now())}
}

// all returns the notes of all gateways, this one's fresh. Without the store it
// is this one's alone.
func (p *policies) all(ctx context.Context) map[string]note {
	notes := map[string]note{p.options.replicaName: p.own()}
	if len(p.options.etcdServers) == 0 {
		return notes
	}
	written, err := p.api.Peers().Read(ctx)
	if err != nil {
		p.log.Debug("what other gateways have counted could not be read", zap.Error(err))
		return notes
	}
	for name, data := range written {
		if name == p.options.replicaName {
			continue
		}
		if n, err := decodeNote(data); err == nil {
			notes[name] = n
		}
	}
	return notes
}

func (n note) encode() ([]byte, error) {
	data, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	return snappy.Encode(nil, data), nil
}

func decodeNote(data []byte) (n note, err error) {
	size, err := snappy.DecodedLen(data)
	if err != nil {
		return n, err
	}
	if size > maxNoteBytes {
		return n, fmt.Errorf("a note of %d bytes", size)
	}
	plain, err := snappy.Decode(nil, data)
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(plain, &n)
}

// ofName gathers what each gateway has noted under a name.
func ofName[T any](notes map[string]note, of func(note) map[string]T, name string, setReplica func(*T, string)) []T {
	var found []T
	for replica, n := range notes {
		if t, ok := of(n)[name]; ok {
			setReplica(&t, replica)
			found = append(found, t)
		}
	}
	return found
}

// Live implements apiserver.Live.
func (p *policies) Live(ctx context.Context, name string) ([]v1alpha1.LimitCounters, error) {
	return ofName(p.all(ctx), func(n note) map[string]v1alpha1.LimitCounters { return n.Limits }, name,
		func(c *v1alpha1.LimitCounters, replica string) { c.Name = replica }), nil
}

// Groups implements apiserver.Live.
func (p *policies) Groups(ctx context.Context, name string) ([]v1alpha1.GroupState, error) {
	return ofName(p.all(ctx), func(n note) map[string]v1alpha1.GroupState { return n.Groups }, name,
		func(s *v1alpha1.GroupState, replica string) { s.Name = replica }), nil
}

// Caches implements apiserver.Live.
func (p *policies) Caches(ctx context.Context, name string) ([]v1alpha1.CacheState, error) {
	return ofName(p.all(ctx), func(n note) map[string]v1alpha1.CacheState { return n.Caches }, name,
		func(s *v1alpha1.CacheState, replica string) { s.Name = replica }), nil
}

// Flows returns those of all gateways, the busiest first.
func (p *policies) Flows(ctx context.Context) []v1alpha1.Flow {
	sums := map[string]*v1alpha1.Flow{}
	for _, n := range p.all(ctx) {
		for _, f := range n.Flows {
			if sum := sums[f.Name]; sum != nil {
				addFlow(sum, &f)
				continue
			}
			sums[f.Name] = &f
		}
	}
	var flows []v1alpha1.Flow
	for _, f := range sums {
		flows = append(flows, *f)
	}
	slices.SortFunc(flows, func(a, b v1alpha1.Flow) int {
		return cmp.Or(b.PerSecond.Cmp(a.PerSecond), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Name, b.Name))
	})
	return flows
}

// addFlow adds what another gateway has counted. Peaks need not have been in the
// same second: their sum is an upper bound.
func addFlow(sum, f *v1alpha1.Flow) {
	if all := sum.Requests + f.Requests; all > 0 {
		sum.BytesPerRequest = (sum.BytesPerRequest*sum.Requests + f.BytesPerRequest*f.Requests) / all
	}
	sum.Requests += f.Requests
	sum.Refused += f.Refused
	for _, q := range []struct{ to, from *resource.Quantity }{{&sum.PerSecond, &f.PerSecond}, {&sum.Sustained, &f.Sustained}, {&sum.Peak, &f.Peak}} {
		q.to.Add(*q.from)
	}
	if f.P99 != nil && (sum.P99 == nil || sum.P99.Duration < f.P99.Duration) {
		sum.P99 = f.P99
	}
}

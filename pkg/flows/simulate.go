package flows

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// Simulate tells what each limit by itself would have refused in the last hour,
// second by second. Flows do not know everything that a limit can look at; notes
// say where that makes a difference.
func (r *Recorder) Simulate(limits []v1alpha1.SimulatedLimit, nodes int) v1alpha1.LimitSimulationStatus {
	now := r.clock.Now()
	all := r.All()
	var status v1alpha1.LimitSimulationStatus
	for i := range limits {
		limit := &limits[i]
		status.Notes = append(status.Notes, blindSpots(limit)...)
		status.Results = append(status.Results, simulate(limit, nodes, all, now)...)
	}
	slices.SortFunc(status.Results, func(a, b v1alpha1.SimulationResult) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Client, b.Client))
	})
	return status
}

// blindSpots names what the limit looks at and flows do not have.
func blindSpots(limit *v1alpha1.SimulatedLimit) []string {
	var notes []string
	for _, m := range []*v1alpha1.Match{&limit.Spec.Match, &limit.Spec.Except} {
		c := &m.Clients
		if len(c.Users)+len(c.Groups)+len(c.ServiceAccounts)+len(c.SourceCIDRs) > 0 {
			notes = append(notes, limit.Name+": users, groups, service accounts and addresses are not recorded; clients are taken for matching, exceptions for not")
		}
		for i := range m.Requests {
			if len(m.Requests[i].Namespaces)+len(m.Requests[i].NonResourceURLs) > 0 {
				notes = append(notes, limit.Name+": namespaces and paths are not recorded; requests are taken for matching, exceptions for not")
			}
		}
	}
	for _, key := range limit.Spec.Per {
		if key != v1alpha1.PerUserAgent {
			notes = append(notes, fmt.Sprintf("%s: per %s is simulated as one bucket per client: less may be refused than shown", limit.Name, key))
		}
	}
	if limit.Spec.MaxInFlight != nil {
		notes = append(notes, limit.Name+": maxInFlight is not simulated")
	}
	slices.Sort(notes)
	return slices.Compact(notes)
}

// recorded is what a match looks at and flows have. Of an exception with more
// nothing is left: it is taken for not matching.
func recorded(m v1alpha1.Match, except bool) (v1alpha1.Match, bool) {
	c := &m.Clients
	blind := len(c.Users)+len(c.Groups)+len(c.ServiceAccounts)+len(c.SourceCIDRs) > 0
	c.Users, c.Groups, c.ServiceAccounts, c.SourceCIDRs = nil, nil, nil, nil
	m.Requests = slices.Clone(m.Requests)
	for i := range m.Requests {
		blind = blind || len(m.Requests[i].Namespaces)+len(m.Requests[i].NonResourceURLs) > 0
		m.Requests[i].Namespaces, m.Requests[i].NonResourceURLs = nil, nil
	}
	return m, !(except && blind)
}

func simulate(limit *v1alpha1.SimulatedLimit, nodes int, all []*Flow, now time.Time) []v1alpha1.SimulationResult {
	entry := request.Entry{SpareVital: !request.NamesVital(&limit.Spec.Match)}
	entry.Match, _ = recorded(limit.Spec.Match, false)
	if except, whole := recorded(limit.Spec.Except, true); whole {
		entry.Except = except
	}
	index := request.NewIndex([]request.Entry{entry})
	perClient := len(limit.Spec.Per) > 0
	// buckets holds the requests of each second by client, by bucket.
	buckets := map[string]map[string][]uint32{}
	for _, f := range all {
		if f.Key == (Key{}) || len(index.Find(f.Key.attributes(), nil)) == 0 {
			continue
		}
		bucket := ""
		if perClient {
			bucket = f.Key.Client
		}
		if buckets[bucket] == nil {
			buckets[bucket] = map[string][]uint32{}
		}
		seconds := f.Seconds(now)
		if sum := buckets[bucket][f.Key.Client]; sum != nil {
			for i, n := range seconds {
				sum[i] += n
			}
			continue
		}
		buckets[bucket][f.Key.Client] = seconds
	}
	rate, burst := v1alpha1.EffectiveRate(&limit.Spec, nodes)
	var results []v1alpha1.SimulationResult
	for _, clients := range buckets {
		results = append(results, simulateBucket(limit.Name, rate, burst, clients)...)
	}
	return results
}

// simulateBucket spends the tokens of each second in proportion to what clients
// asked for.
func simulateBucket(name string, rate, burst float64, clients map[string][]uint32) []v1alpha1.SimulationResult {
	refused := map[string]float64{}
	if rate == 0 {
		burst = 0
	}
	tokens := burst
	for second := range hour {
		asked := 0.0
		for _, counts := range clients {
			asked += float64(counts[second])
		}
		passed := min(asked, math.Floor(tokens+rate))
		tokens = min(burst, tokens+rate-passed)
		for client, counts := range clients {
			if asked > passed {
				refused[client] += float64(counts[second]) * (asked - passed) / asked
			}
		}
	}
	var results []v1alpha1.SimulationResult
	for client, counts := range clients {
		if n := int64(math.Round(refused[client])); n > 0 {
			total := int64(0)
			for _, count := range counts {
				total += int64(count)
			}
			results = append(results, v1alpha1.SimulationResult{Limit: name, Client: client, Requests: total, Refused: n})
		}
	}
	return results
}

// attributes are those of a request of the flow.
func (k Key) attributes() *request.Attributes {
	return &request.Attributes{
		RequestInfo: &apirequest.RequestInfo{
			IsResourceRequest: k.Resource != "", Verb: k.Verb, APIGroup: k.APIGroup, Resource: k.Resource, Subresource: k.Subresource,
		},
		ClientName: k.Client, Class: k.Class, Scope: k.Scope, Shape: k.Shape,
		Vital: k.APIGroup == "coordination.k8s.io" && k.Resource == "leases",
	}
}

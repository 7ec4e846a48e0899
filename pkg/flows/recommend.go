package flows

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	// headroom is what a recommended limit leaves above what was seen.
	headroom = 1.5
	// minBurst lets a client that starts make its first requests.
	minBurst = 5
)

// weights are how much a request of each shape costs a server, next to a get: a
// list of everything reads everything.
var weights = map[v1alpha1.ListShape]float64{
	v1alpha1.ListShapeUnbounded: 200,
	v1alpha1.ListShapeRV0:       100,
	v1alpha1.ListShapeSelector:  100,
	v1alpha1.ListShapePaginated: 20,
}

// Recommend returns at most count RateLimits, in dry run, for the flows that cost
// most: what each client asked for in its busiest ten seconds, plus headroom. The
// flows of the control plane, and vital requests, get none.
func Recommend(flows []v1alpha1.Flow, count int) []*v1alpha1.RateLimit {
	type group struct {
		flow                  v1alpha1.Flow
		cost, sustained, peak float64
	}
	groups := map[string]*group{}
	for _, f := range flows {
		if f.Client == "" || strings.ContainsFunc(f.Client, notInPatterns) || f.Verb == "" || f.Resource == "" || f.Class == "control-plane" || f.Class == "node-lifelines" || f.Resource == "leases" {
			continue
		}
		// Flows of one client that differ by its class or the shape's scope alone get
		// one limit.
		name := limitName(f)
		g := groups[name]
		if g == nil {
			g = &group{flow: f}
			groups[name] = g
		}
		weight := max(1, weights[f.ListShape])
		if f.ListScope == v1alpha1.ListScopeNamespace {
			weight = max(1, weight/20)
		}
		g.cost += float64(f.Requests) * weight
		g.sustained += f.Sustained.AsApproximateFloat64()
		g.peak += f.Peak.AsApproximateFloat64()
	}
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(groups[b].cost, groups[a].cost), cmp.Compare(a, b))
	})
	var limits []*v1alpha1.RateLimit
	for _, name := range names[:min(count, len(names))] {
		g := groups[name]
		f := g.flow
		qps, burst := roundUp(g.sustained*headroom), int32(min(math.MaxInt32, math.Max(minBurst, math.Ceil(g.peak*headroom))))
		limit := &v1alpha1.RateLimit{}
		limit.APIVersion, limit.Kind = v1alpha1.SchemeGroupVersion.String(), "RateLimit"
		limit.Name = name
		limit.Spec = v1alpha1.RateLimitSpec{
			Match: v1alpha1.Match{
				Clients: v1alpha1.ClientMatch{UserAgents: []string{f.Client}},
				Requests: []v1alpha1.RequestMatch{{
					Verbs: []string{f.Verb}, APIGroups: []string{f.APIGroup}, Resources: []string{resourceOf(f)}, ListScope: f.ListScope,
				}},
			},
			QPS: &qps, Burst: &burst, Mode: v1alpha1.ModeDryRun,
		}
		if f.ListShape != "" {
			limit.Spec.Match.Requests[0].ListShapes = []v1alpha1.ListShape{f.ListShape}
		}
		limits = append(limits, limit)
	}
	return limits
}

// notInPatterns tells characters that a pattern for client names cannot stand for
// themselves with.
func notInPatterns(r rune) bool { return r == '*' || r < ' ' || r == 0x7f }

func resourceOf(f v1alpha1.Flow) string {
	if f.Subresource == "" {
		return f.Resource
	}
	return f.Resource + "/" + f.Subresource
}

// limitName is made of what the limit is for, in the characters of a name.
func limitName(f v1alpha1.Flow) string {
	parts := []string{f.Client, f.Verb, f.Resource, f.Subresource, f.APIGroup, string(f.ListScope), string(f.ListShape)}
	var b strings.Builder
	for _, part := range parts {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		for _, r := range strings.ToLower(part) {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
				r = '-'
			}
			b.WriteRune(r)
		}
	}
	return strings.Trim(b.String(), "-")
}

// roundUp keeps two digits, as people would.
func roundUp(rate float64) resource.Quantity {
	if rate >= 10 {
		return *resource.NewQuantity(int64(math.Ceil(rate)), resource.DecimalSI)
	}
	return resource.MustParse(fmt.Sprintf("%.1f", math.Max(0.1, math.Ceil(rate*10)/10)))
}

package request

import (
	"slices"
	"strings"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// reviews are the resources with which servers ask who somebody is, and what he
// may do.
var reviews = []string{"tokenreviews", "selfsubjectreviews", "subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}

// health are the paths by which load balancers and operators see who is alive.
var health = []string{"/livez", "/readyz", "/healthz"}

// vital tells requests without which nodes are given up, leaders lost, or nobody
// can show who he is.
func vital(info *apirequest.RequestInfo) bool {
	if !info.IsResourceRequest {
		for _, path := range health {
			if rest, ok := strings.CutPrefix(info.Path, path); ok && (rest == "" || rest[0] == '/') {
				return true
			}
		}
		return false
	}
	switch info.APIGroup {
	case "coordination.k8s.io":
		return info.Resource == "leases"
	case "authentication.k8s.io", "authorization.k8s.io":
		return slices.Contains(reviews, info.Resource)
	}
	return false
}

// NamesVital tells whether a match names vital resources or paths itself, instead
// of having them along with everything else.
func NamesVital(m *v1alpha1.Match) bool {
	for i := range m.Requests {
		for _, resource := range m.Requests[i].Resources {
			if resource == "leases" || slices.Contains(reviews, resource) {
				return true
			}
		}
		for _, url := range m.Requests[i].NonResourceURLs {
			for _, path := range health {
				if strings.HasPrefix(url, path) {
					return true
				}
			}
		}
	}
	return false
}

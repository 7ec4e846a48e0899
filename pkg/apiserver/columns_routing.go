package apiserver

import (
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func upstreamGroupColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		integer("Servers", "How many kube-apiservers there are."),
		column("QPS", 0, "Requests per second that the group takes from each gateway."),
		column("InFlight", 0, "Requests of each gateway under way at a time."),
		column("Shedding", 0, "Whether low priorities are refused while the servers are overloaded."),
		column("Active", 0, "Whether the group is in force."),
		column("URLs", wide, "The kube-apiservers, with their weights where these are not 1."),
	}
}

func upstreamGroupCells(g *v1alpha1.UpstreamGroup) []any {
	spec := &g.Spec
	return []any{
		int64(len(spec.Servers)), optionalQuantity(spec.QPS), optionalInt(spec.MaxInFlight), string(spec.Shedding),
		active(&g.Status, g.Generation), servers(spec.Servers),
	}
}

func servers(all []v1alpha1.UpstreamServer) string {
	var urls []string
	for _, s := range all {
		url := s.URL
		if s.Weight != nil && *s.Weight != 1 {
			url += "*" + strconv.Itoa(int(*s.Weight))
		}
		urls = append(urls, url)
	}
	return join(urls, none)
}

func routeColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		integer("Precedence", "The highest wins where several routes match."),
		column("Groups", 0, "The UpstreamGroups that serve the requests, the first that can."),
		column("Spill", 0, "The UpstreamGroups for requests that none of them can take."),
		column("Share", 0, "The part of the clients that the route is for."),
		column("Active", 0, "Whether the route is in force."),
		column("Verbs", wide, "What is routed."),
		column("Resources", wide, "What is routed."),
		column("Clients", wide, "Who is routed."),
		column("Header", wide, "The header that the requests must have."),
	}
}

func routeCells(r *v1alpha1.Route) []any {
	spec := &r.Spec
	share := int32(100)
	if spec.Share != nil {
		share = *spec.Share
	}
	return []any{
		int64(spec.Precedence), join(spec.Groups, none), join(spec.Spill, none), strconv.Itoa(int(share)) + "%", active(&r.Status, r.Generation),
		verbs(&spec.Match), resources(&spec.Match), clients(&spec.Match), header(spec.Header),
	}
}

func header(h *v1alpha1.HeaderMatch) string {
	if h == nil {
		return none
	}
	return strings.TrimSuffix(h.Name+"="+join(h.Values, ""), "=")
}

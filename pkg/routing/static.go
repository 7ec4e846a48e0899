package routing

import "github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"

// StaticGroup returns an UpstreamGroup of these servers ("https://HOST:PORT"),
// with its defaults set.
func StaticGroup(name string, servers ...string) *v1alpha1.UpstreamGroup {
	g := &v1alpha1.UpstreamGroup{}
	g.Name = name
	for _, server := range servers {
		g.Spec.Servers = append(g.Spec.Servers, v1alpha1.UpstreamServer{URL: server})
	}
	v1alpha1.SetDefaults_UpstreamGroup(g)
	return g
}

package failover

import (
	"fmt"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/test/failover/traffic"
)

const (
	// vitalGets is the stream at which gaps are measured: reads of the control plane,
	// 100 a second whatever the machine can do.
	vitalGets     = "P0 get"
	vitalGetsRate = 100
	// clients is how many different ones of each class there are. Who comes back to
	// a group, and when, is decided for each.
	clients = 40
	// watchers is how many watches each mix has, of which every fourth is of P0.
	watchers = 8
)

// mixed is what a control plane and its agents send: with a scale of 1, 300 requests
// a second, of which 90 write.
func (e *env) mixed(t *testing.T, scale float64) traffic.Plan {
	t.Helper()
	own := "/api/v1/namespaces/" + e.namespace + "/configmaps"
	for _, name := range []string{"patched", "updated"} {
		must(t, fill(t.Context(), e.direct(t), e.namespace, name, 50, 100))
	}
	critical, agents := "critical-%d/1.0", "agents-%d/1.0"
	stream := func(name, agent, method, path, body string, objects int, rate float64) traffic.Stream {
		return traffic.Stream{
			Name: name, Server: e.g.URL(), UserAgent: agent, Clients: clients,
			Method: method, Path: path, Body: body, Objects: objects, Rate: rate,
		}
	}
	plan := traffic.Plan{Streams: []traffic.Stream{
		stream(vitalGets, critical, http.MethodGet, "/api/v1/namespaces/small/configmaps/object-%d", "", 10, vitalGetsRate),
		stream("P0 list small", critical, http.MethodGet, "/api/v1/namespaces/small/configmaps", "", 0, 20*scale),
		stream("P0 create", critical, http.MethodPost, own, `{"metadata":{"name":"made-%d"}}`, 0, 30*scale),
		stream("P0 patch", critical, http.MethodPatch, own+"/patched-%d", `{"data":{"by":"one"}}`, 50, 15*scale),
		stream("P0 patch again", critical, http.MethodPatch, own+"/patched-%d", `{"data":{"by":"another"}}`, 50, 15*scale),
		stream("P1 get", agents, http.MethodGet, "/api/v1/namespaces/medium/configmaps/object-%d", "", 100, 60*scale),
		stream("P1 list cached", agents, http.MethodGet, "/api/v1/namespaces/small/configmaps?resourceVersion=0", "", 0, 18*scale),
		stream("P1 list medium", agents, http.MethodGet, "/api/v1/namespaces/medium/configmaps", "", 0, 10*scale),
		stream("P1 list large", agents, http.MethodGet, "/api/v1/namespaces/large/configmaps", "", 0, 2*scale),
		stream("P1 update", agents, http.MethodPut, own+"/updated-%d", `{"metadata":{"name":"updated-%d"}}`, 50, 30*scale),
	}}
	from := e.version(t)
	for i := range watchers {
		name := fmt.Sprintf("agents-watch-%d/1.0", i)
		if i%4 == 0 {
			name = fmt.Sprintf("critical-watch-%d/1.0", i)
		}
		plan.Watches = append(plan.Watches, traffic.Watch{Name: name, Server: e.g.URL(), UserAgent: name, Path: own, From: from, Until: theEnd})
	}
	// What has really happened.
	plan.Watches = append(plan.Watches, traffic.Watch{Name: reference, Server: e.Process(e.outside).URL(), UserAgent: reference, Path: own, From: from, Until: theEnd})
	return plan
}

// reference is the watch past the gateway to which all others are compared.
const reference = "failover-reference"

// version is the resource version of the test's namespace now.
func (e *env) version(t *testing.T) string {
	t.Helper()
	list, err := e.direct(t).CoreV1().ConfigMaps(e.namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	return list.ResourceVersion
}

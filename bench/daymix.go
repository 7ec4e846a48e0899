package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// dayStream is one sort of clients in the mix, and what it asks for.
type dayStream struct {
	name string
	// agent and user are who it is.
	agent, user string
	// perNode is its rate for each node of the cluster, fixed that of all together;
	// requests a second.
	perNode, fixed float64
	// control is for the control plane: what happens to it is what counts. Rogue is for
	// who asks 50 times as often as it should.
	control, rogue bool
	// request is the i-th one: a method, a path, and a body if it has one.
	request func(d *dayBench, i int) (method, path, body string)
	accept  string
}

const (
	kubeletAgent  = "kubelet/v1.37.2 (linux/amd64) kubernetes/abcdef0"
	managerAgent  = "kube-controller-manager/v1.37.2 (linux/amd64) kubernetes/abcdef0/leader-election"
	kubeletUser   = "system:node:" + benchNode
	benchNode     = "node-00000"
	managerUser   = "system:kube-controller-manager"
	operatorUser  = "bench:operator"
	observerUser  = "bench:observer"
	agentUser     = "bench:agent"
	rogueUser     = "bench:rogue"
	rogueNodeUser = "bench:rogue-agent"
)

// rogueTimes is how many times as often as others of its kind a rogue client asks.
const rogueTimes = 50

// dayMix is the fixed mix. Rates for each node are those that nodes of a large
// cluster have; operators and observers do not become fewer in a small one.
var dayMix = []dayStream{
	{
		name: "leader election, GET", agent: managerAgent, user: managerUser, fixed: 5, control: true, accept: jsonType,
		request: func(*dayBench, int) (string, string, string) { return http.MethodGet, dayLease, "" },
	},
	{
		name: "leader election, PATCH", agent: managerAgent, user: managerUser, fixed: 5, control: true, accept: jsonType,
		request: func(_ *dayBench, i int) (string, string, string) {
			return http.MethodPatch, dayLease, fmt.Sprintf(`{"metadata":{"annotations":{"bench.example.org/renewed":"%d"}}}`, i)
		},
	},
	{
		name: "control plane, GET pod", agent: managerAgent, user: managerUser, fixed: 10, control: true, accept: protobufType,
		request: func(d *dayBench, i int) (string, string, string) { return http.MethodGet, d.podPath(i), "" },
	},
	{
		// Of the node whose kubelet they say they are: NodeRestriction sees to that.
		name: "kubelets, node status", agent: kubeletAgent, user: kubeletUser, perNode: 1. / 300, control: true, accept: jsonType,
		request: func(_ *dayBench, i int) (string, string, string) {
			return http.MethodPatch, "/api/v1/nodes/" + benchNode + "/status", fmt.Sprintf(`{"metadata":{"annotations":{"bench.example.org/status":"%d"}}}`, i)
		},
	},
	{
		name: "kubelets, GET node", agent: kubeletAgent, user: kubeletUser, perNode: 1. / 10, accept: protobufType,
		request: func(d *dayBench, i int) (string, string, string) {
			return http.MethodGet, "/api/v1/nodes/" + d.nodeName(i) + "?resourceVersion=0", ""
		},
	},
	{
		name: "kubelets, LIST pods of a node", agent: kubeletAgent, user: kubeletUser, perNode: 1. / 100, accept: protobufType,
		request: func(d *dayBench, i int) (string, string, string) { return http.MethodGet, d.podsOfNode(i), "" },
	},
	{
		// Of a pod that starts: there are as many as the Deployment makes.
		name: "kubelets, GET ConfigMap", agent: kubeletAgent, user: kubeletUser, perNode: 1. / 125, accept: protobufType,
		request: func(*dayBench, int) (string, string, string) { return http.MethodGet, dayConfigMap, "" },
	},
	{
		// Of a pod that runs. Kubelets refresh what they have from the apiserver's cache
		// (pkg/kubelet/util/manager/cache_based_manager.go in Kubernetes).
		name: "kubelets, refreshing a ConfigMap", agent: kubeletAgent, user: kubeletUser, perNode: 1. / 25, accept: protobufType,
		request: func(*dayBench, int) (string, string, string) {
			return http.MethodGet, dayConfigMap + "?resourceVersion=0", ""
		},
	},
	{
		name: "DaemonSet of agents, LIST pods of a node", agent: "cilium-agent/1.17.0", user: agentUser, perNode: 1. / 60, accept: jsonType,
		request: func(d *dayBench, i int) (string, string, string) { return http.MethodGet, d.podsOfNode(i), "" },
	},
	{
		name: "operators, LIST pods by label", agent: "flink-operator/v1.12.0 (linux/amd64)", user: operatorUser, fixed: 2, accept: jsonType,
		request: func(*dayBench, int) (string, string, string) { return http.MethodGet, selectedPodsPath, "" },
	},
	{
		name: "operators, LIST of a namespace", agent: "argo-server/v3.6.0", user: operatorUser, fixed: 4, accept: jsonType,
		request: func(d *dayBench, i int) (string, string, string) {
			return http.MethodGet, "/api/v1/namespaces/" + namespaceName(i%d.pods.namespaces) + "/pods?resourceVersion=0", ""
		},
	},
	{
		name: "Prometheus, LIST all pods", agent: "Prometheus/3.1.0", user: observerUser, fixed: 0.5, accept: jsonType,
		request: func(*dayBench, int) (string, string, string) {
			return http.MethodGet, "/api/v1/pods?resourceVersion=0", ""
		},
	},
	{
		name: "kube-state-metrics, LIST nodes", agent: "kube-state-metrics/v2.15.0 (linux/amd64)", user: observerUser, fixed: 0.5, accept: protobufType,
		request: func(*dayBench, int) (string, string, string) {
			return http.MethodGet, "/api/v1/nodes?resourceVersion=0", ""
		},
	},
	{
		name: "kubectl, LIST pods", agent: "kubectl/v1.37.2 (linux/amd64) kubernetes/abcdef0", user: observerUser, fixed: 1, accept: jsonType,
		request: func(*dayBench, int) (string, string, string) { return http.MethodGet, "/api/v1/pods?limit=500", "" },
	},
	{
		name: "rogue operator, LIST pods by label", agent: "spark-operator/v2.1.0 (linux/amd64)", user: rogueUser, fixed: 2 * rogueTimes, rogue: true, accept: jsonType,
		request: func(*dayBench, int) (string, string, string) { return http.MethodGet, selectedPodsPath, "" },
	},
	{
		name: "rogue DaemonSet, GET PersistentVolumeClaim", agent: "volume-agent/v0.1.0 (linux/amd64)", user: rogueNodeUser, perNode: 1. / 100 * rogueTimes, rogue: true, accept: jsonType,
		request: func(_ *dayBench, i int) (string, string, string) {
			return http.MethodGet, fmt.Sprintf("/api/v1/namespaces/default/persistentvolumeclaims/data-%d", i%claims), ""
		},
	},
}

const (
	// claims is how many PersistentVolumeClaims there are.
	claims       = 100
	dayLease     = "/apis/coordination.k8s.io/v1/namespaces/default/leases/bench"
	dayConfigMap = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt"
)

var selectedPodsPath = "/api/v1/pods?labelSelector=" + url.QueryEscape(selectedLabel+"=yes")

// groups are those of the stream's user.
func (s *dayStream) groups() []string {
	if strings.HasPrefix(s.user, "system:node:") {
		return []string{"system:nodes", benchGroup}
	}
	return []string{benchGroup}
}

// rate is how many requests a second there are in a cluster.
func (s *dayStream) rate(nodes int) float64 { return s.fixed + s.perNode*float64(nodes) }

// in tells whether the stream takes part in a phase. Writes of the control plane
// always do.
func (s *dayStream) in(p phase) bool {
	switch {
	case s.rogue:
		return p.rogues
	case s.control:
		return true
	}
	return p.reads
}

func (d *dayBench) nodeName(i int) string { return cluster.NodeName(i % d.pods.nodes) }

func (d *dayBench) podPath(i int) string { return d.pods.path(i * 7 % d.pods.pods) }

func (d *dayBench) podsOfNode(i int) string {
	return "/api/v1/pods?resourceVersion=0&fieldSelector=" + url.QueryEscape("spec.nodeName="+d.nodeName(i))
}

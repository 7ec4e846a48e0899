package policy_test

import (
	"cmp"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// defaultPolicies are the default policies, compiled as the gateway does.
type defaultPolicies struct {
	limits     []*v1alpha1.RateLimit
	classifier *request.Classifier
	routes     []*v1alpha1.Route
}

func readDefaults(t *testing.T) *defaultPolicies {
	t.Helper()
	objects, err := policy.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	p := &defaultPolicies{}
	var classes []*v1alpha1.ClientClass
	for _, object := range objects {
		switch o := object.(type) {
		case *v1alpha1.RateLimit:
			p.limits = append(p.limits, o)
		case *v1alpha1.ClientClass:
			classes = append(classes, o)
		case *v1alpha1.Route:
			p.routes = append(p.routes, o)
		}
	}
	p.classifier = request.NewClassifier(classes)
	return p
}

// sender is a client: what it calls itself, and who it is.
type sender struct {
	userAgent string
	user      string
	groups    []string
}

// parse reads "METHOD URL" as sent by a client, and classifies it.
func (p *defaultPolicies) parse(t *testing.T, from sender, line string) (a *request.Attributes, claimed *request.Class) {
	t.Helper()
	method, url, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, url, nil)
	r.Header.Set("User-Agent", from.userAgent)
	r.RemoteAddr = "10.1.2.3:4567"
	a, err := request.NewParser().Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	if from.user != "" {
		a.Identity = &request.Identity{Info: &user.DefaultInfo{Name: from.user, Groups: from.groups}}
	}
	class, claimed := p.classifier.Classify(a)
	a.Class, a.Priority = class.Name, class.Priority
	return a, claimed
}

// caught returns the names of the limits that count a request. It asks a limiter
// with these limits, whatever their mode: each admits, and says that it has.
func (p *defaultPolicies) caught(t *testing.T, from sender, line string) []string {
	t.Helper()
	a, _ := p.parse(t, from, line)
	l, err := limiter.New(limiter.Config{Clock: clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0))})
	if err != nil {
		t.Fatal(err)
	}
	l.Update(p.limits, 10_000)
	var ticket limiter.Ticket
	defer ticket.Done()
	for _, phase := range []limiter.Phase{limiter.BeforeAuthentication, limiter.AfterAuthentication} {
		if d := l.Admit(phase, a, &ticket); !d.Allowed {
			t.Fatalf("%s was refused by %s", line, d.Rule)
		}
	}
	var names []string
	for _, limit := range p.limits {
		counters, ok := l.Live(limit.Name)
		if !ok {
			t.Fatalf("the limiter does not know %s", limit.Name)
		}
		if counters.Admitted > 0 {
			names = append(names, limit.Name)
		}
	}
	slices.Sort(names)
	return names
}

// The clients of limits.md, as they are in a cluster.
var (
	masters       = []string{user.SystemPrivilegedGroup, user.AllAuthenticated}
	node          = []string{"system:nodes", user.AllAuthenticated}
	kubelet       = sender{"kubelet/v1.30.0 (linux/amd64) kubernetes/7c48c2b", "system:node:n1", node}
	kubeletFoo    = sender{"kubelet-foo/v1.30.0 (linux/amd64) kubernetes/7c48c2b", "system:serviceaccount:team:foo", nil}
	notKubelet    = sender{"kubelet/v1.30.0 (linux/amd64) kubernetes/7c48c2b", "mallory", nil}
	manager       = sender{"kube-controller-manager/v1.28.7 (linux/amd64) kubernetes/c8dcb00/shared-informers", "system:kube-controller-manager", nil}
	replicaSets   = sender{"kube-controller-manager/v1.28.7 (linux/amd64) kubernetes/c8dcb00/system:serviceaccount:kube-system:replicaset-controller", "system:serviceaccount:kube-system:replicaset-controller", nil}
	namespaces    = sender{"kube-controller-manager/v1.28.7 (linux/amd64) kubernetes/c8dcb00/system:serviceaccount:kube-system:namespace-controller", "system:serviceaccount:kube-system:namespace-controller", nil}
	notManager    = sender{"kube-controller-manager/v1.28.7 (linux/amd64) kubernetes/c8dcb00/shared-informers", "mallory", nil}
	scheduler     = sender{"kube-scheduler/v1.30.0 (linux/amd64) kubernetes/7c48c2b/scheduler", "system:kube-scheduler", nil}
	notScheduler  = sender{"kube-scheduler/v1.30.0 (linux/amd64) kubernetes/7c48c2b/scheduler", "system:serviceaccount:team:kube-scheduler", nil}
	kubeProxy     = sender{"kube-proxy/v1.30.0 (linux/amd64) kubernetes/7c48c2b", "system:serviceaccount:kube-system:kube-proxy", nil}
	kubeProxyFoo  = sender{"kube-proxyfoo/v1.30.0 (linux/amd64) kubernetes/7c48c2b", "system:serviceaccount:kube-system:kube-proxy", nil}
	operator      = sender{"redis-operator/v1.2.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:redis:operator", nil}
	kubectl       = sender{"kubectl/v1.30.0 (linux/amd64) kubernetes/7c48c2b", "alice", nil}
	kubectlFoo    = sender{"kubectl-foo/v1.0.0 (linux/amd64) kubernetes/$Format", "alice", nil}
	helm          = sender{"Helm/3.14.0", "alice", nil}
	flannel       = sender{"flanneld/v0.0.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:kube-flannel:flannel", nil}
	calico        = sender{"calico-node/v0.0.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:kube-system:calico-node", nil}
	cilium        = sender{"Cilium 1.15.1", "system:serviceaccount:kube-system:cilium", nil}
	ciliumOp      = sender{"cilium-operator-generic/1.15.1", "system:serviceaccount:kube-system:cilium-operator", nil}
	detector      = sender{"node-problem-detector/v0.5.0-49-gfb81368", "system:serviceaccount:kube-system:node-problem-detector", nil}
	provisioner   = sender{"csi-provisioner/v0.0.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:kube-system:csi", nil}
	notCSI        = sender{"my-csi-driver/v0.0.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:team:csi", nil}
	prometheus    = sender{"Prometheus/2.53.0", "system:serviceaccount:monitoring:prometheus", nil}
	prometheusFoo = sender{"Prometheus-foo/2.53.0", "system:serviceaccount:monitoring:prometheus", nil}
	stateMetrics  = sender{"kube-state-metrics/v2.13.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:monitoring:kube-state-metrics", nil}
	argo          = sender{"argocd-application-controller/v0.0.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:argocd:controller", nil}
	spark         = sender{"spark-operator/v0.0.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:spark:operator", nil}
	flink         = sender{"flink-kubernetes-operator/1.8", "system:serviceaccount:flink:operator", nil}
	tekton        = sender{"tekton-pipelines-controller/v0.0.0 (linux/amd64) kubernetes/$Format", "system:serviceaccount:tekton:controller", nil}
	curl          = sender{"curl/8.5.0", "alice", nil}
	nameless      = sender{"", "alice", nil}
	wget          = sender{"Wget/1.21.4", "alice", nil}
	goClient      = sender{"Go-http-client/2.0", "alice", nil}
	python        = sender{"python-requests/2.31.0", "alice", nil}
	openAPI       = sender{"OpenAPI-Generator/29.0.0/python", "alice", nil}
	fabric8       = sender{"fabric8-kubernetes-client/6.13.0", "alice", nil}
)

// caughtCase is a request, and the names of all limits that must count it; none
// for a near miss.
type caughtCase struct {
	from  sender
	line  string
	names string
}

// TestDefaultLimitsCatchWhatTheySay has, for each row of the table of defaults,
// requests that it is for, and some that are nearly.
func TestDefaultLimitsCatchWhatTheySay(t *testing.T) {
	p := readDefaults(t)
	for row, cases := range map[string][]caughtCase{
		"1 create pods": {
			{operator, "POST /api/v1/namespaces/a/pods", "create-pods"},
			// The cluster is protected from its own controllers, too.
			{replicaSets, "POST /api/v1/namespaces/a/pods", "create-pods"},
			{operator, "POST /api/v1/namespaces/a/pods/p/eviction", ""},
			{operator, "POST /api/v1/namespaces/a/pods/p/binding", ""},
			{operator, "PUT /api/v1/namespaces/a/pods/p", ""},
			{operator, "POST /api/v1/namespaces/a/configmaps", ""},
			{operator, "POST /apis/example.com/v1/namespaces/a/pods", ""},
		},
		"2 delete pods": {
			{operator, "DELETE /api/v1/namespaces/a/pods/p", "delete-pods"},
			{replicaSets, "DELETE /api/v1/namespaces/a/pods/p", "delete-pods"},
			// The second delete of a pod is its kubelet's; who only says so pays.
			{kubelet, "DELETE /api/v1/namespaces/a/pods/p", ""},
			{notKubelet, "DELETE /api/v1/namespaces/a/pods/p", "delete-pods unknown-clients"},
			{operator, "DELETE /api/v1/namespaces/a/configmaps/c", ""},
			{operator, "PATCH /api/v1/namespaces/a/pods/p", ""},
		},
		"3 deletecollection": {
			{operator, "DELETE /api/v1/namespaces/a/configmaps", "delete-collections"},
			// A namespace that is deleted is emptied type by type; who only says so pays.
			{namespaces, "DELETE /api/v1/namespaces/a/pods", ""},
			{namespaces, "DELETE /apis/apps/v1/namespaces/a/deployments", ""},
			{manager, "DELETE /api/v1/namespaces/a/configmaps", ""},
			{notManager, "DELETE /api/v1/namespaces/a/pods", "delete-collections unknown-clients"},
			{kubectl, "DELETE /apis/apps/v1/namespaces/a/deployments?labelSelector=x", "delete-collections"},
			{operator, "DELETE /apis/apps/v1/namespaces/a/deployments/d", ""},
			// Leader election must go on whatever somebody deletes.
			{operator, "DELETE /apis/coordination.k8s.io/v1/namespaces/a/leases", ""},
		},
		"4 list all pods": {
			{operator, "GET /api/v1/pods", "list-all-pods"},
			{operator, "GET /api/v1/pods?resourceVersion=5&resourceVersionMatch=NotOlderThan", "list-all-pods"},
			// Informers start like this.
			{operator, "GET /api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "list-all-pods"},
			{operator, "GET /api/v1/pods?watch=true", "list-all-pods"},
			{operator, "GET /api/v1/watch/pods", "list-all-pods"},
			{operator, "GET /api/v1/pods?watch=true&resourceVersion=5", ""},
			{operator, "GET /api/v1/pods?watch=true&sendInitialEvents=false&resourceVersion=5", ""},
			{operator, "GET /api/v1/pods?limit=500", ""},
			{operator, "GET /api/v1/namespaces/a/pods", ""},
			{operator, "GET /api/v1/namespaces/a/pods/p", ""},
			{operator, "GET /api/v1/namespaces/a/pods/p/log", ""},
			{operator, "GET /api/v1/configmaps", ""},
			{operator, "GET /apis/metrics.k8s.io/v1beta1/pods", ""},
			{manager, "GET /api/v1/pods", ""},
			{replicaSets, "GET /api/v1/pods", ""},
			{scheduler, "GET /api/v1/pods", ""},
			{notManager, "GET /api/v1/pods", "list-all-pods unknown-clients"},
			{notScheduler, "GET /api/v1/pods", "list-all-pods unknown-clients"},
		},
		"5 list all pods from the cache": {
			{operator, "GET /api/v1/pods?resourceVersion=0", "list-all-pods-from-cache"},
			{operator, "GET /api/v1/pods?resourceVersion=0&limit=500", "list-all-pods-from-cache"},
			{operator, "GET /api/v1/pods?watch=1&resourceVersion=0", "list-all-pods-from-cache"},
			{operator, "GET /api/v1/namespaces/a/pods?resourceVersion=0", ""},
			{operator, "GET /api/v1/services?resourceVersion=0", ""},
			{manager, "GET /api/v1/pods?resourceVersion=0", ""},
			{notManager, "GET /api/v1/pods?resourceVersion=0", "list-all-pods-from-cache unknown-clients"},
		},
		"6 list nodes": {
			{operator, "GET /api/v1/nodes", "list-nodes"},
			{operator, "GET /api/v1/nodes?limit=500", "list-nodes"},
			{operator, "GET /api/v1/nodes?labelSelector=a%3Db", "list-nodes"},
			{operator, "GET /api/v1/nodes?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "list-nodes"},
			{operator, "GET /api/v1/nodes?watch=true&resourceVersion=0", "list-nodes"},
			{operator, "GET /api/v1/nodes?watch=true&resourceVersion=7", ""},
			{operator, "GET /api/v1/nodes/n1", ""},
			{operator, "GET /apis/metrics.k8s.io/v1beta1/nodes", ""},
			{scheduler, "GET /api/v1/nodes", ""},
			{notScheduler, "GET /api/v1/nodes", "list-nodes unknown-clients"},
		},
		"7 list selected pods": {
			{operator, "GET /api/v1/pods?labelSelector=app%3Dweb", "list-selected-pods"},
			{operator, "GET /api/v1/pods?labelSelector=app%3Dweb&resourceVersion=0", "list-selected-pods"},
			{kubelet, "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "list-selected-pods"},
			{kubelet, "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn1&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "list-selected-pods"},
			{operator, "GET /api/v1/pods?labelSelector=app%3Dweb&watch=true&resourceVersion=9", ""},
			{operator, "GET /api/v1/namespaces/a/pods?labelSelector=app%3Dweb", ""},
			{operator, "GET /api/v1/services?labelSelector=app%3Dweb", ""},
			{manager, "GET /api/v1/pods?labelSelector=app%3Dweb", ""},
			{notManager, "GET /api/v1/pods?labelSelector=app%3Dweb", "list-selected-pods unknown-clients"},
		},
		"8 scripts and unknown clients": {
			{curl, "GET /api/v1/namespaces/a/configmaps/c", "scripts unknown-clients"},
			{nameless, "GET /version", "scripts unknown-clients"},
			{wget, "PUT /api/v1/namespaces/a/configmaps/c", "scripts unknown-clients"},
			{goClient, "GET /api", "scripts unknown-clients"},
			{python, "POST /api/v1/namespaces/a/pods/p/exec", "scripts unknown-clients"},
			{openAPI, "GET /api/v1/namespaces/a/configmaps/c", "unknown-clients"},
			{fabric8, "GET /api/v1/namespaces/a/configmaps/c", "unknown-clients"},
			{notKubelet, "GET /api/v1/namespaces/a/services/s", "unknown-clients"},
			{sender{userAgent: "curl-foo/8.5.0"}, "GET /version", "unknown-clients"},
			{kubectl, "GET /api/v1/namespaces/a/configmaps/c", ""},
			{operator, "GET /version", ""},
			{kubelet, "GET /api/v1/namespaces/a/services/s", ""},
		},
		"9 people's lists": {
			{kubectl, "GET /api/v1/namespaces/a/configmaps", "people-list"},
			{kubectl, "GET /apis/apps/v1/deployments?limit=500", "people-list"},
			{kubectl, "GET /api/v1/namespaces/a/configmaps?watch=true", "people-list"},
			{helm, "GET /api/v1/namespaces/a/secrets?labelSelector=owner%3Dhelm", "people-list"},
			{kubectl, "GET /api/v1/namespaces/a/configmaps?watch=true&resourceVersion=3", ""},
			{kubectl, "GET /api/v1/namespaces/a/configmaps/c", ""},
			{kubectl, "GET /version", ""},
			{kubectlFoo, "GET /api/v1/namespaces/a/configmaps", ""},
		},
		"10 kubelets get volumes and nodes": {
			{kubelet, "GET /api/v1/persistentvolumes/v", "kubelet-get-volumes-and-nodes"},
			{kubelet, "GET /api/v1/namespaces/a/persistentvolumeclaims/c", "kubelet-get-volumes-and-nodes"},
			{kubelet, "GET /api/v1/nodes/n1", "kubelet-get-volumes-and-nodes"},
			{kubelet, "GET /api/v1/nodes/n1/status", ""},
			{kubelet, "GET /apis/storage.k8s.io/v1/volumeattachments/v", ""},
			{kubelet, "GET /api/v1/persistentvolumes", ""},
			{kubeletFoo, "GET /api/v1/nodes/n1", "unknown-clients"},
		},
		"11 kubelets read configuration": {
			{kubelet, "GET /api/v1/namespaces/a/secrets/s", "kubelet-read-configuration"},
			{kubelet, "GET /api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Dc", "kubelet-read-configuration"},
			{kubelet, "GET /api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Dc&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "kubelet-read-configuration"},
			{kubelet, "GET /api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Dc&watch=true&resourceVersion=8", ""},
			{kubelet, "GET /api/v1/namespaces/a/services/s", ""},
			{kubeletFoo, "GET /api/v1/namespaces/a/secrets/s", "unknown-clients"},
		},
		"12 kubelets patch status": {
			{kubelet, "PATCH /api/v1/namespaces/a/pods/p/status", "kubelet-patch-status"},
			{kubelet, "PATCH /api/v1/nodes/n1/status", "kubelet-patch-status"},
			{kubelet, "PUT /api/v1/nodes/n1/status", ""},
			{kubelet, "PATCH /api/v1/nodes/n1", ""},
			{kubelet, "PATCH /api/v1/namespaces/a/persistentvolumeclaims/c/status", ""},
			{operator, "PATCH /api/v1/namespaces/a/pods/p/status", ""},
		},
		"13 kubelets' events": {
			{kubelet, "PATCH /api/v1/namespaces/a/events/e", "kubelet-events"},
			{kubelet, "PATCH /apis/events.k8s.io/v1/namespaces/a/events/e", "kubelet-events"},
			{kubelet, "POST /api/v1/namespaces/a/events", "create-events kubelet-events"},
			{kubelet, "GET /api/v1/namespaces/a/events/e", ""},
			{operator, "PATCH /api/v1/namespaces/a/events/e", ""},
		},
		"14 kube-proxies' services": {
			{kubeProxy, "GET /api/v1/services", "kube-proxy-services"},
			{kubeProxy, "GET /apis/discovery.k8s.io/v1/endpointslices?labelSelector=x", "kube-proxy-services"},
			{kubeProxy, "GET /apis/discovery.k8s.io/v1/endpointslices?watch=true&resourceVersion=4", "kube-proxy-services"},
			{kubeProxy, "GET /api/v1/services?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "kube-proxy-services"},
			{kubeProxy, "GET /api/v1/namespaces/a/services/s", ""},
			{kubeProxy, "GET /api/v1/endpoints", ""},
			{kubeProxyFoo, "GET /api/v1/services", "unknown-clients"},
		},
		"15 network agents' lists": {
			{flannel, "GET /api/v1/namespaces/a/pods", "network-agents-list"},
			{calico, "GET /api/v1/namespaces/a/pods?limit=500", "network-agents-list"},
			{cilium, "GET /api/v1/namespaces/a/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "network-agents-list"},
			{cilium, "GET /api/v1/nodes", "list-nodes network-agents-list"},
			{cilium, "GET /api/v1/services", ""},
			{cilium, "GET /api/v1/namespaces/a/pods/p", ""},
			{ciliumOp, "GET /api/v1/namespaces/a/pods", ""},
		},
		"16 node-problem-detector's status": {
			{detector, "PATCH /api/v1/nodes/n1/status", "node-problem-detector-status"},
			{detector, "PUT /api/v1/nodes/n1/status", ""},
			{detector, "PATCH /api/v1/nodes/n1", ""},
			{detector, "PATCH /api/v1/namespaces/a/pods/p/status", ""},
		},
		"17 CSI sidecars write volumes": {
			{provisioner, "POST /api/v1/persistentvolumes", "csi-write-volumes"},
			{provisioner, "PATCH /api/v1/namespaces/a/persistentvolumeclaims/c/status", "csi-write-volumes"},
			{provisioner, "PUT /apis/storage.k8s.io/v1/volumeattachments/v", "csi-write-volumes"},
			{provisioner, "PATCH /apis/storage.k8s.io/v1/volumeattachments/v/status", "csi-write-volumes"},
			{provisioner, "DELETE /api/v1/persistentvolumes/v", "csi-write-volumes"},
			{provisioner, "POST /apis/storage.k8s.io/v1/csistoragecapacities", ""},
			{notCSI, "POST /api/v1/persistentvolumes", "unknown-clients"},
		},
		"18 CSI sidecars read volumes": {
			{provisioner, "GET /api/v1/persistentvolumes/v", "csi-read-volumes"},
			{provisioner, "GET /api/v1/persistentvolumeclaims", "csi-read-volumes"},
			{provisioner, "GET /apis/storage.k8s.io/v1/volumeattachments?watch=true&resourceVersion=4", "csi-read-volumes"},
			{provisioner, "GET /apis/storage.k8s.io/v1/storageclasses", ""},
			{notCSI, "GET /api/v1/persistentvolumes/v", "unknown-clients"},
		},
		"19 observability's lists": {
			{prometheus, "GET /api/v1/namespaces/a/pods", "observability-list"},
			{stateMetrics, "GET /api/v1/namespaces/a/pods?watch=true&resourceVersion=0", "observability-list"},
			{stateMetrics, "GET /api/v1/pods", "list-all-pods observability-list"},
			{prometheus, "GET /api/v1/nodes?resourceVersion=0", "list-nodes observability-list"},
			{prometheus, "GET /api/v1/namespaces/a/pods/p", ""},
			{prometheus, "GET /api/v1/services", ""},
			{prometheus, "GET /api/v1/namespaces/a/pods?watch=true&resourceVersion=6", ""},
			{prometheusFoo, "GET /api/v1/namespaces/a/pods", "unknown-clients"},
		},
		"20 workflow operators' lists": {
			{argo, "GET /api/v1/namespaces/a/pods?labelSelector=x", "workflow-operators-list"},
			{spark, "GET /api/v1/namespaces/a/pods?labelSelector=x", "workflow-operators-list"},
			{flink, "GET /api/v1/namespaces/a/pods?labelSelector=x&watch=true&resourceVersion=0", "workflow-operators-list"},
			{tekton, "GET /api/v1/pods?labelSelector=x", "list-selected-pods workflow-operators-list"},
			{argo, "GET /api/v1/namespaces/a/pods", ""},
			{argo, "GET /api/v1/namespaces/a/configmaps?labelSelector=x", ""},
			{operator, "GET /api/v1/namespaces/a/pods?labelSelector=x", ""},
		},
		"21 create events": {
			{operator, "POST /api/v1/namespaces/a/events", "create-events"},
			{scheduler, "POST /apis/events.k8s.io/v1/namespaces/a/events", "create-events"},
			{operator, "PATCH /api/v1/namespaces/a/events/e", ""},
			{operator, "GET /api/v1/events", ""},
		},
	} {
		t.Run(row, func(t *testing.T) {
			exactly := false
			for _, c := range cases {
				got := strings.Join(p.caught(t, c.from, c.line), " ")
				if got != c.names {
					t.Errorf("%s by %q as %q: caught by %q, want %q", c.line, c.from.userAgent, c.from.user, got, c.names)
				}
				exactly = exactly || (c.names != "" && !strings.Contains(c.names, " "))
			}
			if !exactly {
				t.Error("no request is for this row alone")
			}
		})
	}
}

// TestNoDefaultLimitCatchesLifelines sends what must get through from clients
// that a limit catches whatever else they do.
func TestNoDefaultLimitCatchesLifelines(t *testing.T) {
	p := readDefaults(t)
	for _, line := range []string{
		"GET /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
		"PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
		"POST /apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
		"GET /apis/coordination.k8s.io/v1/leases",
		"POST /apis/authentication.k8s.io/v1/tokenreviews",
		"POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
		"POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
		"POST /apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews",
		"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
		"POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
		"GET /healthz", "GET /livez?verbose", "GET /readyz/etcd",
	} {
		for _, from := range []sender{curl, nameless, notKubelet, notManager, {userAgent: "who/1"}} {
			if got := p.caught(t, from, line); len(got) > 0 {
				t.Errorf("%s by %q is caught by %q", line, from.userAgent, got)
			}
		}
	}
	// What only looks like one is caught.
	for _, line := range []string{"GET /apis/example.com/v1/leases", "GET /healthzz", "POST /apis/example.com/v1/tokenreviews"} {
		if got := p.caught(t, curl, line); len(got) == 0 {
			t.Errorf("%s is not caught", line)
		}
	}
}

// TestDefaultLimitsSayWhatTheTableSays is the table of limits.md.
func TestDefaultLimitsSayWhatTheTableSays(t *testing.T) {
	type row struct {
		qps, burst, perNode string
		at10000             float64 // the rate in a cluster of that many nodes
		per                 []v1alpha1.BucketKey
		enforced            bool
	}
	userAgent := []v1alpha1.BucketKey{v1alpha1.PerUserAgent}
	script := []v1alpha1.BucketKey{v1alpha1.PerUserAgent, v1alpha1.PerSourceIP}
	person := []v1alpha1.BucketKey{v1alpha1.PerUser}
	want := map[string]row{
		"create-pods":                   {qps: "200", burst: "400", at10000: 200},
		"delete-pods":                   {qps: "200", burst: "400", at10000: 200},
		"delete-collections":            {qps: "1", burst: "5", at10000: 1, per: person, enforced: true},
		"list-all-pods":                 {qps: "2", burst: "5", at10000: 2, per: userAgent},
		"list-all-pods-from-cache":      {qps: "10", burst: "20", at10000: 10, per: userAgent},
		"list-nodes":                    {qps: "10", burst: "20", at10000: 10, per: userAgent},
		"list-selected-pods":            {qps: "20", burst: "40", at10000: 20, per: userAgent},
		"scripts":                       {qps: "20", burst: "40", at10000: 20, per: script, enforced: true},
		"unknown-clients":               {qps: "20", burst: "40", at10000: 20, per: []v1alpha1.BucketKey{v1alpha1.PerUser, v1alpha1.PerSourceIP}, enforced: true},
		"people-list":                   {qps: "10", burst: "20", at10000: 10, per: person},
		"kubelet-get-volumes-and-nodes": {qps: "50", burst: "100", perNode: "100m", at10000: 1000},
		"kubelet-read-configuration":    {qps: "50", burst: "100", perNode: "100m", at10000: 1000},
		"kubelet-patch-status":          {qps: "100", burst: "200", perNode: "200m", at10000: 2000},
		"kubelet-events":                {qps: "50", burst: "100", perNode: "20m", at10000: 200},
		"kube-proxy-services":           {qps: "50", burst: "100", perNode: "20m", at10000: 200},
		"network-agents-list":           {qps: "50", burst: "100", perNode: "20m", at10000: 200, per: userAgent},
		"node-problem-detector-status":  {qps: "20", burst: "40", perNode: "30m", at10000: 300},
		"csi-write-volumes":             {qps: "50", burst: "100", at10000: 50, per: userAgent},
		"csi-read-volumes":              {qps: "100", burst: "200", at10000: 100, per: userAgent},
		"observability-list":            {qps: "2", burst: "5", at10000: 2, per: userAgent},
		"workflow-operators-list":       {qps: "20", burst: "40", at10000: 20, per: userAgent},
		"create-events":                 {qps: "250", burst: "500", at10000: 250},
	}
	for _, limit := range readDefaults(t).limits {
		w, ok := want[limit.Name]
		if !ok {
			t.Errorf("%s is not in the table", limit.Name)
			continue
		}
		delete(want, limit.Name)
		s := &limit.Spec
		perNode := ""
		if s.QPSPerNode != nil {
			perNode = s.QPSPerNode.String()
		}
		if s.QPS.String() != w.qps || perNode != w.perNode || s.Burst == nil || !slices.Equal(s.Per, w.per) {
			t.Errorf("%s: qps %s, per node %q, per %q; want %+v", limit.Name, s.QPS.String(), perNode, s.Per, w)
			continue
		}
		// The floor holds in a small cluster, and the burst grows with the rate.
		for _, nodes := range []int{0, 1, 10_000} {
			rate, burst := v1alpha1.EffectiveRate(s, nodes)
			wantRate := s.QPS.AsApproximateFloat64()
			if nodes == 10_000 {
				wantRate = w.at10000
			}
			if rate != wantRate || burst != max(5, 2*wantRate) {
				t.Errorf("%s with %d nodes: %v per second, burst %v; want %v and %v", limit.Name, nodes, rate, burst, wantRate, max(5, 2*wantRate))
			}
		}
		mode := v1alpha1.ModeDryRun
		if w.enforced {
			mode = v1alpha1.ModeEnforce
		}
		if s.Mode != mode || cmp.Or(s.Scope, v1alpha1.ScopeReplica) != v1alpha1.ScopeReplica || s.MaxInFlight != nil {
			t.Errorf("%s: mode %s, scope %s, maxInFlight %v; want %s", limit.Name, s.Mode, s.Scope, s.MaxInFlight, mode)
		}
	}
	for name := range want {
		t.Errorf("there is no default limit %s", name)
	}
}

// TestDefaultClassesTellClientsApart names the class of each client, and the one
// that it claims in vain.
func TestDefaultClassesTellClientsApart(t *testing.T) {
	p := readDefaults(t)
	const anything, lease = "GET /api/v1/namespaces/a/services/s", "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
	for _, c := range []struct {
		from     sender
		line     string
		class    string
		claimed  string
		priority v1alpha1.Priority
	}{
		{kubelet, lease, "node-lifelines", "", "P0"},
		{kubelet, "PATCH /api/v1/nodes/n1/status", "node-lifelines", "", "P0"},
		{kubelet, "PATCH /api/v1/namespaces/a/pods/p/status", "node-lifelines", "", "P0"},
		{kubelet, anything, "kubelet", "", "P1"},
		{kubelet, "PATCH /api/v1/nodes/n1", "kubelet", "", "P1"},
		{sender{kubelet.userAgent, "system:bootstrap:abc", []string{"system:bootstrappers"}}, "POST /apis/certificates.k8s.io/v1/certificatesigningrequests", "kubelet", "", "P1"},
		{notKubelet, anything, "unknown", "kubelet", "P4"},
		{notKubelet, lease, "unknown", "node-lifelines", "P4"},
		{sender{userAgent: kubelet.userAgent}, anything, "unknown", "kubelet", "P4"},
		// A user of that name is no node: nodes are a group.
		{sender{kubelet.userAgent, "system:nodes", nil}, anything, "unknown", "kubelet", "P4"},
		{kubeletFoo, anything, "unknown", "", "P4"},
		{manager, anything, "control-plane", "", "P0"},
		{replicaSets, anything, "control-plane", "", "P0"},
		{scheduler, anything, "control-plane", "", "P0"},
		{sender{"cloud-controller-manager/v1.30.0", "system:cloud-controller-manager", nil}, anything, "control-plane", "", "P0"},
		{notManager, anything, "unknown", "control-plane", "P4"},
		{notScheduler, anything, "unknown", "control-plane", "P4"},
		{sender{manager.userAgent, "system:serviceaccount:kube-systems:x", nil}, anything, "unknown", "control-plane", "P4"},
		{sender{userAgent: scheduler.userAgent}, anything, "unknown", "control-plane", "P4"},
		{kubeProxy, anything, "kube-proxy", "", "P1"},
		{sender{kubeProxy.userAgent, "system:kube-proxy", nil}, anything, "kube-proxy", "", "P1"},
		{sender{kubeProxy.userAgent, "n1", []string{"system:node-proxier"}}, anything, "kube-proxy", "", "P1"},
		{sender{kubeProxy.userAgent, "mallory", nil}, anything, "unknown", "kube-proxy", "P4"},
		{flannel, anything, "network", "", "P1"},
		{calico, anything, "network", "", "P1"},
		{cilium, anything, "network", "", "P1"},
		{ciliumOp, anything, "network", "", "P1"},
		{sender{"CoreDNS/v1.11", "system:serviceaccount:kube-system:coredns", nil}, anything, "network", "", "P1"},
		{sender{flannel.userAgent, "n1", []string{"system:nodes"}}, anything, "network", "", "P1"},
		{sender{flannel.userAgent, "mallory", nil}, anything, "unknown", "network", "P4"},
		{prometheus, anything, "observability", "", "P3"},
		{stateMetrics, anything, "observability", "", "P3"},
		{detector, anything, "observability", "", "P3"},
		{sender{kubectl.userAgent, "kubernetes-admin", masters}, anything, "admins", "", "P1"},
		{sender{kubectlFoo.userAgent, "kubernetes-admin", masters}, anything, "admins", "", "P1"},
		{sender{curl.userAgent, "kubernetes-admin", masters}, anything, "admins", "", "P1"},
		{sender{helm.userAgent, "kubernetes-admin", masters}, anything, "admins", "", "P1"},
		// A program that has borrowed the administrator's kubeconfig is what it was.
		{sender{operator.userAgent, "kubernetes-admin", masters}, anything, "platform", "", "P2"},
		{sender{prometheus.userAgent, "kubernetes-admin", masters}, anything, "observability", "", "P3"},
		{sender{kubelet.userAgent, "kubernetes-admin", masters}, anything, "unknown", "kubelet", "P4"},
		// A user of that name is none: masters are a group.
		{sender{kubectl.userAgent, "system:masters", nil}, anything, "tools", "", "P3"},
		{sender{userAgent: kubectl.userAgent}, anything, "tools", "", "P3"},
		{kubectl, anything, "tools", "", "P3"},
		{kubectlFoo, anything, "tools", "", "P3"},
		{helm, anything, "tools", "", "P3"},
		{provisioner, anything, "platform", "", "P2"},
		{operator, anything, "platform", "", "P2"},
		{argo, anything, "platform", "", "P2"},
		{spark, anything, "platform", "", "P2"},
		{flink, anything, "platform", "", "P2"},
		{tekton, anything, "platform", "", "P2"},
		{curl, anything, "unknown", "", "P4"},
		{nameless, anything, "unknown", "", "P4"},
		{goClient, anything, "unknown", "", "P4"},
		{openAPI, anything, "unknown", "", "P4"},
		{fabric8, anything, "unknown", "", "P4"},
	} {
		a, claimed := p.parse(t, c.from, c.line)
		got := ""
		if claimed != nil {
			got = claimed.Name
		}
		if a.Class != c.class || a.Priority != c.priority || got != c.claimed {
			t.Errorf("%s by %q as %q: class %s, %s, claimed %q; want %s, %s, %q", c.line, c.from.userAgent, c.from.user, a.Class, a.Priority, got, c.class, c.priority, c.claimed)
		}
	}
}

// TestDefaultRoutesKeepTheControlPlaneApart names the Route of each client, and
// its groups.
func TestDefaultRoutesKeepTheControlPlaneApart(t *testing.T) {
	p := readDefaults(t)
	const anything, lease = "GET /api/v1/namespaces/a/services/s", "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
	for _, c := range []struct {
		from  sender
		line  string
		route string
	}{
		{kubelet, lease, "control-plane"},
		{kubelet, anything, "control-plane"},
		{manager, anything, "control-plane"},
		{scheduler, "GET /api/v1/pods?watch=true&resourceVersion=5", "control-plane"},
		{kubeProxy, anything, "control-plane"},
		{cilium, anything, "control-plane"},
		{operator, anything, "others"},
		{provisioner, "POST /api/v1/persistentvolumes", "others"},
		{prometheus, "GET /api/v1/pods", "others"},
		{prometheus, "GET /metrics", "others"},
		{sender{kubectl.userAgent, "kubernetes-admin", masters}, "GET /version", "control-plane"},
		{kubectl, "GET /version", "others"},
		{curl, anything, "others"},
		{nameless, lease, "others"},
		// Who only calls himself that has no way to main.
		{notKubelet, lease, "others"},
		{notManager, anything, "others"},
	} {
		a, _ := p.parse(t, c.from, c.line)
		var matching []string
		for _, route := range p.routes {
			if request.NewMatcher(&route.Spec.Match).Matches(a) {
				matching = append(matching, route.Name)
			}
		}
		if got := strings.Join(matching, " "); got != c.route {
			t.Errorf("%s by %q as %q: routes %q, want %s", c.line, c.from.userAgent, c.from.user, got, c.route)
		}
	}

	want := map[string]string{"control-plane": "main bypass", "others": "bypass"}
	for _, route := range p.routes {
		s := &route.Spec
		if got := strings.Join(s.Groups, " "); got != want[route.Name] || len(s.Spill) > 0 || *s.Share != 100 || s.Header != nil {
			t.Errorf("%s: groups %q and more: %+v; want %q alone", route.Name, got, s, want[route.Name])
		}
		// One that an operator makes without saying more comes first.
		if s.Precedence >= 0 {
			t.Errorf("%s has the precedence %d", route.Name, s.Precedence)
		}
		delete(want, route.Name)
	}
	for name := range want {
		t.Errorf("there is no default route %s", name)
	}
}

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// population says which pods there are: the i-th is the same whenever it is made.
type population struct {
	pods, nodes, namespaces int
	// nodesExist tells that nodes need not be written.
	nodesExist bool
	// perNamespace pods are in each namespace, the first ones in the first; 0 for one
	// after another in all of them.
	perNamespace int
	// selected pods have the label that selects a few of them: every such one, from
	// the first on.
	selected, every int
	// small pods are of about 1 KB, all others of 8.
	small bool
}

const (
	// selectedLabel is on few pods, everywhere.
	selectedLabel = "bench.example.org/canary"
	// born is when everything was made.
	born = 1_790_000_000
)

// namespace of the i-th pod.
func (p population) namespace(i int) string {
	if p.perNamespace > 0 {
		return namespaceName(i / p.perNamespace)
	}
	return namespaceName(i % p.namespaces)
}

func namespaceName(i int) string { return fmt.Sprintf("team-%04d", i) }

// node of the i-th pod. Every node has as many, and not all of one namespace.
func (p population) node(i int) string { return cluster.NodeName((i + i/p.nodes*37) % p.nodes) }

// name of the i-th pod.
func (p population) name(i int) string {
	return fmt.Sprintf("web-frontend-%010x-%05d", 0x9b3c50d17+i/p.namespaces/4, i)
}

// path of the i-th pod in the API.
func (p population) path(i int) string {
	return "/api/v1/namespaces/" + p.namespace(i) + "/pods/" + p.name(i)
}

// pod makes the i-th pod in its version-th state. All versions have the same size.
func (p population) pod(i, version int) *corev1.Pod {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	meta := metav1.ObjectMeta{
		Name: p.name(i), Namespace: p.namespace(i), UID: newUID(random), CreationTimestamp: metav1.Unix(born, 0),
		Labels:      map[string]string{"app.kubernetes.io/name": "web-frontend", "app.kubernetes.io/instance": fmt.Sprintf("release-%d", i%97)},
		Annotations: map[string]string{"bench.example.org/version": fmt.Sprintf("%08d", version)},
	}
	if i%p.every == 0 && i/p.every < p.selected {
		meta.Labels[selectedLabel] = "yes"
	}
	if p.small {
		return smallPod(meta, p.node(i))
	}
	return webPod(meta, p.node(i), i, random)
}

func newUID(random *rand.Rand) types.UID {
	return types.UID(fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", random.Uint32(), random.UintN(1<<16), random.UintN(1<<12), random.UintN(1<<12), random.Uint64()>>16))
}

func hexOf(random *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[random.IntN(16)]
	}
	return string(b)
}

// smallPod is about the least that runs.
func smallPod(meta metav1.ObjectMeta, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: meta,
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst, SchedulerName: corev1.DefaultSchedulerName,
			Containers: []corev1.Container{{Name: "main", Image: "registry.example.org/web:1", ImagePullPolicy: corev1.PullIfNotPresent,
				TerminationMessagePath: corev1.TerminationMessagePathDefault, TerminationMessagePolicy: corev1.TerminationMessageReadFile}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSBestEffort},
	}
}

// webPod is a pod of a Deployment as it runs in a cluster: a container with a proxy
// beside it, written by a controller and by a kubelet.
func webPod(meta metav1.ObjectMeta, node string, i int, random *rand.Rand) *corev1.Pod {
	yes, now := true, metav1.NewTime(time.Unix(born+60, 0))
	set := meta.Name[:strings.LastIndexByte(meta.Name, '-')]
	meta.GenerateName = set + "-"
	meta.Labels["app.kubernetes.io/version"] = "1.27.3"
	meta.Labels["app.kubernetes.io/managed-by"] = "Helm"
	meta.Labels["pod-template-hash"] = set[strings.LastIndexByte(set, '-')+1:]
	meta.Annotations["checksum/config"] = hexOf(random, 64)
	meta.Annotations["prometheus.io/scrape"] = "true"
	meta.Annotations["example.org/sidecar-status"] = `{"initContainers":["init"],"containers":["proxy"],"volumes":["cache","workload-socket","credential-socket","workload-certs"],"imagePullSecrets":null,"revision":"default","template":"sidecar","resources":{"proxy":{"requests":{"cpu":"250m","memory":"256Mi"},"limits":{"memory":"512Mi"}}}}`
	owner := newUID(rand.New(rand.NewPCG(uint64(i/400), 2)))
	meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set, UID: owner, Controller: &yes, BlockOwnerDeletion: &yes}}
	meta.ManagedFields = []metav1.ManagedFieldsEntry{
		{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &now, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(controllerFields(string(owner)))},
		{Manager: "kubelet", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &now, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(kubeletFields), Subresource: "status"},
	}
	ip := fmt.Sprintf("10.%d.%d.%d", 64+i>>16, i>>8&255, i&255)
	p := &corev1.Pod{
		ObjectMeta: meta,
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyAlways, SchedulerName: corev1.DefaultSchedulerName, DNSPolicy: corev1.DNSClusterFirst,
			ServiceAccountName: "web-frontend", DeprecatedServiceAccount: "web-frontend", EnableServiceLinks: &yes,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes},
			Volumes: []corev1.Volume{
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web-frontend"}}}},
				{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "kube-api-access-x2x4z", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}},
				}}}},
			},
			Tolerations: []corev1.Toleration{
				{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
				{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
			},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "10.0.0.1", PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, StartTime: &now, QOSClass: corev1.PodQOSBurstable},
	}
	for _, name := range []string{"web", "proxy"} {
		c, status := container(name, random, now)
		p.Spec.Containers = append(p.Spec.Containers, c)
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, status)
	}
	for _, condition := range []corev1.PodConditionType{"PodReadyToStartContainers", corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	return p
}

// settings is how many environment variables a container has.
const settings = 5

func container(name string, random *rand.Rand, now metav1.Time) (corev1.Container, corev1.ContainerStatus) {
	image := "registry.example.org/platform/" + name + "@sha256:" + hexOf(random, 64)
	c := corev1.Container{
		Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		Args:                   []string{"--config=/etc/web-frontend/config.yaml", "--log-level=info", "--listen=:8080"},
		TerminationMessagePath: corev1.TerminationMessagePathDefault, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "config", ReadOnly: true, MountPath: "/etc/web-frontend"}, {Name: "cache", MountPath: "/var/cache/web-frontend"},
			{Name: "kube-api-access-x2x4z", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"},
		},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:   corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}},
			TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
		},
	}
	for v := range settings {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%02d_OF_THE_CONTAINER", v), Value: fmt.Sprintf("value-%d.team.svc.cluster.local", random.IntN(1000))})
	}
	yes := true
	return c, corev1.ContainerStatus{
		Name: name, Ready: true, Started: &yes, Image: image, ImageID: image, ContainerID: "containerd://" + hexOf(random, 64),
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}
}

// controllerFields are what a controller owns of a pod that it has made.
func controllerFields(owner string) string {
	var env strings.Builder
	for v := range settings {
		fmt.Fprintf(&env, `,"k:{\"name\":\"SETTING_%02d_OF_THE_CONTAINER\"}":{".":{},"f:name":{},"f:value":{}}`, v)
	}
	container := func(name string) string {
		return `"k:{\"name\":\"` + name + `\"}":{".":{},"f:args":{},"f:env":{".":{}` + env.String() + `},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}`
	}
	return `{"f:metadata":{"f:annotations":{".":{},"f:checksum/config":{}},"f:generateName":{},"f:labels":{".":{},"f:app.kubernetes.io/name":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"` + owner +
		`\"}":{}}},"f:spec":{"f:containers":{` + container("web") + `,` + container("proxy") + `},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}`
}

// kubeletFields are what a kubelet owns of the status.
const kubeletFields = `{"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\"10.0.0.1\"}":{".":{},"f:ip":{}}},"f:startTime":{}}}`

// newNode is the i-th node as its kubelet reports it.
func newNode(i int) *corev1.Node {
	random := rand.New(rand.NewPCG(uint64(i), 3))
	now := metav1.Unix(born, 0)
	quantities := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("512Gi"),
		corev1.ResourcePods: resource.MustParse("250"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	name := cluster.NodeName(i)
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: newUID(random), CreationTimestamp: now,
			Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
				corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3), corev1.LabelInstanceTypeStable: "m.16xlarge",
			},
			Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
		},
		Status: corev1.NodeStatus{
			Capacity: quantities, Allocatable: quantities,
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.%d.%d", i>>8&255, i&255)}, {Type: corev1.NodeHostName, Address: name}},
			NodeInfo: corev1.NodeSystemInfo{
				MachineID: hexOf(random, 32), SystemUUID: string(newUID(random)), BootID: string(newUID(random)), KernelVersion: "6.12.30", OSImage: "Debian GNU/Linux 13 (trixie)",
				ContainerRuntimeVersion: "containerd://2.1.4", KubeletVersion: cluster.KubernetesVersion, OperatingSystem: "linux", Architecture: "amd64",
			},
		},
	}
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		status := corev1.ConditionFalse
		if c == corev1.NodeReady {
			status = corev1.ConditionTrue
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c, Status: status, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "KubeletHas" + string(c), Message: "kubelet reports " + string(c)})
	}
	for v := range 12 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{
			Names:     []string{fmt.Sprintf("registry.example.org/platform/image-%02d@sha256:%s", v, hexOf(random, 64)), fmt.Sprintf("registry.example.org/platform/image-%02d:1.27.3", v)},
			SizeBytes: random.Int64N(1 << 30),
		})
	}
	return n
}

package wire

import (
	"bytes"
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/meta"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metascheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// sample is a kind with what its real serializers need.
type sample struct {
	Kind
	object func() runtime.Object
	list   func() runtime.Object
}

func (s *sample) gv() schema.GroupVersion {
	return schema.GroupVersion{Group: s.Group, Version: s.Version}
}

func core(kind string, object, list func() runtime.Object, fields ...Field) *sample {
	return &sample{Kind{Version: "v1", Kind: kind, ListKind: kind + "List", Fields: fields}, object, list}
}

var pods = core("Pod", func() runtime.Object { return &corev1.Pod{} }, func() runtime.Object { return &corev1.PodList{} },
	Field{"spec.nodeName", String, []string{"spec", "nodeName"}, []int32{2, 10}},
	Field{"spec.hostNetwork", Bool, []string{"spec", "hostNetwork"}, []int32{2, 11}},
	Field{"status.phase", String, []string{"status", "phase"}, []int32{3, 1}},
	Field{"status.podIP", String, []string{"status", "podIPs", "ip"}, []int32{3, 12, 1}},
)

var builtins = []*sample{
	pods,
	core("Node", func() runtime.Object { return &corev1.Node{} }, func() runtime.Object { return &corev1.NodeList{} },
		Field{"spec.unschedulable", Bool, []string{"spec", "unschedulable"}, []int32{2, 4}}),
	core("Service", func() runtime.Object { return &corev1.Service{} }, func() runtime.Object { return &corev1.ServiceList{} },
		Field{"spec.clusterIP", String, []string{"spec", "clusterIP"}, []int32{2, 3}}),
	core("ConfigMap", func() runtime.Object { return &corev1.ConfigMap{} }, func() runtime.Object { return &corev1.ConfigMapList{} }),
	{Kind{Group: "apps", Version: "v1", Kind: "ReplicaSet", ListKind: "ReplicaSetList", Fields: []Field{
		{"status.replicas", Integer, []string{"status", "replicas"}, []int32{3, 1}},
	}}, func() runtime.Object { return &appsv1.ReplicaSet{} }, func() runtime.Object { return &appsv1.ReplicaSetList{} }},
}

var widgets = &sample{Kind{Group: "example.org", Version: "v1", Kind: "Widget", ListKind: "WidgetList", Custom: true, Fields: []Field{
	{"spec.color", String, []string{"spec", "color"}, nil},
	{"spec.on", Bool, []string{"spec", "on"}, nil},
	{"spec.count", Integer, []string{"spec", "count"}, nil},
}}, func() runtime.Object {
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.org/v1", "kind": "Widget"}}
}, func() runtime.Object {
	return &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "example.org/v1", "kind": "WidgetList"}}
}}

// eachKind runs a test for each kind in each encoding it has.
func eachKind(t *testing.T, test func(t *testing.T, s *sample, e Encoding)) {
	for _, s := range append(builtins, widgets) {
		for _, e := range []Encoding{JSON, Protobuf} {
			if e == Protobuf && s.Custom {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", s.Kind.Kind, e), func(t *testing.T) { test(t, s, e) })
		}
	}
}

// codecs are as an apiserver makes them.
var codecs = serializer.NewCodecFactory(scheme.Scheme, serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())

// encode is what an apiserver sends for an object or a list.
func encode(t testing.TB, s *sample, e Encoding, o runtime.Object) []byte {
	t.Helper()
	if s.Custom {
		return encodeWith(t, kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, kjson.SerializerOptions{StreamingCollectionsEncoding: true}), o)
	}
	return encodeWith(t, codecs.EncoderForVersion(info(codecs, e).Serializer, s.gv()), o)
}

// encodePartial is what an apiserver sends for PartialObjectMetadata.
func encodePartial(t testing.TB, e Encoding, o runtime.Object) []byte {
	t.Helper()
	return encodeWith(t, metascheme.Codecs.EncoderForVersion(info(metascheme.Codecs, e).Serializer, metav1.SchemeGroupVersion), o)
}

func info(codecs serializer.CodecFactory, e Encoding) runtime.SerializerInfo {
	i, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), e.MediaType())
	if !ok {
		panic("no serializer for " + e.MediaType())
	}
	return i
}

func encodeWith(t testing.TB, encoder runtime.Encoder, o runtime.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encoder.Encode(o, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// frame is what an apiserver sends for an event with the object encoded.
func frame(t testing.TB, s *sample, e Encoding, kind watch.EventType, object []byte) []byte {
	t.Helper()
	stream := info(codecs, e).StreamSerializer
	gv := s.gv()
	if s.Custom {
		gv = schema.GroupVersion{Version: "v1"}
	}
	event := encodeWith(t, codecs.EncoderForVersion(stream.Serializer, gv), &metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: object}})
	var b bytes.Buffer
	if _, err := stream.Framer.NewFrameWriter(&b).Write(event); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// partial is an object as PartialObjectMetadata.
func partial(t testing.TB, o runtime.Object) *metav1.PartialObjectMetadata {
	t.Helper()
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	p := meta.AsPartialObjectMetadata(m)
	p.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return p
}

// generator makes objects of random shape. Their strings are of all planes of Unicode.
type generator struct {
	random *rand.Rand
	fill   func(any)
}

func newGenerator(seed int64) *generator { return newGeneratorOfDepth(seed, 12) }

// newGeneratorOfDepth makes a generator of objects nested no deeper.
func newGeneratorOfDepth(seed int64, depth int) *generator {
	random := rand.New(rand.NewSource(seed))
	filler := fuzzer.FuzzerFor(metafuzzer.Funcs, random, codecs).NilChance(0.3).NumElements(0, 3).MaxDepth(depth)
	return &generator{random, func(o any) { filler.Fill(o) }}
}

func (g *generator) object(t testing.TB, s *sample) runtime.Object {
	t.Helper()
	o := s.object()
	if s.Custom {
		g.custom(o.(*unstructured.Unstructured))
	} else {
		g.fill(o)
	}
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	if m.GetName() == "" {
		m.SetName("unnamed")
	}
	m.SetResourceVersion(strconv.FormatInt(1+g.random.Int63n(1<<uint(1+g.random.Intn(62))), 10))
	if pod, ok := o.(*corev1.Pod); ok && g.random.Intn(2) == 0 {
		pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"k:{\"a\":\"b\"}":{},"f:<&>":{}}}}`)}}
	}
	return o
}

func (g *generator) custom(u *unstructured.Unstructured) {
	var m metav1.ObjectMeta
	g.fill(&m)
	m.ManagedFields = nil
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&m)
	if err != nil {
		panic(err)
	}
	u.Object["metadata"] = content
	spec := map[string]any{"other": g.json(3)}
	if g.random.Intn(3) > 0 {
		spec["color"] = "blue<" + strconv.Itoa(g.random.Intn(5))
		spec["on"] = g.random.Intn(2) == 0
		spec["count"] = g.random.Int63() - 1<<62
	}
	u.Object["spec"] = spec
	if g.random.Intn(3) == 0 {
		u.Object["a<b"] = g.json(5)
	}
}

// json makes a value of JSON, as unstructured objects have them.
func (g *generator) json(depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch g.random.Intn(kinds) {
	case 0:
		return nil
	case 1:
		return g.random.Intn(2) == 0
	case 2:
		return g.random.Int63() - 1<<62
	case 3:
		return g.random.NormFloat64() * float64(g.random.Int63())
	case 4, 5:
		var s string
		g.fill(&s)
		return s + "\"\\\x01\xff\u2028"
	case 6:
		list := make([]any, g.random.Intn(4))
		for i := range list {
			list[i] = g.json(depth - 1)
		}
		return list
	default:
		m := map[string]any{}
		for i := range g.random.Intn(4) {
			m[strings.Repeat("k", i)+"\t"] = g.json(depth - 1)
		}
		return m
	}
}

// setList makes a list of the objects.
func setList(t testing.TB, s *sample, objects []runtime.Object, m *ListMeta) runtime.Object {
	t.Helper()
	list := s.list()
	if err := meta.SetList(list, objects); err != nil {
		t.Fatal(err)
	}
	l, err := meta.ListAccessor(list)
	if err != nil {
		t.Fatal(err)
	}
	// As storage does, whatever they are.
	l.SetResourceVersion(m.ResourceVersion)
	l.SetContinue(m.Continue)
	l.SetRemainingItemCount(m.Remaining)
	return list
}

// partialList makes a list of the objects as PartialObjectMetadata, like an apiserver.
func partialList(t testing.TB, objects []runtime.Object, m *ListMeta) runtime.Object {
	list := &metav1.PartialObjectMetadataList{}
	for _, o := range objects {
		list.Items = append(list.Items, *partial(t, o))
	}
	list.ResourceVersion, list.Continue, list.RemainingItemCount = m.ResourceVersion, m.Continue, m.Remaining
	return list
}

// check compares what was made with what an apiserver sends.
func check(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	from := max(0, i-60)
	t.Fatalf("%s differs at byte %d:\n got ...%q\nwant ...%q", what, i, got[from:min(len(got), i+60)], want[from:min(len(want), i+60)])
}

// typical is a pod of about 8 KB as JSON, with six labels.
func typical(i int) *corev1.Pod {
	random := rand.New(rand.NewSource(int64(i)))
	hex := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789abcdef"[random.Intn(16)]
		}
		return string(b)
	}
	set := hex(10)
	name := fmt.Sprintf("web-frontend-%s-%s", set, hex(5))
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, GenerateName: "web-frontend-" + set + "-", Namespace: fmt.Sprintf("team-%d", i%40), UID: types.UID(hex(36)), ResourceVersion: strconv.Itoa(100000 + i),
			Labels: map[string]string{
				"app.kubernetes.io/name": "web-frontend", "app.kubernetes.io/instance": fmt.Sprintf("release-%d", i%40), "app.kubernetes.io/version": "1.27.3",
				"app.kubernetes.io/managed-by": "Helm", "tier": "frontend", "pod-template-hash": fmt.Sprintf("hash-%d", i%50),
			},
			Annotations:     map[string]string{"checksum/config": hex(64), "prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-frontend-" + set, UID: types.UID(fmt.Sprintf("owner-%d", i%50)), Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("node-%d.eu-central-1.compute.internal", i%100), RestartPolicy: "Always", SchedulerName: "default-scheduler", ServiceAccountName: "web-frontend", DNSPolicy: "ClusterFirst",
		},
		Status: corev1.PodStatus{Phase: "Running", HostIP: "10.0.0.1", PodIP: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), QOSClass: "Burstable"},
	}
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	image := "registry.example.org/platform/web-frontend@sha256:" + hex(64)
	for c := range 3 {
		container := corev1.Container{Name: fmt.Sprintf("container-%d", c), Image: image, ImagePullPolicy: "IfNotPresent", TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: "File"}
		for v := range 8 {
			container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d_FOR_THE_CONTAINER", v), Value: fmt.Sprintf("value-%d.team.svc.cluster.local", v)})
		}
		container.VolumeMounts = []corev1.VolumeMount{{Name: "kube-api-access-x2x4z", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}
		container.Args = []string{"--config=/etc/web-frontend/config.yaml", "--log-level=info", "--listen=:8080"}
		p.Spec.Containers = append(p.Spec.Containers, container)
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: container.Name, Ready: true, Image: container.Image, ImageID: container.Image, ContainerID: "containerd://" + hex(64)})
	}
	for _, c := range []corev1.PodConditionType{"Initialized", "Ready", "ContainersReady", "PodScheduled"} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: c, Status: "True"})
	}
	settings := ""
	for v := range 8 {
		settings += fmt.Sprintf(`,"k:{\"name\":\"SETTING_%d_FOR_THE_CONTAINER\"}":{".":{},"f:name":{},"f:value":{}}`, v)
	}
	for _, manager := range []string{"kube-controller-manager", "kubelet"} {
		fields := `{"f:metadata":{"f:annotations":{".":{},"f:checksum/config":{}},"f:labels":{".":{},"f:app.kubernetes.io/name":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"` + hex(36) + `\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"container-0\"}":{".":{},"f:env":{".":{}` + settings + `},"f:image":{},"f:imagePullPolicy":{}}},"f:dnsPolicy":{},"f:restartPolicy":{}}}`
		p.ManagedFields = append(p.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)})
	}
	return p
}

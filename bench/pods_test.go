package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestPodsHaveTheSizeTheyAreSaidToHave(t *testing.T) {
	for _, test := range []struct {
		small              bool
		json, protobuf, to int
	}{
		{false, 7800, 5800, 8500},
		{true, 700, 300, 1300},
	} {
		p := population{pods: 100, nodes: 10, namespaces: 7, selected: 5, every: 20, small: test.small}
		for i, least := range map[string]int{jsonType: test.json, protobufType: test.protobuf} {
			info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), i)
			b, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), p.pod(42, 0))
			if err != nil {
				t.Fatal(err)
			}
			if len(b) < least || len(b) > test.to {
				t.Errorf("small %v, %s: %d bytes, want %d to %d", test.small, i, len(b), least, test.to)
			}
		}
	}
}

func TestPopulationIsSpread(t *testing.T) {
	p := population{pods: 500, nodes: 50, namespaces: 10, selected: 5, every: 100}
	names, perNode, perNamespace, selected := map[string]bool{}, map[string]int{}, map[string]int{}, 0
	for i := range p.pods {
		pod := p.pod(i, 0)
		names[pod.Namespace+"/"+pod.Name] = true
		perNode[pod.Spec.NodeName]++
		perNamespace[pod.Namespace]++
		if pod.Labels[selectedLabel] != "" {
			selected++
		}
		if i < p.nodes && pod.Spec.NodeName != p.node(i) {
			t.Errorf("pod %d is on %s, want %s", i, pod.Spec.NodeName, p.node(i))
		}
	}
	if len(names) != p.pods || len(perNode) != p.nodes || len(perNamespace) != p.namespaces || selected != p.selected {
		t.Errorf("%d names, %d nodes, %d namespaces, %d selected", len(names), len(perNode), len(perNamespace), selected)
	}
	for node, n := range perNode {
		if n != p.pods/p.nodes {
			t.Errorf("%d pods on %s", n, node)
		}
	}
}

func TestStatesOfAPodDifferInNothingButTheirVersion(t *testing.T) {
	p := population{pods: 10, nodes: 5, namespaces: 2, every: 10}
	encoder, err := storageEncoder()
	if err != nil {
		t.Fatal(err)
	}
	first, second := p.pod(3, 1), p.pod(3, 2)
	if equality.Semantic.DeepEqual(first, second) {
		t.Error("two states are the same")
	}
	sizes := map[int]bool{}
	for _, pod := range []*corev1.Pod{first, second, p.pod(3, 99999)} {
		b, err := runtime.Encode(encoder, pod)
		if err != nil {
			t.Fatal(err)
		}
		sizes[len(b)] = true
	}
	if len(sizes) != 1 {
		t.Errorf("sizes %v, want one", sizes)
	}
	second.Annotations = first.Annotations
	if !equality.Semantic.DeepEqual(first, second) {
		t.Error("more than the version differs")
	}
}

func TestStorageEncodingIsReadBack(t *testing.T) {
	p := population{pods: 10, nodes: 5, namespaces: 2, every: 10}
	encoder, err := storageEncoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []runtime.Object{p.pod(3, 1), newNode(3)} {
		b, err := runtime.Encode(encoder, object)
		if err != nil {
			t.Fatal(err)
		}
		if string(b[:4]) != "k8s\x00" {
			t.Errorf("storage begins with %q", b[:4])
		}
		got, kind, err := scheme.Codecs.UniversalDeserializer().Decode(b, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := object.DeepCopyObject()
		want.GetObjectKind().SetGroupVersionKind(*kind)
		got.GetObjectKind().SetGroupVersionKind(*kind)
		if !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("%s is not what was written:\n%v\nwant\n%v", kind.Kind, got, want)
		}
	}
}

package wire

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// selectable is what the registries of kube-apiserver say of the fields of samples.
func selectable(o runtime.Object) []string {
	switch o := o.(type) {
	case *corev1.Pod:
		ip := ""
		if len(o.Status.PodIPs) > 0 {
			ip = o.Status.PodIPs[0].IP
		}
		return []string{o.Spec.NodeName, strconv.FormatBool(o.Spec.HostNetwork), string(o.Status.Phase), ip}
	case *corev1.Node:
		return []string{strconv.FormatBool(o.Spec.Unschedulable)}
	case *corev1.Service:
		return []string{o.Spec.ClusterIP}
	case *appsv1.ReplicaSet:
		return []string{strconv.Itoa(int(o.Status.Replicas))}
	case *unstructured.Unstructured:
		fields := make([]string, 3)
		for i, name := range []string{"color", "on", "count"} {
			if value, ok, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", name); ok {
				fields[i] = fmt.Sprint(value)
			}
		}
		return fields
	default:
		return nil
	}
}

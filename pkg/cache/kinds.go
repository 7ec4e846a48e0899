package cache

import (
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// Resource is a resource that can be cached.
type Resource struct {
	wire.Kind
	// Plural is its name in paths, like "pods".
	Plural     string
	Namespaced bool
}

// builtin are the resources whose selectable fields are known: those of
// kube-apiserver 1.37 (pkg/registry/*/*/strategy.go, ToSelectableFields). A field
// that is missing here costs a forward, one that is wrong a wrong answer.
var builtin = []Resource{
	{Kind: core("Pod",
		text("spec.nodeName", []string{"spec", "nodeName"}, 2, 10),
		text("spec.restartPolicy", []string{"spec", "restartPolicy"}, 2, 3),
		text("spec.schedulerName", []string{"spec", "schedulerName"}, 2, 19),
		text("spec.serviceAccountName", []string{"spec", "serviceAccountName"}, 2, 8),
		flag("spec.hostNetwork", []string{"spec", "hostNetwork"}, 2, 11),
		text("status.phase", []string{"status", "phase"}, 3, 1),
		text("status.podIP", []string{"status", "podIPs", "ip"}, 3, 12, 1),
		text("status.nominatedNodeName", []string{"status", "nominatedNodeName"}, 3, 11),
	), Plural: "pods", Namespaced: true},
	{Kind: core("Node", flag("spec.unschedulable", []string{"spec", "unschedulable"}, 2, 4)), Plural: "nodes"},
	{Kind: core("Service",
		text("spec.clusterIP", []string{"spec", "clusterIP"}, 2, 3),
		text("spec.type", []string{"spec", "type"}, 2, 4),
	), Plural: "services", Namespaced: true},
	{Kind: core("ConfigMap"), Plural: "configmaps", Namespaced: true},
	{Kind: core("Secret", text("type", []string{"type"}, 3)), Plural: "secrets", Namespaced: true},
	{Kind: core("Namespace",
		text("status.phase", []string{"status", "phase"}, 3, 1),
	), Plural: "namespaces"},
	{Kind: core("PersistentVolume"), Plural: "persistentvolumes"},
	{Kind: core("PersistentVolumeClaim"), Plural: "persistentvolumeclaims", Namespaced: true},
	{Kind: core("ServiceAccount"), Plural: "serviceaccounts", Namespaced: true},
	{Kind: of("discovery.k8s.io", "v1", "EndpointSlice"), Plural: "endpointslices", Namespaced: true},
	{Kind: of("apps", "v1", "ReplicaSet"), Plural: "replicasets", Namespaced: true},
	{Kind: of("apps", "v1", "Deployment"), Plural: "deployments", Namespaced: true},
	{Kind: of("apps", "v1", "StatefulSet"), Plural: "statefulsets", Namespaced: true},
	{Kind: of("apps", "v1", "DaemonSet"), Plural: "daemonsets", Namespaced: true},
	{Kind: of("batch", "v1", "Job", count("status.successful", []string{"status", "succeeded"}, 3, 5)), Plural: "jobs", Namespaced: true},
	{Kind: of("storage.k8s.io", "v1", "StorageClass"), Plural: "storageclasses"},
	{Kind: of("storage.k8s.io", "v1", "CSINode"), Plural: "csinodes"},
	{Kind: of("storage.k8s.io", "v1", "VolumeAttachment"), Plural: "volumeattachments"},
}

// revoking are the resources on which permissions rest.
var revoking = []Resource{
	{Kind: of(rbacGroup, "v1", "Role"), Plural: "roles", Namespaced: true},
	{Kind: of(rbacGroup, "v1", "RoleBinding"), Plural: "rolebindings", Namespaced: true},
	{Kind: of(rbacGroup, "v1", "ClusterRole"), Plural: "clusterroles"},
	{Kind: of(rbacGroup, "v1", "ClusterRoleBinding"), Plural: "clusterrolebindings"},
}

const rbacGroup = "rbac.authorization.k8s.io"

func of(group, version, kind string, fields ...wire.Field) wire.Kind {
	return wire.Kind{Group: group, Version: version, Kind: kind, ListKind: kind + "List", Fields: fields}
}

func core(kind string, fields ...wire.Field) wire.Kind { return of("", "v1", kind, fields...) }

func text(name string, path []string, numbers ...int32) wire.Field {
	return wire.Field{Name: name, Type: wire.String, Path: path, Numbers: numbers}
}

func flag(name string, path []string, numbers ...int32) wire.Field {
	return wire.Field{Name: name, Type: wire.Bool, Path: path, Numbers: numbers}
}

func count(name string, path []string, numbers ...int32) wire.Field {
	return wire.Field{Name: name, Type: wire.Integer, Path: path, Numbers: numbers}
}

// Find returns the resource that is meant by its name in paths, or by name and
// group like "deployments.apps".
func Find(name string) (Resource, bool) {
	for _, r := range builtin {
		if name == r.Plural || name == r.Plural+"."+r.Group {
			return r, true
		}
	}
	return Resource{}, false
}

// Known are the names of all resources that Find finds.
func Known() (names []string) {
	for _, r := range builtin {
		names = append(names, r.name())
	}
	return names
}

// name is the one by which people know the resource, like "deployments.apps".
func (r *Resource) name() string {
	if r.Group == "" {
		return r.Plural
	}
	return r.Plural + "." + r.Group
}

// Path is that of the resource in all namespaces.
func (r *Resource) Path() string { return r.prefix() + "/" + r.Plural }

func (r *Resource) prefix() string {
	if r.Group == "" {
		return "/api/" + r.Version
	}
	return "/apis/" + r.Group + "/" + r.Version
}

// path is the one spelling of a path that is answered here: of a collection, in a
// namespace or all, or of one object.
func (r *Resource) path(namespace, name string) string {
	path := r.prefix()
	if r.Namespaced && namespace != "" {
		path += "/namespaces/" + namespace
	}
	path += "/" + r.Plural
	if name != "" {
		path += "/" + name
	}
	return path
}

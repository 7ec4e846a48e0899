package cache

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/client-go/kubernetes/scheme"

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

// builtinAt returns one of Kubernetes' own resources, nil if it is not among those
// that can be cached.
func builtinAt(key resourceKey) *Resource {
	for i := range builtin {
		if r := &builtin[i]; r.Group == key.group && r.Version == key.version && r.Plural == key.plural {
			return r
		}
	}
	return nil
}

// Cacheable tells whether a resource can be cached: some of Kubernetes' own, and all
// custom ones. Whether there is such a custom resource only the apiserver knows.
func Cacheable(group, version, plural string) (custom bool, err error) {
	switch {
	case builtinAt(resourceKey{group, version, plural}) != nil:
		return false, nil
	case strings.Contains(group, ".") && !scheme.Scheme.IsGroupRegistered(group):
		return true, nil
	}
	return false, fmt.Errorf("%s of %s cannot be cached; of Kubernetes' own resources these can: %s",
		plural, groupVersion(group, version), strings.Join(Known(), ", "))
}

func groupVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}

// versionName is what versions are usually called.
var versionName = regexp.MustCompile(`^v[1-9][0-9]*((alpha|beta)[1-9][0-9]*)?$`)

// ParseName reads how people name a resource: like "pods", "deployments.apps", or
// with the version, which custom resources need, "widgets.v1.example.com".
func ParseName(name string) (group, version, plural string, err error) {
	for i := range builtin {
		if r := &builtin[i]; name == r.Plural || name == r.name() {
			return r.Group, r.Version, r.Plural, nil
		}
	}
	if parts := strings.SplitN(name, ".", 3); len(parts) == 3 && versionName.MatchString(parts[1]) {
		_, err := Cacheable(parts[2], parts[1], parts[0])
		return parts[2], parts[1], parts[0], err
	}
	return "", "", "", fmt.Errorf("%q cannot be cached; %s can, and custom resources by a name like widgets.v1.example.com", name, strings.Join(Known(), ", "))
}

// Usual are the names of the resources that are cached unless somebody says otherwise:
// what every node and every controller reads. Secrets are cached only where they are
// named, so that they are in no more memories than they must be.
func Usual() []string {
	return []string{
		"pods", "nodes", "services", "endpointslices.discovery.k8s.io", "configmaps", "namespaces", "persistentvolumes", "persistentvolumeclaims",
	}
}

// Known are the names of Kubernetes' own resources that can be cached.
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

// at tells whether a path is that of path, without making it.
func (r *Resource) at(path, namespace, name string) bool {
	next := func(part string) bool {
		var ok bool
		if path, ok = strings.CutPrefix(path, "/"); ok {
			path, ok = strings.CutPrefix(path, part)
		}
		return ok
	}
	switch {
	case r.Group == "" && !next("api"), r.Group != "" && !(next("apis") && next(r.Group)), !next(r.Version):
		return false
	case r.Namespaced && namespace != "" && !(next("namespaces") && next(namespace)), !next(r.Plural):
		return false
	case name != "" && !next(name):
		return false
	}
	return path == ""
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

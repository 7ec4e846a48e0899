package cache

import "testing"

func FuzzPath(f *testing.F) {
	deployments := Resource{Plural: "deployments", Namespaced: true}
	deployments.Group, deployments.Version = "apps", "v1"
	nodes := Resource{Plural: "nodes"}
	nodes.Version = "v1"
	resources := []*Resource{&configMaps, &deployments, &nodes}
	for _, r := range resources {
		for _, namespace := range []string{"", "a", "namespaces"} {
			for _, name := range []string{"", "b", "configmaps"} {
				f.Add(r.path(namespace, name), namespace, name)
			}
		}
	}
	f.Add("/api/v1/namespaces/a/configmaps/", "a", "")
	f.Add("/api/v1/namespaces//configmaps", "", "")
	f.Add("/api/v1//configmaps", "", "")
	f.Fuzz(func(t *testing.T, path, namespace, name string) {
		for _, r := range resources {
			if got, want := r.at(path, namespace, name), path == r.path(namespace, name); got != want {
				t.Errorf("%s is that of %s in %q named %q: %t", path, r.name(), namespace, name, got)
			}
		}
	})
}

package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestVersionsEqualThoseOfTheModules(t *testing.T) {
	for module, want := range map[string]struct{ path, version string }{
		"kubernetes": {"k8s.io/kubernetes", KubernetesVersion},
		"etcd":       {"go.etcd.io/etcd/server/v3", EtcdVersion},
		"kwok":       {"sigs.k8s.io/kwok", KwokVersion},
	} {
		content, err := os.ReadFile(filepath.Join("build", module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		required := regexp.MustCompile(`(?m)^\s+` + regexp.QuoteMeta(want.path) + ` (v\S+)`).FindSubmatch(content)
		if required == nil || string(required[1]) != want.version {
			t.Errorf("build/%s requires %s %q, versions.go says %s", module, want.path, required, want.version)
		}
	}
}

func TestVersionIsFoundInProgramOutput(t *testing.T) {
	for output, want := range map[string]string{
		"etcd Version: 3.7.3\nGit SHA: Not provided\nGo Version: go1.26.8": "v3.7.3",
		"Kubernetes v1.37.2": "v1.37.2",
		"Client Version: v1.37.2\nKustomize Version: v5.8.1": "v1.37.2",
		"kwok version v0.8.0 go1.26.8 (linux/amd64)":         "v0.8.0",
		"Kubernetes v1.38.0-alpha.1":                         "v1.38.0-alpha.1",
		"Kubernetes v1.37":                                   "",
		"usage: 1.x.3":                                       "",
		"":                                                   "",
	} {
		if got := parseVersion(output); got != want {
			t.Errorf("parseVersion(%q) = %q, want %q", output, got, want)
		}
	}
}

func TestLinkerFlagsStampTheVersion(t *testing.T) {
	flags := kubernetesLDFlags()
	for _, want := range []string{
		"-s -w", "-X k8s.io/component-base/version.gitVersion=" + KubernetesVersion,
		"-X k8s.io/client-go/pkg/version.gitMajor=1", "version.gitMinor=37",
	} {
		if !strings.Contains(flags, want) {
			t.Errorf("%q lacks %q", flags, want)
		}
	}
}

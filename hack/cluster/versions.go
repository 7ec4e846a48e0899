package cluster

import (
	"fmt"
	"runtime"
	"strings"
)

// Versions of what is built. They repeat what build/*/go.mod require, because a
// compiled test has no go.mod to read; a test keeps the two equal.
const (
	KubernetesVersion = "v1.37.2"
	EtcdVersion       = "v3.7.3"
	KwokVersion       = "v0.8.0"
)

// Names of the binaries that Build makes.
const (
	binEtcd              = "etcd"
	binAPIServer         = "kube-apiserver"
	binControllerManager = "kube-controller-manager"
	binScheduler         = "kube-scheduler"
	binKubectl           = "kubectl"
	binKwok              = "kwok"
)

// binary is one program to build.
type binary struct {
	name    string
	module  string // folder below build/
	pkg     string // import path of the main package
	version string // with a leading v
	ldflags string
	// versionArgs make the program print its version and exit.
	versionArgs []string
}

// binaries lists everything Build makes, quickest first so that a broken setup is
// noticed before the long compilation.
func binaries() []binary {
	kubernetes := func(name string, versionArgs ...string) binary {
		return binary{
			name: name, module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/" + name,
			version: KubernetesVersion, ldflags: kubernetesLDFlags(), versionArgs: versionArgs,
		}
	}
	return []binary{
		{
			name: binEtcd, module: "etcd", pkg: "go.etcd.io/etcd/server/v3",
			version: EtcdVersion, ldflags: "-s -w", versionArgs: []string{"--version"},
		},
		kubernetes(binAPIServer, "--version"),
		kubernetes(binControllerManager, "--version"),
		kubernetes(binScheduler, "--version"),
		kubernetes(binKubectl, "version", "--client"),
		{
			name: binKwok, module: "kwok", pkg: "sigs.k8s.io/kwok/cmd/kwok", version: KwokVersion,
			ldflags:     "-s -w -X sigs.k8s.io/kwok/pkg/consts.Version=" + KwokVersion,
			versionArgs: []string{"--version"},
		},
	}
}

// kubernetesLDFlags stamps the version the way the upstream release script does:
// without it every binary reports v0.0.0-master and refuses some version checks.
func kubernetesLDFlags() string {
	major, minor := majorMinor(KubernetesVersion)
	flags := []string{"-s -w"}
	for _, module := range []string{"component-base", "client-go/pkg"} {
		flags = append(flags, fmt.Sprintf(
			"-X k8s.io/%[1]s/version.gitVersion=%[2]s -X k8s.io/%[1]s/version.gitMajor=%[3]s -X k8s.io/%[1]s/version.gitMinor=%[4]s",
			module, KubernetesVersion, major, minor))
	}
	return strings.Join(flags, " ")
}

// majorMinor splits "v1.37.2" into "1" and "37".
func majorMinor(version string) (major, minor string) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return parts[0], ""
	}
	return parts[0], parts[1]
}

// versionFolder names the folder below the cache folder that holds the binaries of
// these versions for this platform, so that two checkouts never mix theirs.
func versionFolder() string {
	return fmt.Sprintf("kubernetes-%s_etcd-%s_kwok-%s_%s-%s",
		KubernetesVersion, EtcdVersion, KwokVersion, runtime.GOOS, runtime.GOARCH)
}

// parseVersion finds the first version number in the output of `--version`, with or
// without a leading v, and returns it with one. It returns "" when there is none.
func parseVersion(output string) string {
	for _, field := range strings.Fields(output) {
		number := strings.TrimPrefix(field, "v")
		if isVersionNumber(number) {
			return "v" + number
		}
	}
	return ""
}

// isVersionNumber tells whether s is like 3.7.3, a pre-release suffix allowed.
func isVersionNumber(s string) bool {
	core, _, _ := strings.Cut(s, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return false
	}
	for _, part := range parts {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}

package clients

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

const kubectlTimeout = 30 * time.Second

// command makes a kubectl command of the administrator through the gateway, in
// the test's namespace.
func (e *env) command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	kubeconfig, err := e.g.Kubeconfig()
	must(t, err)
	return e.Kubectl(ctx, kubeconfig, append([]string{"--namespace=" + e.namespace}, args...)...)
}

// kubectl runs a command that must succeed and returns its output.
func (e *env) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return output(t, e.command(within(t, kubectlTimeout), t, args...))
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// contains fails unless text holds all that is wanted.
func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Fatalf("%q is not in:\n%s", want, text)
		}
	}
}

// runPods starts a Deployment and returns the names of its pods.
func (e *env) runPods(t *testing.T, name string, replicas int32) []string {
	t.Helper()
	e.ensureControllers(t)
	_, err := e.via.AppsV1().Deployments(e.namespace).Create(t.Context(), deployment(name, replicas), metav1.CreateOptions{})
	must(t, err)
	e.waitDeployment(t, name, replicas)
	list, err := e.direct.CoreV1().Pods(e.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	must(t, err)
	var names []string
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

// TestKubectlReadsWhatItReadsDirectly runs commands both ways: output, errors and
// exit code must be the same.
func TestKubectlReadsWhatItReadsDirectly(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		pod := e.runPods(t, "web", 2)[0]
		direct := filepath.Join(e.Dir(), "direct.kubeconfig")
		certFile, keyFile := e.AdminFiles()
		cert, err := os.ReadFile(certFile)
		must(t, err)
		key, err := os.ReadFile(keyFile)
		must(t, err)
		server := e.Servers(cluster.GroupMain)[1]
		must(t, cluster.WriteKubeconfig(direct, server, e.CACert(), cert, key))
		diff := "diff -f " + writeFile(t, "diff.yaml", manifest("diff", "1"))
		failing := []string{
			"get pod absent", "top nodes", "top pods", "get --raw /absent", diff,
			"auth can-i delete nodes --as=system:serviceaccount:default:default",
		}
		for _, line := range []string{
			"get nodes -o wide",
			"get pods -o wide",
			"get pods -o yaml",
			"get pods --chunk-size=1 -A -o name",
			"get pods --field-selector=status.phase=Running -l app=web",
			"get deployment/web -o json",
			"get all",
			"get pod absent",
			"get pods -o jsonpath={.items[*].metadata.uid}",
			"describe pod " + pod,
			"describe node " + cluster.NodeName(0),
			"describe deployment web",
			"rollout history deployment/web",
			"explain deployment.spec.strategy",
			"explain pods --recursive",
			"api-resources -o wide",
			"api-versions",
			"auth can-i create deployments",
			"auth can-i --list",
			"auth can-i delete nodes --as=system:serviceaccount:default:default",
			"auth whoami -o yaml",
			"top nodes",
			"top pods",
			"version",
			"get --raw /version",
			"get --raw /readyz?verbose",
			"get --raw /apis/apps/v1",
			"get --raw /openapi/v3/apis/apps/v1",
			"get --raw /absent",
			"get --raw /api/v1/nodes?limit=2",
			diff,
		} {
			t.Run(line, func(t *testing.T) {
				args := strings.Fields(line)
				ask := func(cmd *exec.Cmd) (string, bool) {
					var out bytes.Buffer
					cmd.Stdout, cmd.Stderr = &out, &out
					err := cmd.Run()
					text := strings.NewReplacer(e.g.URL(), "SERVER", server, "SERVER").Replace(out.String())
					return fmt.Sprintf("%s\n(%v)", withoutNoise(text), err), err == nil
				}
				// Ages differ when a second begins between the two.
				eventually(t, kubectlTimeout, func(ctx context.Context) error {
					want, ok := ask(e.Kubectl(ctx, direct, append([]string{"--namespace=" + e.namespace}, args...)...))
					got, _ := ask(e.command(ctx, t, args...))
					if strings.HasPrefix(line, "api-") {
						whole := got
						if got = ownAPI.ReplaceAllString(whole, ""); got == whole {
							return fmt.Errorf("the gateway's own API is not among: %s", got)
						}
					}
					if ok == slices.Contains(failing, line) {
						return fmt.Errorf("success is %t for: %s", ok, want)
					}
					if got != want {
						return fmt.Errorf("through the gateway:\n%.2000s\ndirect:\n%.2000s", got, want)
					}
					return nil
				})
			})
		}
	})
}

// ownAPI are the lines about the gateway's own API group, which only it has.
var ownAPI = regexp.MustCompile(`(?m)^.*gateway\.asi\.io.*\n`)

// withoutNoise drops the time and place in lines that kubectl logs, and the
// temporary names in those of diff.
func withoutNoise(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "E") || strings.HasPrefix(line, "W"):
			if _, message, ok := strings.Cut(line, "] "); ok {
				line = message
			}
		case strings.HasPrefix(line, "diff -"), strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "),
			strings.Contains(line, "creationTimestamp"), strings.Contains(line, "uid:"), strings.Contains(line, "time: "):
			if strings.Contains(text, "diff -") {
				continue
			}
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "")
}

func manifest(name, value string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata:
  name: %s
data:
  value: "%s"
`, name, value)
}

// TestKubectlWrites changes objects in all the ways kubectl knows.
func TestKubectlWrites(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		value := func() string {
			return e.kubectl(t, "get", "configmap/one", "-o", "jsonpath={.data.value}")
		}
		t.Run("client-side apply", func(t *testing.T) {
			contains(t, e.kubectl(t, "apply", "-f", writeFile(t, "one.yaml", manifest("one", "1"))), "configmap/one created")
			contains(t, e.kubectl(t, "apply", "-f", writeFile(t, "one.yaml", manifest("one", "2"))), "configmap/one configured")
			contains(t, value(), "2")
		})
		t.Run("server-side apply", func(t *testing.T) {
			file := writeFile(t, "two.yaml", manifest("two", "1"))
			contains(t, e.kubectl(t, "apply", "--server-side", "-f", file), "configmap/two serverside-applied")
			contains(t, e.kubectl(t, "get", "configmap/two", "-o", "yaml", "--show-managed-fields"), "operation: Apply", "manager: kubectl")
		})
		t.Run("edit", func(t *testing.T) {
			cmd := e.command(within(t, kubectlTimeout), t, "edit", "configmap/one")
			editor := writeFile(t, "editor.sh", "#!/bin/sh\nexec sed -i 's/value: \"2\"/value: edited/' \"$1\"\n")
			cmd.Env = append(os.Environ(), "KUBE_EDITOR="+editor)
			contains(t, output(t, cmd), "configmap/one edited")
			contains(t, value(), "edited")
		})
		t.Run("patch", func(t *testing.T) {
			for kind, patch := range map[string]string{
				"merge":     `{"data":{"value":"merge"}}`,
				"strategic": `{"data":{"value":"strategic"}}`,
				"json":      `[{"op":"replace","path":"/data/value","value":"json"}]`,
			} {
				e.kubectl(t, "patch", "configmap/one", "--type="+kind, "--patch="+patch)
				contains(t, value(), kind)
			}
		})
		t.Run("label annotate replace delete", func(t *testing.T) {
			e.kubectl(t, "label", "configmap/one", "colour=red")
			e.kubectl(t, "annotate", "configmap/one", "note=a b")
			contains(t, e.kubectl(t, "get", "configmaps", "-l", "colour=red"), "one")
			contains(t, e.kubectl(t, "replace", "-f", writeFile(t, "one.yaml", manifest("one", "replaced"))), "replaced")
			contains(t, e.kubectl(t, "delete", "configmap/one", "configmap/two"), `"one" deleted`, `"two" deleted`)
			contains(t, e.kubectl(t, "get", "configmaps", "--ignore-not-found", "-o", "name")+".", ".")
		})
		t.Run("get -w and wait", func(t *testing.T) { e.testFollowing(t) })
		t.Run("scale and roll out", func(t *testing.T) { e.testRollOut(t) })
		t.Run("cordon and drain", func(t *testing.T) { e.testDrainNode(t) })
		t.Run("create token", func(t *testing.T) { e.testToken(t) })
	})
}

func (e *env) testFollowing(t *testing.T) {
	f := e.follow(t, "get", "configmaps", "-w", "--output-watch-events", "-l", "suite=clients")
	waiting := e.follow(t, "wait", "--for=create", "configmap/late", "--timeout=50s")
	e.createConfigMap(t, "seen", "1")
	f.until(t, "ADDED")
	e.kubectl(t, "patch", "configmap/seen", "--type=merge", `--patch={"data":{"more":"1"}}`)
	f.until(t, "MODIFIED")
	gone := e.follow(t, "wait", "--for=delete", "configmap/seen", "--timeout=50s")
	e.kubectl(t, "delete", "configmap/seen")
	f.until(t, "DELETED")
	gone.end(t)
	e.createConfigMap(t, "late", "1")
	waiting.until(t, "condition met")
	waiting.end(t)
}

func (e *env) testRollOut(t *testing.T) {
	e.runPods(t, "web", 2)
	status := func() string { return e.kubectl(t, "rollout", "status", "deployment/web", "--timeout=50s") }
	e.kubectl(t, "scale", "deployment/web", "--replicas=5")
	contains(t, status(), "successfully rolled out")
	contains(t, e.kubectl(t, "get", "deployment/web"), "5/5")
	e.kubectl(t, "set", "image", "deployment/web", "main=clients.invalid/web:2")
	contains(t, status(), "successfully rolled out")
	e.kubectl(t, "rollout", "undo", "deployment/web")
	contains(t, status(), "successfully rolled out")
	contains(t, e.kubectl(t, "get", "deployment/web", "-o", "wide"), "web:1")
	e.kubectl(t, "rollout", "restart", "deployment/web")
	contains(t, e.kubectl(t, "wait", "deployment/web", "--for=condition=Available", "--timeout=50s"), "condition met")
	contains(t, e.kubectl(t, "delete", "deployment/web", "--cascade=foreground"), "deleted")
	contains(t, e.kubectl(t, "get", "pods", "-o", "name")+".", ".")
}

func (e *env) testDrainNode(t *testing.T) {
	pods := e.runPods(t, "drained", 10)
	node := e.kubectl(t, "get", "pod", pods[0], "-o", "jsonpath={.spec.nodeName}")
	contains(t, e.kubectl(t, "cordon", node), "cordoned")
	contains(t, e.kubectl(t, "drain", node, "--ignore-daemonsets", "--force", "--timeout=50s"), "evicting pod", "drained")
	left := e.kubectl(t, "get", "pods", "-A", "-o", "name", "--field-selector=spec.nodeName="+node)
	if left != "" {
		t.Errorf("on the drained node: %s", left)
	}
	contains(t, e.kubectl(t, "uncordon", node), "uncordoned")
	e.waitDeployment(t, "drained", 10)
}

// testToken makes a token through the gateway and uses it there.
func (e *env) testToken(t *testing.T) {
	e.kubectl(t, "create", "serviceaccount", "robot")
	token := strings.TrimSpace(e.kubectl(t, "create", "token", "robot"))
	kubeconfig := filepath.Join(t.TempDir(), "nobody")
	must(t, cluster.WriteKubeconfig(kubeconfig, e.g.URL(), e.CACert(), nil, nil))
	whoami := e.Kubectl(within(t, kubectlTimeout), kubeconfig, "auth", "whoami", "-o", "yaml", "--token", token)
	contains(t, output(t, whoami), "username: system:serviceaccount:"+e.namespace+":robot", "system:serviceaccounts:"+e.namespace)
}

// follower is a running kubectl whose output is read line by line.
type follower struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// follow starts a command that ends with the test at the latest.
func (e *env) follow(t *testing.T, args ...string) *follower {
	t.Helper()
	return startFollower(t, e.command(within(t, kubectlTimeout), t, args...))
}

func startFollower(t *testing.T, cmd *exec.Cmd) *follower {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	cmd.Stderr = t.Output()
	must(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return &follower{cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
}

// until reads lines up to one that contains text.
func (f *follower) until(t *testing.T, text string) string {
	t.Helper()
	for f.lines.Scan() {
		if strings.Contains(f.lines.Text(), text) {
			return f.lines.Text()
		}
	}
	t.Fatalf("the output of %s ended without %q", f.cmd, text)
	return ""
}

// end waits until the command has ended by itself, with success.
func (f *follower) end(t *testing.T) {
	t.Helper()
	for f.lines.Scan() {
		continue
	}
	if err := f.cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", f.cmd, err)
	}
}

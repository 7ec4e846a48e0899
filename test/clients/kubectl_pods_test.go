package clients

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// streamBytes is what each stream carries both ways.
const streamBytes = 2 << 20

// protocols are the two ways to a stream: kubectl falls back from the first to the
// second without a word, so that the access log has to tell which it was.
var protocols = []struct{ name, off, method string }{
	{"WebSocket", "", http.MethodGet},
	{"SPDY", "false", http.MethodPost},
}

// TestKubectlReachesPods uses everything that needs the kubelet.
func TestKubectlReachesPods(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		pod := e.runPods(t, "web", 1)[0]
		t.Run("logs", func(t *testing.T) {
			line := fmt.Sprintf("line of %s", e.namespace)
			must(t, e.AppendPodLog(line))
			contains(t, e.kubectl(t, "logs", pod), line)
			contains(t, e.kubectl(t, "logs", "deployment/web", "--tail=1"), line)
		})
		t.Run("logs -f", func(t *testing.T) { e.testNewOutput(t, "logs", "-f", "--tail=1", pod) })
		t.Run("cp", func(t *testing.T) { e.testCopy(t, pod) })
		for _, p := range protocols {
			t.Run("exec over "+p.name, func(t *testing.T) {
				e.testExec(t, pod, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+p.off)
				e.checkUpgraded(t, pod, "exec", p.method)
			})
			t.Run("attach over "+p.name, func(t *testing.T) {
				e.testAttach(t, pod, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+p.off)
				e.checkUpgraded(t, pod, "attach", p.method)
			})
			t.Run("port-forward over "+p.name, func(t *testing.T) {
				e.testPortForward(t, pod, "KUBECTL_PORT_FORWARD_WEBSOCKETS="+p.off)
				e.checkUpgraded(t, pod, "portforward", p.method)
			})
		}
	})
}

// withSetting sets an environment variable of a command, unless it is empty.
func withSetting(cmd *exec.Cmd, setting string) *exec.Cmd {
	if !strings.HasSuffix(setting, "=") {
		cmd.Env = append(os.Environ(), setting)
	}
	return cmd
}

// testNewOutput follows the pods' log, and writes to it until kubectl shows it:
// when it has begun to follow cannot be seen from here.
func (e *env) testNewOutput(t *testing.T, args ...string) {
	t.Helper()
	e.showsNewOutput(t, startFollower(t, e.command(within(t, kubectlTimeout), t, args...)))
}

func (e *env) testAttach(t *testing.T, pod, setting string) {
	t.Helper()
	e.showsNewOutput(t, startFollower(t, withSetting(e.command(within(t, kubectlTimeout), t, "attach", pod), setting)))
}

func (e *env) showsNewOutput(t *testing.T, f *follower) {
	t.Helper()
	line := rand.Text()
	shown := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-shown:
				return
			case <-ticker.C:
				if err := e.AppendPodLog(line); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	defer func() {
		close(shown)
		<-stop
	}()
	f.until(t, line)
	must(t, f.cmd.Process.Signal(os.Interrupt))
}

// testExec sends bytes through a command in the pod and back, and has one fail.
func (e *env) testExec(t *testing.T, pod, setting string) {
	t.Helper()
	sent := randomBytes(t, streamBytes)
	// Two faults of kwok, seen directly as well. It leaves the command's input open
	// when the client's ends, so that the command must know how much to read. And
	// when the command ends, it may drop what is still on its way: the command waits
	// for a last byte, which is sent when all has come back.
	script := fmt.Sprintf("head -c %d; echo done >&2; head -c 1 >/dev/null", streamBytes)
	cmd := withSetting(e.command(within(t, kubectlTimeout), t, "exec", "-i", pod, "--", "sh", "-c", script), setting)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	written := make(chan error, 1)
	go func() {
		_, err := stdin.Write(sent)
		written <- err
	}()
	got := make([]byte, streamBytes)
	n, err := io.ReadFull(stdout, got)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back of %d, or others: %v", n, len(sent), err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if line != "done\n" {
		t.Errorf("standard error is %q, %v", line, err)
	}
	must(t, <-written)
	_, err = stdin.Write([]byte("."))
	must(t, err)
	must(t, stdin.Close())
	must(t, cmd.Wait())

	// kwok tells the exit code in words only.
	failing := withSetting(e.command(within(t, kubectlTimeout), t, "exec", pod, "--", "sh", "-c", "exit 7"), setting)
	out, err := failing.CombinedOutput()
	if err == nil {
		t.Error("kubectl succeeded, though its command failed")
	}
	contains(t, string(out), "exit status 7")
}

// testPortForward sends bytes over several connections at once.
func (e *env) testPortForward(t *testing.T, pod, setting string) {
	t.Helper()
	f := startFollower(t, withSetting(e.command(within(t, kubectlTimeout), t, "port-forward", "pod/"+pod, ":8080"), setting))
	line := f.until(t, "Forwarding from 127.0.0.1:")
	address, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	results := make(chan error, 3)
	for range cap(results) {
		sent := randomBytes(t, streamBytes)
		go func() { results <- echo(within(t, kubectlTimeout), address, sent) }()
	}
	for range cap(results) {
		must(t, <-results)
	}
	must(t, f.cmd.Process.Signal(os.Interrupt))
}

// echo sends bytes to an echo server and compares what comes back.
func echo(ctx context.Context, address string, sent []byte) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	writing := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		writing <- err
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("reading the echo: %w", err)
	}
	if !bytes.Equal(got, sent) {
		return errors.New("other bytes came back")
	}
	return <-writing
}

// testCopy copies a file out of the pod, which is this machine. Into it does not
// work with kwok, directly neither: tar waits for the end of its input (see
// testExec).
func (e *env) testCopy(t *testing.T, pod string) {
	t.Helper()
	dir := t.TempDir()
	sent := randomBytes(t, streamBytes)
	inside, outside := filepath.Join(dir, "inside"), filepath.Join(dir, "outside")
	must(t, os.WriteFile(inside, sent, 0o600))
	e.kubectl(t, "cp", "--retries=5", pod+":"+inside, outside)
	got, err := os.ReadFile(outside)
	must(t, err)
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, or others", len(got), len(sent))
	}
}

// checkUpgraded checks in the gateway's access log that all streams of a kind to
// a pod so far were upgraded, and that one was asked for by the method. Since
// each protocol has its own, and SPDY comes last, no other can have served.
func (e *env) checkUpgraded(t *testing.T, pod, kind, method string) {
	t.Helper()
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/%s", e.namespace, pod, kind)
	eventually(t, 10*time.Second, func(context.Context) error {
		seen := map[string]int{}
		for _, line := range accessLog(t, e.g) {
			if line.Path != path {
				continue
			}
			if line.Code != http.StatusSwitchingProtocols {
				return fmt.Errorf("%s %s was answered %d", line.Method, path, line.Code)
			}
			seen[line.Method]++
		}
		if seen[method] == 0 || (method == http.MethodGet && len(seen) > 1) {
			return fmt.Errorf("want %s by %s: %v", kind, method, seen)
		}
		return nil
	})
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	must(t, err)
	return b
}

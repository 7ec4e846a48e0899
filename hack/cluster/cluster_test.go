package cluster

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// bootTimeout covers a boot on a busy machine; buildTimeout a compilation from nothing.
const (
	bootTimeout  = 4 * time.Minute
	buildTimeout = 60 * time.Minute
	askTimeout   = 30 * time.Second
)

// TestClusterServesWorkloadsAndSurvivesFaults boots one cluster for all that needs the
// real thing.
func TestClusterServesWorkloadsAndSurvivesFaults(t *testing.T) {
	c := startForTest(t)
	client, err := kubernetes.NewForConfig(c.RESTConfig(c.Servers(GroupMain)[0]))
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t, bootTimeout)
	if err := c.CreateSample(ctx, 3); err != nil {
		t.Fatal(err)
	}
	pods, err := client.CoreV1().Pods(SampleNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 3 {
		t.Fatalf("%d pods, want 3", len(pods.Items))
	}
	for _, pod := range pods.Items {
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" || !strings.HasPrefix(pod.Spec.NodeName, "node-") {
			t.Errorf("pod %s: phase %s, address %q, node %q", pod.Name, pod.Status.Phase, pod.Status.PodIP, pod.Spec.NodeName)
		}
	}
	pod := pods.Items[0].Name

	t.Run("logs are followed", func(t *testing.T) { testFollow(t, c, "logs", "-f", pod) })
	t.Run("attach shows new output", func(t *testing.T) { testFollow(t, c, "attach", pod) })
	// kubectl speaks WebSocket by default and SPDY to older servers.
	for _, websocket := range []string{"true", "false"} {
		t.Run("exec runs a command with input, WebSocket "+websocket, func(t *testing.T) {
			testExec(t, c, pod, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+websocket)
		})
		t.Run("port-forward carries HTTP, WebSocket "+websocket, func(t *testing.T) {
			testPortForward(t, c, pod, "KUBECTL_PORT_FORWARD_WEBSOCKETS="+websocket)
		})
	}
	t.Run("nodes hold leases", func(t *testing.T) { testNodeLeases(t, client) })
	t.Run("front proxy asserts users", func(t *testing.T) { testFrontProxy(t, c) })
	t.Run("certificates decide who is let in", func(t *testing.T) { testClientCerts(t, c) })
	t.Run("a server can be killed, paused, resumed", func(t *testing.T) { testFaults(t, c) })
	t.Run("controllers move to another server", func(t *testing.T) { testMoveControllers(t, c) })
	t.Run("another program sees and stops the parts", func(t *testing.T) { testOpen(t, c) })
	t.Run("close ends everything, twice", func(t *testing.T) { testClose(t, c) })
}

// startForTest builds what is missing and boots a cluster that ends with the test.
func startForTest(t *testing.T) *Cluster {
	t.Helper()
	binDir, err := Build(testContext(t, buildTimeout), BuildOptions{Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(testContext(t, bootTimeout), Options{
		Dir: t.TempDir(), BinDir: binDir, Nodes: 3, KubeControllers: true, Progress: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func testContext(t *testing.T, timeout time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// follower is a running kubectl whose output is read line by line.
type follower struct {
	lines  *bufio.Scanner
	cancel context.CancelFunc
	cmd    *exec.Cmd
}

// follow starts kubectl in the sample namespace, with env added to the environment; stop
// must be called.
func follow(t *testing.T, c *Cluster, env []string, args ...string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), askTimeout)
	cmd := c.Kubectl(ctx, "", append([]string{"--namespace=" + SampleNamespace}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &follower{lines: bufio.NewScanner(output), cancel: cancel, cmd: cmd}
}

// stop interrupts kubectl; how it ends after that does not matter.
func (f *follower) stop() {
	f.cancel()
	_ = f.cmd.Wait()
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

// testFollow writes to the pods' log again and again until kubectl shows it: attach
// starts at the end of the log, at a moment that cannot be seen from here.
func testFollow(t *testing.T, c *Cluster, args ...string) {
	f := follow(t, c, nil, args...)
	defer f.stop()
	text := "said by " + t.Name()
	var seen atomic.Bool
	ctx := testContext(t, askTimeout)
	done := make(chan error, 1)
	go func() {
		done <- Poll(ctx, 100*time.Millisecond, func(context.Context) error {
			if err := c.AppendPodLog(text); err != nil || seen.Load() {
				return err
			}
			return errors.New("not seen yet")
		})
	}()
	f.until(t, text)
	seen.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// testExec takes five bytes and no more: kwok never tells a command that its input has
// ended, and reports an exit code in words only.
func testExec(t *testing.T, c *Cluster, pod, env string) {
	cmd := c.Kubectl(testContext(t, askTimeout), "", "--namespace="+SampleNamespace, "exec", "-i", pod, "--", "sh", "-c", "head -c 5 | tr a-z A-Z; exit 3")
	cmd.Env = append(os.Environ(), env)
	cmd.Stdin = strings.NewReader("hello")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if string(output) != "HELLO" {
		t.Errorf("output %q, want HELLO", output)
	}
	if err == nil || !strings.Contains(stderr.String(), "exit status 3") {
		t.Errorf("error %v, %q, want exit status 3", err, stderr.String())
	}
}

func testPortForward(t *testing.T, c *Cluster, pod, env string) {
	f := follow(t, c, []string{env}, "port-forward", "pod/"+pod, ":8080")
	defer f.stop()
	fields := strings.Fields(f.until(t, "Forwarding from "+loopback))
	if err := ask(testContext(t, askTimeout), http.DefaultClient, "http://"+fields[2]+"/healthz"); err != nil {
		t.Error(err)
	}
}

func testNodeLeases(t *testing.T, client kubernetes.Interface) {
	err := Poll(testContext(t, askTimeout), nodePoll, func(ctx context.Context) error {
		leases, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(leases.Items) != 3 {
			return errors.New("not 3 leases")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// whoAmI asks a server for the user and groups it sees.
func whoAmI(t *testing.T, config *rest.Config, headers map[string]string) (string, int) {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`
	request, err := http.NewRequestWithContext(testContext(t, askTimeout), http.MethodPost,
		config.Host+"/apis/authentication.k8s.io/v1/selfsubjectreviews", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer), response.StatusCode
}

func testFrontProxy(t *testing.T, c *Cluster) {
	config := c.RESTConfig(c.Servers(GroupBypass)[0])
	config.CertFile, config.KeyFile = c.FrontProxyClientFiles()
	answer, code := whoAmI(t, config, map[string]string{"X-Remote-User": "jane", "X-Remote-Group": "devs", "X-Remote-Uid": "7"})
	for _, want := range []string{`"username":"jane"`, `"uid":"7"`, `"devs"`} {
		if !strings.Contains(answer, want) {
			t.Errorf("answer %d lacks %s: %s", code, want, answer)
		}
	}
}

func testClientCerts(t *testing.T, c *Cluster) {
	now := time.Now()
	foreign, err := NewCA("foreign", now)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		ca       *CA
		notAfter time.Time
		want     int
	}{
		"valid":        {c.CA(), now.Add(time.Hour), http.StatusCreated},
		"expired":      {c.CA(), now.Add(-time.Minute), http.StatusUnauthorized},
		"foreign CA":   {foreign, now.Add(time.Hour), http.StatusUnauthorized},
		"wrong own CA": {c.FrontProxyCA(), now.Add(time.Hour), http.StatusUnauthorized},
	} {
		cert, key, err := test.ca.IssueClient("joe", []string{"ops"}, now.Add(-time.Hour), test.notAfter)
		if err != nil {
			t.Fatal(err)
		}
		config := c.RESTConfig(c.Servers(GroupMain)[1])
		config.TLSClientConfig = rest.TLSClientConfig{CAFile: c.CAFile(), CertData: cert, KeyData: key}
		if answer, code := whoAmI(t, config, nil); code != test.want {
			t.Errorf("%s: code %d, want %d: %s", name, code, test.want, answer)
		}
	}
}

func testFaults(t *testing.T, c *Cluster) {
	server := c.Process("main-1")
	ctx := testContext(t, bootTimeout)
	pid := server.Pid()
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if server.Running() || server.ExitErr() == nil {
		t.Errorf("killed: running %t, exit error %v", server.Running(), server.ExitErr())
	}
	if err := server.Pause(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Pause of a killed server: %v, want ErrNotRunning", err)
	}
	if err := server.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if server.Pid() == pid {
		t.Error("the server was not started again")
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, probeInterval)
	defer cancel()
	if err := server.WaitReady(short); !server.Paused() || err == nil {
		t.Errorf("paused: %t, ready error %v", server.Paused(), err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(ctx); err != nil || server.Paused() {
		t.Errorf("resumed: paused %t, ready error %v", server.Paused(), err)
	}
}

func testMoveControllers(t *testing.T, c *Cluster) {
	ctx := testContext(t, bootTimeout)
	if err := c.StartControllers(ctx, Target{Server: c.Servers(GroupBypass)[0]}); err != nil {
		t.Fatal(err)
	}
	kubectl := c.Kubectl(ctx, "", "--namespace="+SampleNamespace, "scale", "deployment/"+SampleName, "--replicas=5")
	if output, err := kubectl.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if err := c.WaitDeployment(ctx, SampleNamespace, SampleName, 5); err != nil {
		t.Fatal(err)
	}
}

func testOpen(t *testing.T, c *Cluster) {
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Options{Dir: c.Dir(), BinDir: c.BinDir()}); !errors.Is(err, ErrClusterUp) {
		t.Errorf("a second start in the same folder: %v, want ErrClusterUp", err)
	}
	opened, err := Open(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(opened.Servers(GroupMain), " "), strings.Join(c.Servers(GroupMain), " "); got != want {
		t.Errorf("servers %s, want %s", got, want)
	}
	server := opened.Process("bypass-0")
	if err := errors.Join(server.Pause(), server.Resume(), server.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Process("bypass-0").Exited():
	case <-testContext(t, askTimeout).Done():
		t.Error("the owner does not see that its process was stopped")
	}
}

func testClose(t *testing.T, c *Cluster) {
	var pids []int
	for _, process := range c.Processes() {
		if process.Running() {
			pids = append(pids, process.Pid())
		}
	}
	if len(pids) != 6 {
		t.Errorf("%d processes run, want 6", len(pids))
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("pid %d is still there: %v", pid, err)
		}
	}
}

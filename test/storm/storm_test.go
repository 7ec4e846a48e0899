package storm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
	"github.com/asi-gateway/asi-gateway/test/storm/kubelets"
)

const (
	bootTimeout = 10 * time.Minute
	// maxAsked is how many LIST and WATCH requests a storm may cost upstream, maxReviews
	// how many access reviews beyond one for each client: of the gateway itself, and of
	// who asks again because a permission has just changed.
	maxAsked   = 50
	maxReviews = 20
)

// size is how many clients come, within which time, and how many have pods.
func size() (clients, podsEvery int, within time.Duration) {
	if fixture.Soak() {
		return 5000, 10, 10 * time.Second
	}
	return 500, 5, 3 * time.Second
}

var suite = fixture.NewSuite("storm")

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

// stage is a kube-apiserver, and a gateway that answers reads of pods from memory.
type stage struct {
	cluster *cluster.Cluster
	gateway *fixture.Gateway
	admin   *kubernetes.Clientset
	rest    *rest.Config
	driver  string
}

func boot(t *testing.T) *stage {
	t.Helper()
	// As they are installed, without the race detector: what is measured is theirs.
	binary, err := suite.Compile("asi-gateway", "./cmd/asi-gateway")
	fixture.Must(t, err)
	driver, err := suite.Compile("kubelets", "./test/storm/kubelets/cmd")
	fixture.Must(t, err)
	c, err := suite.StartCluster(cluster.Options{MainServers: 1, BypassServers: -1})
	fixture.Must(t, err)
	ctx := fixture.Within(t, bootTimeout)
	s := &stage{cluster: c, driver: driver, rest: c.RESTConfig(c.Servers(cluster.GroupMain)[0])}
	if s.admin, err = kubernetes.NewForConfig(s.rest); err != nil {
		t.Fatal(err)
	}
	s.rest.QPS = -1
	if s.gateway, err = fixture.AddGateway(ctx, c, binary, "gateway", fixture.FrontProxy, "--cache-resources", "pods", "--cache-check-interval", "0s", "--access-log-every", "0"); err != nil {
		t.Fatal(err)
	}
	if err := s.gateway.NeverShed(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// bind makes a pod on every n-th node.
func (s *stage) bind(t *testing.T, clients, n int) {
	t.Helper()
	if _, err := s.admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	next := make(chan string)
	for range 16 {
		all.Go(func() {
			for node := range next {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "on-" + node}, Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "image:1"}}}}
				if _, err := s.admin.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := 0; i < clients; i += n {
		next <- kubelets.NodeName(i)
	}
	close(next)
	all.Wait()
}

// busy writes leases until it is told to stop.
func (s *stage) busy(t *testing.T) (stop func()) {
	t.Helper()
	leases := s.admin.CoordinationV1().Leases("default")
	lease, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{GenerateName: "busy-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for n := int32(1); ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			lease.Spec.LeaseTransitions = ptr.To(n)
			updated, err := leases.Update(ctx, lease, metav1.UpdateOptions{})
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			lease = updated
		}
	})
	return func() {
		cancel()
		writing.Wait()
	}
}

func (s *stage) storm(t *testing.T, url string, clients int, within time.Duration) *kubelets.Report {
	t.Helper()
	plan, err := json.Marshal(kubelets.Plan{
		URL: url, CAFile: s.cluster.CAFile(), CAKeyFile: filepath.Join(filepath.Dir(s.cluster.CAFile()), "ca.key"),
		Clients: clients, Within: within, Timeout: 4 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), s.driver)
	command.Stdin = bytes.NewReader(plan)
	var said, failed bytes.Buffer
	command.Stdout, command.Stderr = &said, &failed
	if err := command.Run(); err != nil {
		t.Fatalf("%v: %s", err, failed.Bytes())
	}
	r := &kubelets.Report{}
	if err := json.Unmarshal(said.Bytes(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// asked counts what the kube-apiserver was asked so far: lists and watches of pods,
// and access reviews.
func (s *stage) asked(t *testing.T) (reads, reviews int) {
	t.Helper()
	body, err := s.admin.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		m := requestCount.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.Contains(m[1], `resource="pods"`) && (strings.Contains(m[1], `verb="LIST"`) || strings.Contains(m[1], `verb="WATCH"`)):
			reads += int(n)
		case strings.Contains(m[1], `resource="subjectaccessreviews"`):
			reviews += int(n)
		}
	}
	return reads, reviews
}

var requestCount = regexp.MustCompile(`^apiserver_request_total\{([^}]*)\} (\S+)`)

// watching is how many watches of pods are under way at the kube-apiserver: they are
// counted as requests when they end.
func (s *stage) watching(t *testing.T) int {
	t.Helper()
	body, err := s.admin.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for line := range strings.Lines(string(body)) {
		if m := longRunning.FindStringSubmatch(line); m != nil {
			x, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			n += x
		}
	}
	return int(n)
}

var longRunning = regexp.MustCompile(`^apiserver_longrunning_requests\{[^}]*resource="pods"[^}]*verb="WATCH"[^}]*\} (\S+)`)

// check looks whether everybody knows what is on his node.
func check(t *testing.T, r *kubelets.Report, who string, every int) {
	t.Helper()
	for i, pods := range r.Pods {
		want := 0
		if i%every == 0 {
			want = 1
		}
		if pods != want {
			t.Fatalf("%s: client %d was told of %d pods, want %d", who, i, pods, want)
		}
	}
}

// TestRestartOfAllNodes sends the same storm to the gateway and to the
// kube-apiserver.
func TestRestartOfAllNodes(t *testing.T) {
	clients, every, within := size()
	s := boot(t)
	s.bind(t, clients, every)
	eventually(t, "the gateway has the pods in memory", func() error { return s.cached(t) })
	defer s.busy(t)()
	for _, storm := range []struct {
		to, url string
		gateway bool
	}{{"the gateway", s.gateway.URL(), true}, {"the kube-apiserver", s.cluster.Servers(cluster.GroupMain)[0], false}} {
		reads, reviews := s.asked(t)
		open := s.watching(t)
		apiserver, gateway := cpu(t, s.cluster.Process("main-0").Pid()), cpu(t, s.gateway.Pid())
		r := s.storm(t, storm.url, clients, within)
		apiserver, gateway = cpu(t, s.cluster.Process("main-0").Pid())-apiserver, cpu(t, s.gateway.Pid())-gateway
		// Watches are counted when they have ended.
		eventually(t, "the watches end", func() error {
			if n := s.watching(t); n > open {
				return fmt.Errorf("%d watches, %d before", n, open)
			}
			return nil
		})
		nowReads, nowReviews := s.asked(t)
		reads, reviews = nowReads-reads, nowReviews-reviews
		t.Logf("%d clients within %s to %s: %d LIST and WATCH of pods and %d access reviews at the kube-apiserver, which took %s of processor time, the gateway %s; synced after p50 %s, p99 %s, max %s; %d had to try again (%s)",
			clients, within, storm.to, reads, reviews, apiserver.Round(10*time.Millisecond), gateway.Round(10*time.Millisecond),
			r.P50.Round(time.Millisecond), r.P99.Round(time.Millisecond), r.Max.Round(time.Millisecond), r.Failures, r.Failure)
		check(t, r, storm.to, every)
		if !storm.gateway {
			continue
		}
		if r.Failures > 0 {
			t.Errorf("%d clients of the gateway had to try again: %s", r.Failures, r.Failure)
		}
		if reads >= maxAsked {
			t.Errorf("the kube-apiserver was asked for pods %d times, want fewer than %d", reads, maxAsked)
		}
		if reviews > clients+maxReviews {
			t.Errorf("the kube-apiserver had to review %d times who may read, want one for each of %d clients", reviews, clients)
		}
	}
}

// cached tells whether pods are answered from memory.
func (s *stage) cached(t *testing.T) error {
	metrics, err := s.gateway.Metrics(t.Context())
	if err != nil {
		return err
	}
	// The clients of the storm take JSON, whose state is read when it is first asked for.
	if metrics[`asi_gateway_cache_ready{encoding="json",resource="pods"}`] != 1 {
		config := rest.CopyConfig(s.rest)
		config.Host, config.ContentType, config.AcceptContentTypes = s.gateway.URL(), "application/json", "application/json"
		through, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		_, err = through.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
		return errors.Join(err, errors.New("not ready"))
	}
	return nil
}

func eventually(t *testing.T, what string, done func() error) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(time.Minute)
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("%s: not within a minute: %v", what, err)
		}
	}
}

// cpu is the processor time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	// USER_HZ is 100 on all of Linux.
	return time.Duration(ticks) * 10 * time.Millisecond
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/policy"
)

func TestSessions(t *testing.T) {
	for _, name := range []string{"limits", "try", "switch", "route", "cache", "look", "errors"} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.seed(t, "testdata/policies.yaml")
			g.seed(t, "testdata/routing.yaml")
			g.seed(t, "testdata/caching.yaml")
			g.upstream()
			g.memory()
			g.counted("list-pods", "a", "2", "1.26", "30", 1)
			g.counted("list-pods", "b", "2", "2", "15.55", 0)
			g.counted("kubelet-status", "a", "2k", "950", "0", 12)
			g.traffic(t)
			transcript(t, g, name)
			for _, path := range g.paths {
				if !strings.HasPrefix(path, base) {
					t.Errorf("asked for %s, which a kube-apiserver may have to answer", path)
				}
			}
		})
	}
}

// TestHelp keeps the command line, which people script, as a golden file.
func TestHelp(t *testing.T) {
	var all strings.Builder
	var walk func(path []string, command *cobra.Command)
	walk = func(path []string, command *cobra.Command) {
		if !command.IsAvailableCommand() && len(path) > 0 {
			return
		}
		help := runAs(t, clocktesting.NewFakeClock(now), "asictl", "", append(path, "--help")...)
		if help.code != 0 || help.err != "" {
			t.Errorf("%v: %v", path, help)
		}
		fmt.Fprintf(&all, "$ asictl %s\n%s\n", strings.Join(append(path, "--help"), " "), help.out)
		for _, sub := range command.Commands() {
			walk(append(slices.Clone(path), sub.Name()), sub)
		}
	}
	c := &cli{program: programOf("asictl")}
	walk(nil, c.root())
	compare(t, filepath.Join("testdata", "help.txt"), all.String())
}

func TestHelpSaysHowItWasCalled(t *testing.T) {
	for argv0, want := range map[string]string{
		"/usr/bin/kubectl-asi": "kubectl asi limits set stop-x", "kubectl-asi.exe": "'kubectl asi options'",
		"kubectl-asi_ctl": "kubectl asi-ctl top", "/opt/asictl": "asictl top", "./asictl-v2": "asictl-v2 top",
	} {
		got := runAs(t, clocktesting.NewFakeClock(now), argv0, "", "--help")
		if !strings.Contains(got.out, want) {
			t.Errorf("%s: %s", argv0, got.out)
		}
		if strings.Contains(argv0, "kubectl") && strings.Contains(got.out, "asictl") {
			t.Errorf("%s speaks of asictl: %s", argv0, got.out)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := runAs(t, clocktesting.NewFakeClock(now), "asictl", "", "completion", shell)
		if got.code != 0 || !strings.Contains(got.out, "asictl") || !strings.Contains(got.out, "__complete") {
			t.Errorf("%s: %v", shell, got)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		check := exec.CommandContext(t.Context(), path, "-n")
		check.Stdin = strings.NewReader(got.out)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s does not take it: %v\n%s", shell, err, out)
		}
	}
}

func TestOutputCanBeApplied(t *testing.T) {
	g := newGateway(t)
	g.seed(t, "testdata/policies.yaml")
	g.seed(t, "testdata/routing.yaml")
	t.Setenv("KUBECONFIG", g.config)
	if got := g.run(t, "", "switch", "on", "s", "--type", "Freeze", "--verb", "delete", "--reason", "r"); got.code != 0 {
		t.Fatal(got)
	}
	for resource, command := range map[string][]string{"ratelimits": {"limits"}, "clientclasses": {"classes"}, "switches": {"switch", "list"}, "routes": {"route", "list"}} {
		before := g.run(t, "", append(command, "-o", "json")...)
		var list struct {
			APIVersion, Kind string
			Items            []map[string]any
		}
		if err := json.Unmarshal([]byte(before.out), &list); err != nil || list.APIVersion != "v1" || list.Kind != "List" || len(list.Items) == 0 {
			t.Fatalf("%v, %v", err, before)
		}
		for _, item := range list.Items {
			path := base + resource + "/" + item["metadata"].(map[string]any)["name"].(string)
			// To what exists, and, as in another cluster, to what does not.
			if code, b := g.direct("PATCH", path+"?fieldManager=kubectl&force=true&fieldValidation=Strict", item, "application/apply-patch+yaml"); code != http.StatusOK {
				t.Errorf("%s: %d %s", path, code, b)
			}
			g.direct("DELETE", path, nil, "application/json")
			if code, b := g.direct("POST", base+resource+"?fieldValidation=Strict", item, "application/json"); code != http.StatusCreated {
				t.Errorf("%s: %d %s", path, code, b)
			}
		}
		yaml := g.run(t, "", append(command, "-o", "yaml", list.Items[0]["metadata"].(map[string]any)["name"].(string))...)
		if _, err := policy.Parse("output", []byte(yaml.out)); err != nil {
			t.Error(err)
		}
		var after struct{ Items []map[string]any }
		if err := json.Unmarshal([]byte(g.run(t, "", append(command, "-o", "json")...).out), &after); err != nil {
			t.Fatal(err)
		}
		for i, item := range after.Items {
			was, _ := json.Marshal(list.Items[i]["spec"])
			is, _ := json.Marshal(item["spec"])
			if !bytes.Equal(was, is) {
				t.Errorf("was %s\nis  %s", was, is)
			}
		}
	}
}

func TestExplanationOfWhatNoRouteOrNoServerIsFor(t *testing.T) {
	g := newGateway(t)
	t.Setenv("KUBECONFIG", g.config)
	explain := []string{"explain", "--path", "/version"}
	want := "Route:     none decides: main serves it, or bypass while main is gone\nGroup:     main\nResult:    passes\n"
	if got := g.run(t, "", explain...); !strings.HasSuffix(got.out, want) {
		t.Errorf("%v", got)
	}
	route := map[string]any{
		"apiVersion": "gateway.asi.io/v1alpha1", "kind": "Route", "metadata": map[string]any{"name": "all"}, "spec": map[string]any{"groups": []string{"nowhere"}},
	}
	if code, b := g.direct("POST", base+"routes", route, "application/json"); code != http.StatusCreated {
		t.Fatalf("%d %s", code, b)
	}
	want = "Route:     route/all\nGroup:     none: the groups that could serve it have no server that is ready\n" +
		"Result:    fails: 'asictl route status' shows the servers\n"
	if got := g.run(t, "", explain...); !strings.HasSuffix(got.out, want) {
		t.Errorf("%v", got)
	}
}

func TestStatusWithoutGroupsSaysSo(t *testing.T) {
	g := newGateway(t)
	t.Setenv("KUBECONFIG", g.config)
	got := g.run(t, "", "route", "status")
	if got.code != exitOK || got.out != "" || !strings.Contains(got.err, "note: main has no object: it is what each gateway's flags say") {
		t.Errorf("%v", got)
	}
	if got := g.run(t, "", "route", "list"); got.code != exitOK || !strings.Contains(got.err, "note: there are no routes: main serves everybody") {
		t.Errorf("%v", got)
	}
	// Main needs no object to be forced.
	if got := g.run(t, "", "route", "force", "main", "--reason", "x"); got.code != exitOK {
		t.Errorf("%v", got)
	}
	if got := g.run(t, "", "route", "status"); !strings.HasPrefix(got.out, "Forced: main serves everything for another 1h") {
		t.Errorf("%v", got)
	}
}

func TestCacheThatIsOffSaysHowToTurnItOn(t *testing.T) {
	g := newGateway(t)
	t.Setenv("KUBECONFIG", g.config)
	got := g.run(t, "", "cache")
	if got.code != exitOK || got.out != "" || !strings.Contains(got.err, "note: the cache is off: all reads are forwarded. Make CachedResources") {
		t.Errorf("%v", got)
	}
	if got := g.run(t, "", "cache", "-o", "json"); got.code != exitOK || !strings.Contains(got.out, `"items": []`) {
		t.Errorf("%v", got)
	}
}

func TestRecommendationsAreValidPolicies(t *testing.T) {
	g := newGateway(t)
	g.traffic(t)
	t.Setenv("KUBECONFIG", g.config)
	got := g.run(t, "", "limits", "recommend")
	policies, err := policy.Parse("recommended", []byte(got.out))
	if err != nil || len(policies) < 2 {
		t.Fatalf("%d policies, %v\n%s", len(policies), err, got.out)
	}
	file := filepath.Join(t.TempDir(), "limits.yaml")
	if err := os.WriteFile(file, []byte(got.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := g.run(t, "", "limits", "simulate", "--fail-if-refused", "-f", filepath.Dir(file)); got.code != exitOK || got.out != "" {
		t.Errorf("what is recommended would refuse: %v", got)
	}
}

func TestAnotherWriterIsNotOverwritten(t *testing.T) {
	g := newGateway(t)
	g.seed(t, "testdata/policies.yaml")
	t.Setenv("KUBECONFIG", g.config)
	rivals := 2
	before := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && rivals > 0 {
			rivals--
			g.direct("PATCH", base+"ratelimits/list-pods", map[string]any{"spec": map[string]any{"qps": fmt.Sprint(70 + rivals)}}, "application/merge-patch+json")
		}
		return false
	}
	g.before.Store(&before)
	got := g.run(t, "", "limits", "set", "list-pods", "--qps", "9")
	if got.code != 0 || !strings.Contains(got.out, "qps 70 -> 9") {
		t.Errorf("the value that was replaced is not told: %v", got)
	}
	rivals = 1000
	got = g.run(t, "", "limits", "set", "list-pods", "--qps", "8")
	if got.code != exitFailed || !strings.Contains(got.err, "try again") {
		t.Errorf("%v", got)
	}
}

func TestGatewayThatCannotAnswer(t *testing.T) {
	g := newGateway(t)
	g.seed(t, "testdata/policies.yaml")
	g.seed(t, "testdata/routing.yaml")
	g.seed(t, "testdata/caching.yaml")
	t.Setenv("KUBECONFIG", g.config)
	for _, tc := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		args   []string
		code   int
		want   string
	}{
		{"no counters", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/live") {
				status(w, http.StatusServiceUnavailable, "ServiceUnavailable", "no replica answers")
				return true
			}
			return false
		}, []string{"limits"}, exitOK, "note: counters cannot be read: no replica answers"},
		{"no states", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/live") {
				status(w, http.StatusServiceUnavailable, "ServiceUnavailable", "no replica answers")
				return true
			}
			return false
		}, []string{"route", "status"}, exitOK, "note: what the replicas see cannot be read: no replica answers"},
		{"no states as JSON", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/live") {
				status(w, http.StatusServiceUnavailable, "ServiceUnavailable", "no replica answers")
				return true
			}
			return false
		}, []string{"route", "status", "-o", "json"}, exitFailed, "error: no replica answers"},
		{"no caches", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/live") {
				status(w, http.StatusServiceUnavailable, "ServiceUnavailable", "no replica answers")
				return true
			}
			return false
		}, []string{"cache"}, exitOK, "note: what the replicas have in memory cannot be read: no replica answers"},
		{"a gateway without routes", func(w http.ResponseWriter, r *http.Request) bool {
			http.Error(w, "404 page not found", http.StatusNotFound)
			return true
		}, []string{"route", "status"}, exitFailed, "A gateway of an older version may not have this, either."},
		{"store starting", func(w http.ResponseWriter, _ *http.Request) bool {
			status(w, http.StatusServiceUnavailable, "ServiceUnavailable", "the policy store is starting")
			return true
		}, []string{"switch", "list"}, exitFailed, "error: the policy store is starting"},
		{"a kube-apiserver instead", func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "404 page not found", http.StatusNotFound)
			return true
		}, []string{"limits", "x"}, exitFailed, `Is context "admin" of the kubeconfig a gateway`},
		{"unknown credentials", func(w http.ResponseWriter, _ *http.Request) bool {
			status(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
			return true
		}, []string{"top"}, exitFailed, "does not accept the credentials"},
		{"terminal sequences", func(w http.ResponseWriter, _ *http.Request) bool {
			status(w, http.StatusForbidden, "Forbidden", "no \x1b[2J")
			return true
		}, []string{"top"}, exitFailed, "error: no ?[2J\n"},
		{"no answer", func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}, []string{"limits", "--request-timeout", "50ms"}, exitFailed, "It does not answer in time."},
	} {
		g.before.Store(&tc.answer)
		if got := g.run(t, "", tc.args...); got.code != tc.code || !strings.Contains(got.err, tc.want) {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func status(w http.ResponseWriter, code int32, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(code))
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: code, Reason: reason, Message: message,
	})
}

func TestSwitchesExpireByTheGatewaysClock(t *testing.T) {
	g := newGateway(t)
	t.Setenv("KUBECONFIG", g.config)
	fast := clocktesting.NewFakeClock(now.Add(20 * time.Minute))
	on := []string{"switch", "on", "s", "--type", "ReadOnly", "--for", "10m", "--reason", "r"}
	if got := runAs(t, fast, "asictl", "", on...); got.code != 0 || !strings.Contains(got.out, "on for 10m") {
		t.Fatal(got)
	}
	if got := runAs(t, fast, "asictl", "", "switch", "list", "--no-headers"); !slices.Contains(strings.Fields(got.out), "On") {
		t.Errorf("%v", got)
	}
	if got := runAs(t, fast, "asictl", "", on...); got.code != exitFailed || !strings.Contains(got.err, "is on for another 10m") {
		t.Errorf("a switch that is on was replaced: %v", got)
	}
}

func TestWatchGoesOnWhenAGatewayFails(t *testing.T) {
	g := newGateway(t)
	g.traffic(t)
	t.Setenv("KUBECONFIG", g.config)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pages := make(pageWriter, 1)
	c := &cli{program: programOf("asictl"), in: strings.NewReader(""), out: pages, err: pages, clock: g.clock, terminal: true}
	code := make(chan int, 1)
	go func() { code <- c.main(ctx, []string{"top", "-w", "--by", "client"}) }()
	next := func() string {
		t.Helper()
		select {
		case page := <-pages:
			return page
		case got := <-code:
			t.Fatalf("ended with %d", got)
		case <-time.After(20 * time.Second):
			t.Fatal("no page")
		}
		return ""
	}
	first := next()
	if !strings.HasPrefix(first, "\x1b[H\x1b[2J") || !strings.Contains(first, "flink") {
		t.Errorf("first page %q", first)
	}
	down := func(w http.ResponseWriter, _ *http.Request) bool {
		status(w, http.StatusServiceUnavailable, "ServiceUnavailable", "the gateway is ending")
		return true
	}
	g.before.Store(&down)
	g.clock.Step(refresh)
	second := next()
	if !strings.HasPrefix(second, first) || !strings.Contains(second, "error: the gateway is ending\nThis was 2s ago") {
		t.Errorf("second page %q", second)
	}
	g.before.Store(nil)
	g.clock.Step(refresh)
	if third := next(); strings.Contains(third, "error") || !strings.Contains(third, "flink") {
		t.Errorf("third page %q", third)
	}
	cancel()
	select {
	case got := <-code:
		if got != exitOK {
			t.Errorf("exit code %d", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("does not end")
	}
}

// pageWriter has what is written at a time.
type pageWriter chan string

func (p pageWriter) Write(b []byte) (int, error) {
	p <- string(b)
	return len(b), nil
}

func TestFormats(t *testing.T) {
	for d, want := range map[time.Duration]string{
		5*time.Minute + 12*time.Second: "5m12s", 10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m", time.Hour + 2*time.Second: "1h0m2s",
		0: "0s", 10 * time.Second: "10s", 499 * time.Millisecond: "0s", 168 * time.Hour: "168h",
	} {
		if got := formatTime(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for rate, want := range map[float64]string{0: "0", 0.001: "<0.1", 0.05: "0.1", 1.26: "1.3", 1000: "1000", 999.96: "1000"} {
		if got := formatRate(rate); got != want {
			t.Errorf("%v: %s, want %s", rate, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0", 1023: "1023", 1536: "1.5Ki", 50 << 20: "50Mi", 1 << 50: "1024Ti"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%v: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "-", 64 * time.Microsecond: "64µs", 131072 * time.Microsecond: "131ms", 2097 * time.Millisecond: "2.1s", 33 * time.Second: "33s"} {
		if got := formatLatency(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestNearNames(t *testing.T) {
	names := []string{"list-pods", "list-nodes", "list-pods-rv0", "x", "scripts"}
	for name, want := range map[string]string{
		"lst-pods": "list-pods", "list-pods": "list-pods list-pods-rv0 list-nodes", "script": "scripts", "y": "x", "pods-list": "list-pods list-pods-rv0", "nothing-like-it": "", "": "",
	} {
		if got := strings.Join(near(name, names), " "); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestClientsThatAreCountedTogetherAreShown(t *testing.T) {
	rows := topRows([]v1alpha1.Flow{{Requests: 5}, {Verb: "get", Requests: 6}}, "client", "rate")
	if len(rows) != 2 || rows[0].name != `""` || rows[1].name != everybodyElse {
		t.Errorf("%+v", rows)
	}
}

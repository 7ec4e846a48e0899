package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	drainDelay = 2 * time.Second
	drainGrace = 8 * time.Second
	// watchesOfAKind times four kinds are open when the gateway is told to end.
	watchesOfAKind = 50
)

// ending is how a watch or a request came to its end.
type ending struct {
	when time.Time
	err  error
}

// TestDrainEndsEveryClientGently terminates a gateway under load.
func TestDrainEndsEveryClientGently(t *testing.T) {
	eachMode(t, func(t *testing.T, shared *env) {
		pod := shared.runPods(t, "web", 1)[0]
		e := shared.addGateway(t, "drain",
			"--shutdown-delay-duration", drainDelay.String(), "--shutdown-grace-period", drainGrace.String())
		watches := e.openWatches(t)
		exec := e.follow(t, "exec", "-i", pod, "--", "sh", "-c", "echo begun; head -c 1")
		exec.until(t, "begun")
		writing, stopWriting := context.WithCancel(t.Context())
		var load sync.WaitGroup
		load.Go(func() { e.writeUntil(writing, t) })
		// Whatever fails below, nothing of the test may outlive it.
		defer load.Wait()
		defer stopWriting()
		shorts := make(chan []ending, 4)
		for i := range cap(shorts) {
			client := httpClient(t, e.g.RESTConfig(), []string{"h2", "http/1.1"}[i%2])
			go func() { shorts <- e.shortRequests(writing, client) }()
		}

		told := time.Now()
		gone := make(chan error, 1)
		go func() { gone <- e.g.Stop(context.WithoutCancel(t.Context())) }()
		unready := e.firstUnready(t)
		if after := unready.Sub(told); after > time.Second {
			t.Errorf("readyz failed only after %s", after)
		}
		must(t, <-gone)
		stopped := time.Since(told)
		stopWriting()
		if err := e.g.ExitErr(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
		if bound := drainDelay + drainGrace + time.Second; stopped > bound {
			t.Errorf("the gateway took %s to end, more than %s", stopped, bound)
		}
		if strings.Contains(strings.Join(logLines(t, e.g.LogFile()), "\n"), "were cut off") {
			t.Error("the gateway cut requests off")
		}

		e.checkWatchEnds(t, told, watches)
		e.checkShortRequests(t, told, shorts)
		for exec.lines.Scan() {
			continue
		}
		if err := exec.cmd.Wait(); err == nil {
			t.Error("kubectl exec succeeded, though its command was cut off")
		}
		t.Logf("not ready after %s, ended after %s", unready.Sub(told).Round(time.Millisecond), stopped.Round(time.Millisecond))
	})
}

func logLines(t *testing.T, path string) []string {
	t.Helper()
	var lines []string
	for _, line := range readLines(t, path, 0) {
		lines = append(lines, string(line))
	}
	return lines
}

// openWatches opens raw and typed watches over both protocols. The result has one
// ending for each, once it has ended.
func (e *env) openWatches(t *testing.T) <-chan ending {
	t.Helper()
	endings := make(chan ending, 4*watchesOfAKind)
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/configmaps?watch=true&timeoutSeconds=300", e.g.URL(), e.namespace)
	for _, protocol := range []string{"h2", "http/1.1"} {
		raw := httpClient(t, e.g.RESTConfig(), protocol)
		config := ownConnections(e.g.RESTConfig(), protocol)
		config.ContentType = runtime.ContentTypeProtobuf
		typed, err := kubernetes.NewForConfig(config)
		must(t, err)
		for range watchesOfAKind {
			response, err := get(t.Context(), raw, url)
			must(t, err)
			if response.StatusCode != http.StatusOK || (response.ProtoMajor == 2) != (protocol == "h2") {
				t.Fatalf("%s %s", response.Proto, response.Status)
			}
			go func() {
				defer response.Body.Close()
				_, err := readJSONEvents(response.Body)
				endings <- ending{time.Now(), err}
			}()
			seconds := int64(300)
			w, err := typed.CoreV1().ConfigMaps(e.namespace).Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &seconds})
			must(t, err)
			go func() { endings <- drainWatch(w) }()
		}
	}
	return endings
}

// drainWatch reads a client-go watch to its end. A broken stream ends with an
// event of type Error.
func drainWatch(w watch.Interface) ending {
	defer w.Stop()
	var err error
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			err = fmt.Errorf("client-go reports %v", event.Object)
		}
	}
	return ending{time.Now(), err}
}

// writeUntil makes events, so that watches end while they carry some.
func (e *env) writeUntil(ctx context.Context, t *testing.T) {
	for i := 0; ctx.Err() == nil; i++ {
		if err := createConfigMap(ctx, e.direct, e.namespace, fmt.Sprintf("event-%05d", i), strings.Repeat("x", 2000)); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// shortRequests sends one request after another until ctx ends, and returns how
// they ended: with nil, with a refusal, or otherwise.
func (e *env) shortRequests(ctx context.Context, client *http.Client) []ending {
	var endings []ending
	for ctx.Err() == nil {
		err := e.shortRequest(ctx, client)
		if ctx.Err() != nil {
			break
		}
		endings = append(endings, ending{time.Now(), err})
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return endings
}

func (e *env) shortRequest(ctx context.Context, client *http.Client) error {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	response, err := get(ctx, client, e.g.URL()+"/api/v1/namespaces/default")
	if err != nil && !connected.Load() {
		return fmt.Errorf("%w: %w", errNotConnected, err)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return fmt.Errorf("broken answer: %w", err)
	case response.StatusCode == http.StatusOK:
		return nil
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
		return errRefused
	default:
		return fmt.Errorf("answered %s: %s", response.Status, body)
	}
}

var (
	// errRefused is an answer that asks to send the request again.
	errRefused = errors.New("503 with Retry-After")
	// errNotConnected is a connection that was not made: nothing was sent.
	errNotConnected = errors.New("not connected")
)

// refused tells that a request was not begun: the client may send it again
// wherever it likes.
func refused(err error) bool {
	if errors.Is(err, errRefused) || errors.Is(err, errNotConnected) {
		return true
	}
	for _, sign := range []string{"connection refused", "GOAWAY", "server closed idle connection"} {
		if strings.Contains(err.Error(), sign) {
			return true
		}
	}
	return false
}

// firstUnready returns when a new connection first got "not ready".
func (e *env) firstUnready(t *testing.T) time.Time {
	t.Helper()
	config := rest.AnonymousClientConfig(e.g.RESTConfig())
	client := httpClient(t, config, "http/1.1")
	eventually(t, drainDelay+drainGrace, func(ctx context.Context) error {
		client.CloseIdleConnections()
		response, err := get(ctx, client, e.g.URL()+"/readyz")
		if err != nil {
			// Only a gateway that never said it may refuse before it has.
			t.Fatalf("readyz could not be asked before it failed: %v", err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable {
			return fmt.Errorf("readyz answers %s", response.Status)
		}
		return nil
	})
	return time.Now()
}

func (e *env) checkWatchEnds(t *testing.T, told time.Time, endings <-chan ending) {
	t.Helper()
	const count = 4 * watchesOfAKind
	var after []time.Duration
	for range count {
		select {
		case end := <-endings:
			if end.err != nil {
				t.Errorf("a watch did not end cleanly: %v", end.err)
			}
			after = append(after, end.when.Sub(told))
		case <-within(t, 10*time.Second).Done():
			t.Fatalf("%d of %d watches have ended", len(after), count)
		}
	}
	slices.Sort(after)
	if after[0] < drainDelay-100*time.Millisecond {
		t.Errorf("the first watch ended after %s, before the delay was over", after[0])
	}
	// They are told over half of the grace period; in no fifth of it may more than
	// 40 % of them end.
	most, window := 0, drainGrace/2/5
	for i := range after {
		end, _ := slices.BinarySearch(after, after[i]+window)
		most = max(most, end-i)
	}
	if most > count*2/5 {
		t.Errorf("%d of %d watches ended within %s", most, count, window)
	}
	t.Logf("watches ended after %s to %s, at most %d within %s", after[0].Round(time.Millisecond), after[count-1].Round(time.Millisecond), most, window)
}

// checkShortRequests checks that requests were answered or refused, never lost,
// and answered as long as readyz gave load balancers time to notice.
func (e *env) checkShortRequests(t *testing.T, told time.Time, results <-chan []ending) {
	t.Helper()
	answered, refusals := 0, 0
	for range cap(results) {
		for _, end := range <-results {
			switch after := end.when.Sub(told); {
			case end.err == nil:
				answered++
			case !refused(end.err):
				t.Errorf("a short request failed after %s: %v", after, end.err)
			case after < drainDelay-100*time.Millisecond:
				t.Errorf("a short request was refused after %s, before the delay was over: %v", after, end.err)
			default:
				refusals++
			}
		}
	}
	if answered < 100/slowdown || refusals == 0 {
		t.Errorf("%d short requests were answered and %d refused: not the load that was meant", answered, refusals)
	}
	t.Logf("short requests: %d answered, %d refused", answered, refusals)
}

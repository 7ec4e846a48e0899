package survival

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	// farAhead is a version that no test reaches.
	farAhead = 1_000_000_000
	// freshnessWait is for how long kube-apiserver waits to get to a version.
	freshnessWait = 3 * time.Second
	knownObject   = "known"
)

// futureReads ask for a version of which no server has heard yet. %d is the version,
// the rest of the path is behind the namespace.
var futureReads = []string{
	"configmaps/" + knownObject + "?resourceVersion=%d",
	"configmaps?resourceVersion=%d",
	"configmaps?resourceVersion=%d&resourceVersionMatch=NotOlderThan",
	"configmaps?resourceVersion=%d&resourceVersionMatch=Exact",
	"configmaps?resourceVersion=%d&limit=1",
	"configmaps?watch=true&resourceVersion=%d&timeoutSeconds=1",
	"configmaps?watch=true&resourceVersion=%d&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
}

// futureAnswer is what is compared of an answer.
type futureAnswer struct {
	code       int
	retryAfter string
	// body has its numbers masked: servers are not equally far.
	body string
	// waited tells that the server has waited for the version to come.
	waited bool
}

var numbers = regexp.MustCompile(`\d+`)

// TestFutureVersionsAreAnsweredAsByTheServer asks for versions that are ahead of every
// server, before, during and after a failover.
func TestFutureVersionsAreAnsweredAsByTheServer(t *testing.T) {
	e := setUp(t)
	_, err := e.direct.CoreV1().ConfigMaps(e.namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: knownObject}}, metav1.CreateOptions{})
	must(t, err)
	main, bypass := e.Servers(cluster.GroupMain)[0], e.Servers(cluster.GroupBypass)[0]
	e.compareFutureReads(t, "before", main)
	dead := []stricken{{e.servers()[0], killed}, {e.servers()[1], killed}}
	strike(t, dead)
	e.compareFutureReads(t, "while main is dead", bypass)
	mend(t, dead)
	e.compareFutureReads(t, "after", main)
}

func (e *env) compareFutureReads(t *testing.T, when, server string) {
	t.Helper()
	var asking sync.WaitGroup
	defer asking.Wait()
	for _, read := range futureReads {
		path := fmt.Sprintf("/api/v1/namespaces/%s/"+read, e.namespace, farAhead)
		asking.Go(func() {
			var got, want futureAnswer
			var both errgroup.Group
			both.Go(func() (err error) {
				want, err = futureRead(t.Context(), e.RESTConfig(server), path)
				return err
			})
			both.Go(func() (err error) {
				got, err = futureRead(t.Context(), e.gateways[0].RESTConfig(), path)
				return err
			})
			if err := both.Wait(); err != nil || got != want {
				t.Errorf("%s, %s: got %+v, directly %+v, error %v", when, path, got, want, err)
			}
			// That the comparison is about something: only a watch may begin.
			if isWatch := strings.Contains(path, "watch="); want.code != http.StatusGatewayTimeout && !isWatch {
				t.Errorf("%s, %s: the server itself says %+v", when, path, want)
			}
		})
	}
}

func futureRead(ctx context.Context, config *rest.Config, path string) (futureAnswer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return futureAnswer{}, err
	}
	began := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, nil)
	if err != nil {
		return futureAnswer{}, err
	}
	response, err := client.Do(r)
	if err != nil {
		return futureAnswer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return futureAnswer{
		response.StatusCode, response.Header.Get("Retry-After"), numbers.ReplaceAllString(string(body), "N"),
		time.Since(began) > freshnessWait*9/10,
	}, err
}

// TestReadsAreNeverOlderThanAsked has clients write, and read with the version that
// they were told or a later one, while servers fail: what they get is at least that,
// or an error.
func TestReadsAreNeverOlderThanAsked(t *testing.T) {
	const readers = 6
	e := setUp(t)
	random := fixture.Random(t)
	ctx, finish := context.WithCancel(t.Context())
	defer finish()
	var reading sync.WaitGroup
	defer reading.Wait()
	defer finish()
	count := &readCounters{kinds: map[string]int{}}
	for i := range readers {
		client := fixture.Clientset(t, e.gateways[0].RESTConfig())
		reading.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				e.readBack(ctx, t, client, fmt.Sprintf("reader-%d-%d", i, n), uint64(n%4), count)
			}
		})
	}
	rounds := 1
	if fixture.Soak() {
		rounds = 10
	}
	count.await(t, 20)
	for round := range rounds {
		victims := someOf(random, e.servers())
		if round == 0 {
			victims = failover{killed, allOfMain}.victims(random, e.servers())
		}
		strike(t, victims)
		count.await(t, 60)
		mend(t, victims)
		count.await(t, 60)
	}
	finish()
	reading.Wait()
	t.Logf("answers: %v", count.kinds)
}

// readCounters say what reads came to.
type readCounters struct {
	mu    sync.Mutex
	kinds map[string]int
}

func (c *readCounters) add(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds[kind]++
}

// await returns when each kind of read has had n more good answers.
func (c *readCounters) await(t *testing.T, n int) {
	t.Helper()
	before := map[string]int{}
	good := []string{"GET fresh", "LIST fresh", "WATCH fresh"}
	c.mu.Lock()
	for _, kind := range good {
		before[kind] = c.kinds[kind]
	}
	c.mu.Unlock()
	eventually(t, time.Minute, func(context.Context) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, kind := range good {
			if got := c.kinds[kind] - before[kind]; got < n {
				return fmt.Errorf("%d of %d %s", got, n, kind)
			}
		}
		return nil
	})
}

// readBack creates an object and reads it with a version that is some ahead of it.
func (e *env) readBack(ctx context.Context, t *testing.T, client *kubernetes.Clientset, name string, ahead uint64, count *readCounters) {
	created, err := client.CoreV1().ConfigMaps(e.namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"reader": name},
	}}, metav1.CreateOptions{})
	if err != nil {
		return
	}
	_, own, err := identify(created)
	if err != nil {
		t.Error(err)
		return
	}
	asked := own + ahead
	for kind, path := range map[string]string{
		"GET":   fmt.Sprintf("configmaps/%s?resourceVersion=%d", name, own),
		"LIST":  fmt.Sprintf("configmaps?labelSelector=reader=%s&resourceVersion=%d", name, asked),
		"WATCH": fmt.Sprintf("configmaps?labelSelector=reader=%s&resourceVersion=%d&watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=30", name, asked),
	} {
		config := e.gateways[0].RESTConfig()
		found, version, err := readVersion(ctx, config, fmt.Sprintf("/api/v1/namespaces/%s/%s", e.namespace, path))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			count.add(kind + " " + err.Error())
		case !found || version < own || (kind != "GET" && version < asked):
			t.Errorf("%s: found %t at version %d", path, found, version)
		default:
			count.add(kind + " fresh")
		}
	}
}

// readVersion reads an object by GET, LIST or a watch with initial events. It tells
// whether it is there and the version of the answer; the error is short.
func readVersion(ctx context.Context, config *rest.Config, path string) (found bool, version uint64, err error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return false, 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, nil)
	if err != nil {
		return false, 0, err
	}
	response, err := client.Do(r)
	if err != nil {
		return false, 0, err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError:
		var status metav1.Status
		_ = json.NewDecoder(response.Body).Decode(&status)
		return false, 0, fmt.Errorf("%d %s", response.StatusCode, numbers.ReplaceAllString(status.Message, "N"))
	case response.StatusCode != http.StatusOK:
		// Not found, for instance: that is an answer, and an old one.
		return false, 0, nil
	}
	return decodeVersion(json.NewDecoder(response.Body), strings.Contains(path, "watch="))
}

// decodeVersion reads an object, a list, or the initial events of a watch.
func decodeVersion(d *json.Decoder, isWatch bool) (found bool, version uint64, err error) {
	type object struct {
		metav1.ObjectMeta `json:"metadata"`
		Kind              string            `json:"kind"`
		Items             []json.RawMessage `json:"items"`
	}
	if !isWatch {
		var o object
		if err := d.Decode(&o); err != nil {
			return false, 0, err
		}
		version, err = strconv.ParseUint(o.ResourceVersion, 10, 64)
		return o.Kind == "ConfigMap" || len(o.Items) > 0, version, err
	}
	for {
		var event struct {
			Type   string `json:"type"`
			Object object `json:"object"`
		}
		if err := d.Decode(&event); err != nil {
			return false, 0, fmt.Errorf("a watch ended in its initial events: %w", err)
		}
		switch event.Type {
		case "ADDED":
			found = true
		case "BOOKMARK":
			version, err = strconv.ParseUint(event.Object.ResourceVersion, 10, 64)
			return found, version, err
		default:
			return false, 0, fmt.Errorf("event %s", event.Type)
		}
	}
}

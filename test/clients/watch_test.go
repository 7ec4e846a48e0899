package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// TestWatchListSendsStateBookmarkAndChanges asks for the initial state as
// informers do.
func TestWatchListSendsStateBookmarkAndChanges(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		const count = 30
		for i := range count {
			e.createConfigMap(t, fmt.Sprintf("state-%02d", i), "x")
		}
		yes, timeout := true, int64(60)
		w, err := e.via.CoreV1().ConfigMaps(e.namespace).Watch(t.Context(), metav1.ListOptions{
			LabelSelector: "suite=clients", SendInitialEvents: &yes, AllowWatchBookmarks: true,
			ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, TimeoutSeconds: &timeout,
		})
		must(t, err)
		defer w.Stop()
		ctx := within(t, 30*time.Second)
		seen := map[string]bool{}
		for len(seen) < count {
			event := nextEvent(ctx, t, w)
			object, ok := event.Object.(*corev1.ConfigMap)
			if event.Type != watch.Added || !ok || seen[object.Name] {
				t.Fatalf("in the initial state: %+v", event)
			}
			seen[object.Name] = true
		}
		end := nextEvent(ctx, t, w)
		if object, ok := end.Object.(*corev1.ConfigMap); end.Type != watch.Bookmark || !ok || object.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			t.Fatalf("after the initial state: %+v", end)
		}
		e.createConfigMap(t, "later", "x")
		for {
			event := nextEvent(ctx, t, w)
			if event.Type == watch.Bookmark {
				continue
			}
			if object := event.Object.(*corev1.ConfigMap); event.Type != watch.Added || object.Name != "later" {
				t.Fatalf("after the bookmark: %+v", event)
			}
			break
		}
	})
}

func nextEvent(ctx context.Context, t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case event, ok := <-w.ResultChan():
		if !ok || event.Type == watch.Error {
			t.Fatalf("the watch ended: %+v", event)
		}
		return event
	case <-ctx.Done():
		t.Fatal("no event came")
	}
	return watch.Event{}
}

// TestWatchEndsCleanlyAtItsTimeout reads watches to the end, in both protocols
// and encodings.
func TestWatchEndsCleanlyAtItsTimeout(t *testing.T) {
	const seconds = 2
	eachMode(t, func(t *testing.T, e *env) {
		for _, protocol := range []string{"h2", "http/1.1"} {
			for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf;stream=watch"} {
				t.Run(protocol+" "+accept, func(t *testing.T) {
					t.Parallel()
					client := httpClient(t, e.g.RESTConfig(), protocol)
					url := fmt.Sprintf("%s/api/v1/namespaces/%s/configmaps?watch=true&timeoutSeconds=%d", e.g.URL(), e.namespace, seconds)
					ctx := within(t, 30*time.Second)
					start := time.Now()
					response, err := get(ctx, client, url, "Accept", accept)
					must(t, err)
					defer response.Body.Close()
					if response.StatusCode != 200 || (response.ProtoMajor == 2) != (protocol == "h2") {
						t.Fatalf("%s %s", response.Proto, response.Status)
					}
					if _, err := io.Copy(io.Discard, response.Body); err != nil {
						t.Fatalf("no clean end: %v", err)
					}
					if took := time.Since(start); took < seconds*time.Second || took > 10*time.Second {
						t.Errorf("ended after %s, want %ds", took, seconds)
					}
				})
			}
		}
	})
}

// TestServerSideApplyByTypedClient applies as two managers.
func TestServerSideApplyByTypedClient(t *testing.T) {
	eachMode(t, func(t *testing.T, e *env) {
		objects := e.via.CoreV1().ConfigMaps(e.namespace)
		apply := func(manager, value string, force bool) (*corev1.ConfigMap, error) {
			object := applycorev1.ConfigMap("applied", e.namespace).WithData(map[string]string{"value": value, manager: "mine"})
			return objects.Apply(t.Context(), object, metav1.ApplyOptions{FieldManager: manager, Force: force})
		}
		_, err := apply("one", "1", false)
		must(t, err)
		if _, err := apply("two", "2", false); !apierrors.IsConflict(err) {
			t.Fatalf("a second manager got %v, want a conflict", err)
		}
		got, err := apply("two", "2", true)
		must(t, err)
		if got.Data["value"] != "2" || got.Data["one"] != "mine" || got.Data["two"] != "mine" || len(got.ManagedFields) != 2 {
			t.Errorf("after both: %v, managed by %d", got.Data, len(got.ManagedFields))
		}
		direct, err := e.direct.CoreV1().ConfigMaps(e.namespace).Get(t.Context(), "applied", metav1.GetOptions{})
		must(t, err)
		if direct.ResourceVersion != got.ResourceVersion {
			t.Errorf("the apiserver has %s, the answer said %s", direct.ResourceVersion, got.ResourceVersion)
		}
	})
}

// readJSONEvents reads a JSON watch to its end and returns the number of events.
// Anything but whole events and a clean end is an error.
func readJSONEvents(body io.Reader) (int, error) {
	reader := bufio.NewReader(body)
	for count := 0; ; count++ {
		line, err := reader.ReadBytes('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return count, nil
		case err != nil:
			return count, fmt.Errorf("after %d events and %d bytes: %w", count, len(line), err)
		}
		var event metav1.WatchEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return count, err
		}
		if event.Type == string(watch.Error) {
			return count, errors.New(string(event.Object.Raw))
		}
	}
}

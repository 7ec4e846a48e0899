package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeUpstream answers lists and watches of a few resources in JSON. What it does not
// know is not found.
type fakeUpstream struct {
	mu        sync.Mutex
	resources map[string]*fakeResource
	// open are the watches under way, by path.
	open map[string]int
	// slow has no watch begin with what there is.
	slow bool
	// passes has fences pass.
	passes bool
}

// fakeResource is a resource of a fakeUpstream.
type fakeResource struct {
	apiVersion, kind string
	custom           bool
	rv               int
	objects          map[string]string // by name
	watches          map[*feed]bool
}

func newFakeUpstream() *fakeUpstream {
	return &fakeUpstream{resources: map[string]*fakeResource{}, open: map[string]int{}}
}

// serve adds a resource without objects.
func (u *fakeUpstream) serve(path, apiVersion, kind string, custom bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.resources[path] = &fakeResource{apiVersion: apiVersion, kind: kind, custom: custom, rv: 100, objects: map[string]string{}, watches: map[*feed]bool{}}
}

// object is one as it stands in an event. Rest are the members behind the metadata,
// and metadata those that it has besides the usual ones.
func (r *fakeResource) object(name, rest, metadata string) string {
	head := fmt.Sprintf(`"apiVersion":%q,"kind":%q,`, r.apiVersion, r.kind)
	if !r.custom {
		head = fmt.Sprintf(`"kind":%q,"apiVersion":%q,`, r.kind, r.apiVersion)
	}
	if name != "" {
		metadata += fmt.Sprintf(`"name":%q,"namespace":"a",`, name)
	}
	return fmt.Sprintf(`{%s"metadata":{%s"resourceVersion":"%d"}%s}`, head, metadata, r.rv, rest)
}

// put creates or changes an object.
func (u *fakeUpstream) put(path, name, rest, metadata string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.resources[path]
	r.rv++
	event := "MODIFIED"
	if _, ok := r.objects[name]; !ok {
		event = "ADDED"
	}
	r.objects[name] = r.object(name, rest, metadata)
	r.send(event, r.objects[name])
}

// elsewhere is a write to something else, which no watch of the resource tells.
func (u *fakeUpstream) elsewhere(path string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.resources[path].rv++
}

// remove deletes an object.
func (u *fakeUpstream) remove(path, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.resources[path]
	r.rv++
	delete(r.objects, name)
	r.send("DELETED", r.object(name, "", ""))
}

func (r *fakeResource) send(event, object string) {
	for w := range r.watches {
		fmt.Fprintf(w, "{\"type\":%q,\"object\":%s}\n", event, object)
	}
}

// watching is how many watches of a path are under way.
func (u *fakeUpstream) watching(path string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open[path]
}

// RoundTrip implements http.RoundTripper.
func (u *fakeUpstream) RoundTrip(request *http.Request) (*http.Response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	path, query := request.URL.Path, request.URL.Query()
	r := u.resources[strings.Replace(path, "/namespaces/default", "", 1)]
	if r == nil {
		const status = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"not found","reason":"NotFound","code":404}`
		return &http.Response{StatusCode: http.StatusNotFound, Body: io.NopCloser(strings.NewReader(status))}, nil
	}
	if query.Get("watch") == "" {
		// A probe: there is nothing of that name.
		list := fmt.Sprintf(`{"apiVersion":%q,"items":[],"kind":"%sList","metadata":{"continue":"","resourceVersion":"%d"}}`+"\n", r.apiVersion, r.kind, r.rv)
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(list))}, nil
	}
	f := newFeed()
	if query.Get("sendInitialEvents") == "true" && !u.slow {
		for _, name := range slices.Sorted(maps.Keys(r.objects)) {
			fmt.Fprintf(f, "{\"type\":\"ADDED\",\"object\":%s}\n", r.objects[name])
		}
		fmt.Fprintf(f, "{\"type\":\"BOOKMARK\",\"object\":%s}\n", r.object("", "", `"annotations":{"k8s.io/initial-events-end":"true"},`))
	}
	if query.Get("timeoutSeconds") == strconv.Itoa(fenceSeconds) && u.passes {
		fmt.Fprintf(f, "{\"type\":\"BOOKMARK\",\"object\":%s}\n", r.object("", "", ""))
	}
	r.watches[f] = true
	u.open[path]++
	context.AfterFunc(request.Context(), func() {
		f.end(request.Context().Err())
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(r.watches, f)
		u.open[path]--
	})
	return &http.Response{StatusCode: http.StatusOK, Body: f}, nil
}

// feed is a body to which is written while it is read.
type feed struct {
	mu      sync.Mutex
	changed *sync.Cond
	buffer  bytes.Buffer
	err     error
}

func newFeed() *feed {
	f := &feed{}
	f.changed = sync.NewCond(&f.mu)
	return f
}

func (f *feed) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.changed.Broadcast()
	return f.buffer.Write(b)
}

func (f *feed) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.buffer.Len() == 0 && f.err == nil {
		f.changed.Wait()
	}
	if f.buffer.Len() > 0 {
		return f.buffer.Read(b)
	}
	return 0, f.err
}

func (f *feed) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.changed.Broadcast()
}

func (f *feed) Close() error {
	f.end(io.ErrClosedPipe)
	return nil
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in 20 s: %s", what)
		}
		goruntime.Gosched()
	}
}

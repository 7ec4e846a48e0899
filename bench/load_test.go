package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// objects is a server that holds what is written to it, as strictly as a
// kube-apiserver does.
type objects struct {
	mu     sync.Mutex
	names  map[string]bool
	writes map[string]int
}

var written = regexp.MustCompile(`"name":"([\w-]+)"`)

func (o *objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes[r.Method]++
	name := path.Base(r.URL.Path)
	if r.Method == http.MethodPost {
		name = string(written.FindSubmatch(body)[1])
	}
	switch exists := o.names[name]; {
	case exists == (r.Method == http.MethodPost):
		http.Error(w, "", http.StatusConflict)
	case r.Method == http.MethodDelete:
		delete(o.names, name)
	default:
		o.names[name] = true
	}
}

func TestWritersEndWhatTheyBegin(t *testing.T) {
	o := &objects{names: map[string]bool{}, writes: map[string]int{}}
	server := httptest.NewServer(o)
	defer server.Close()
	clients := []*http.Client{server.Client(), server.Client(), server.Client()}
	for range 2 {
		latencies, err := writes(100, 31).run(t.Context(), clients, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(latencies) != 24 {
			t.Errorf("%d requests, want 8 of each of 3 clients", len(latencies))
		}
	}
	if len(o.names) != 0 {
		t.Errorf("left behind: %v", o.names)
	}
	for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete} {
		if o.writes[method] != 12 {
			t.Errorf("%d of %s, want 12", o.writes[method], method)
		}
	}
}

func TestFailedRequestsEndARound(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	if _, err := gets("/x", 8).run(t.Context(), []*http.Client{server.Client()}, server.URL, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error %v, want one that tells 404", err)
	}
}

func TestPagesAreReadOneBehindTheOther(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("continue"))
		token := ""
		if len(asked) < 3 {
			token = fmt.Sprintf(`"continue":"t%d",`, len(asked))
		}
		fmt.Fprintf(w, `{"kind":"PodList","metadata":{%s"resourceVersion":"1"},"items":[%q]}`, token, strings.Repeat("x", 2*tokenWithin))
	}))
	defer server.Close()
	if _, err := readPages(t.Context(), server.Client(), server.URL, 3); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(asked); got != "[ t1 t2]" {
		t.Errorf("asked for %s", got)
	}
	if _, err := readPages(t.Context(), server.Client(), server.URL, 2); err == nil {
		t.Error("no error of a list that ends too early")
	}
}

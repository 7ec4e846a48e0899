package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"sync"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// The floor is what nobody in Go can be cheaper than: net/http with TLS and HTTP/2
// that sends bytes which it holds, to whoever asks. It runs as a process of its
// own, so that its CPU time is known.

// startFloor runs this program again as the floor.
func startFloor(ctx context.Context, c *cluster.Cluster) (*cluster.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := fixture.FreePorts(1)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := c.GatewayServingFiles()
	address := "https://127.0.0.1:" + ports[0]
	p, err := c.Add(cluster.Spec{
		Name: "floor", Path: self, Args: []string{"floor", "-listen", "127.0.0.1:" + ports[0], "-cert", certFile, "-key", keyFile},
		URL: address, Ready: cluster.Probe{URL: address + "/livez", CAFile: c.CAFile()},
	})
	if err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

func serveFloor(args []string) error {
	f := flag.NewFlagSet("floor", flag.ContinueOnError)
	listen, certFile, keyFile := f.String("listen", "", ""), f.String("cert", "", ""), f.String("key", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	return (&http.Server{Addr: *listen, Handler: newFloor()}).ListenAndServeTLS(*certFile, *keyFile)
}

// floor answers a GET with what was PUT for the same path and headers, and sends
// what is POSTed to everybody who watches.
type floor struct {
	mu       sync.RWMutex
	answers  map[ask]answer
	watchers map[chan []byte]struct{}
}

type answer struct {
	header http.Header
	body   []byte
}

// floorWatch is the path of watches, and of what they are sent.
const floorWatch = "/watch"

func newFloor() *floor {
	return &floor{answers: map[ask]answer{}, watchers: map[chan []byte]struct{}{}}
}

// ServeHTTP implements http.Handler.
func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/livez":
	case r.Method == http.MethodPut:
		f.put(w, r)
	case r.Method == http.MethodPost:
		f.post(w, r)
	case r.URL.Path == floorWatch:
		f.watch(w, r)
	default:
		f.get(w, r)
	}
}

func asked(r *http.Request) ask {
	return ask{r.URL.RequestURI(), r.Header.Get("Accept"), r.Header.Get("Accept-Encoding")}
}

func (f *floor) get(w http.ResponseWriter, r *http.Request) {
	f.mu.RLock()
	a, ok := f.answers[asked(r)]
	f.mu.RUnlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	for name, values := range a.header {
		header[name] = values
	}
	_, _ = w.Write(a.body)
}

func (f *floor) put(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := io.Copy(&body, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := answer{header: http.Header{}, body: bytes.Clone(body.Bytes())}
	for _, name := range answerHeaders {
		if values := r.Header[name]; values != nil {
			a.header[name] = values
		}
	}
	f.mu.Lock()
	f.answers[asked(r)] = a
	f.mu.Unlock()
	body = bytes.Buffer{}
	debug.FreeOSMemory()
}

// answerHeaders belong to what was captured.
var answerHeaders = []string{"Content-Type", "Content-Encoding"}

// watchQueue is how many frames a watch may be behind.
const watchQueue = 64

func (f *floor) watch(w http.ResponseWriter, r *http.Request) {
	frames := make(chan []byte, watchQueue)
	f.mu.Lock()
	f.watchers[frames] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, frames)
	}()
	client := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	if client.Flush() != nil {
		return
	}
	for {
		select {
		case frame := <-frames:
			if _, err := w.Write(frame); err != nil || client.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (f *floor) post(w http.ResponseWriter, r *http.Request) {
	frame, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for watcher := range f.watchers {
		select {
		case watcher <- frame:
		default:
			http.Error(w, "a watch does not keep up", http.StatusServiceUnavailable)
			return
		}
	}
}

// teach has the floor give the answer that another server gives, and returns its
// length.
func teach(ctx context.Context, client *http.Client, from, floorURL string, a ask) (int64, error) {
	response, err := a.send(ctx, client, from)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	counted := &counter{r: response.Body}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, floorURL+a.path, counted)
	if err != nil {
		return 0, err
	}
	a.header(request.Header)
	for _, name := range answerHeaders {
		if values := response.Header[name]; values != nil {
			request.Header[name] = values
		}
	}
	err = expectOK(client.Do(request))
	return counted.n, err
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// emit has the floor send a frame to everybody who watches.
func emit(ctx context.Context, client *http.Client, floorURL string, frame []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, floorURL+floorWatch, bytes.NewReader(frame))
	if err != nil {
		return err
	}
	return expectOK(client.Do(request))
}

func expectOK(response *http.Response, err error) error {
	return expectStatus(http.StatusOK)(response, err)
}

func expectStatus(code int) func(*http.Response, error) error {
	return func(response *http.Response, err error) error {
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != code {
			body, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
			return fmt.Errorf("%s %s: %s: %s", response.Request.Method, response.Request.URL, response.Status, body)
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
}

package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// deafClient reads nothing: writes and flushes end at their deadline.
type deafClient struct {
	*httptest.ResponseRecorder
	blocked chan struct{}
	cutOff  func()
	ended   chan struct{}
}

func newDeafClient() *deafClient {
	d := &deafClient{ResponseRecorder: httptest.NewRecorder(), blocked: make(chan struct{}), ended: make(chan struct{})}
	d.cutOff = sync.OnceFunc(func() { close(d.ended) })
	return d
}

func (d *deafClient) block() error {
	close(d.blocked)
	<-d.ended
	return io.ErrClosedPipe
}

func (d *deafClient) Write([]byte) (int, error) { return 0, d.block() }
func (d *deafClient) FlushError() error         { return d.block() }

func (d *deafClient) SetWriteDeadline(time.Time) error {
	d.cutOff()
	return nil
}

// TestOwnAPIIsNotHeldByClientsThatDoNotRead: they would keep their places in its
// limits.
func TestOwnAPIIsNotHeldByClientsThatDoNotRead(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"write": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "{}") },
		"flush": func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newTestFlights()
			w := newDeafClient()
			// A test that fails leaves nobody behind.
			defer w.cutOff()
			r := httptest.NewRequest(http.MethodGet, ownGroupPath, nil)
			r = r.WithContext(request.WithAttributes(r.Context(), &request.Attributes{}))
			served := make(chan struct{})
			go func() {
				defer close(served)
				serveOwn(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }), nil, f)
			}()
			<-w.blocked
			f.sweep(time.Now().Add(f.stall + time.Minute))
			select {
			case <-served:
			case <-time.After(10 * time.Second):
				t.Fatal("the handler is held as long as the client likes")
			}
		})
	}
}

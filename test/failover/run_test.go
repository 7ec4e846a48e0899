package failover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/test/failover/traffic"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// theEnd is the object that watches wait for.
const theEnd = "the-end"

// run is traffic under way, sent by a process of its own.
type run struct {
	process *exec.Cmd
	input   io.Closer
	done    chan error

	mu      sync.Mutex
	results []traffic.Result
	watched []traffic.Watched
}

// send begins to send what is planned, as the administrator.
func (e *env) send(t *testing.T, plan traffic.Plan) *run {
	t.Helper()
	plan.CAFile = e.CAFile()
	plan.CertFile, plan.KeyFile = e.AdminFiles()
	encoded, err := json.Marshal(plan)
	must(t, err)
	r := &run{process: exec.Command(fixture.Shared(t, sender)), done: make(chan error, 1)}
	r.process.Stderr = os.Stderr
	input, err := r.process.StdinPipe()
	must(t, err)
	output, err := r.process.StdoutPipe()
	must(t, err)
	r.input = input
	must(t, r.process.Start())
	t.Cleanup(func() { _ = r.process.Process.Kill() })
	go func() { r.done <- errors.Join(r.note(output), r.process.Wait()) }()
	_, err = input.Write(append(encoded, '\n'))
	must(t, err)
	return r
}

// note collects what the process tells.
func (r *run) note(output io.Reader) error {
	decoder := json.NewDecoder(output)
	for {
		var line traffic.Line
		if err := decoder.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading what became of the traffic: %w", err)
		}
		r.mu.Lock()
		if line.Result != nil {
			r.results = append(r.results, *line.Result)
		}
		if line.Watched != nil {
			r.watched = append(r.watched, *line.Watched)
		}
		r.mu.Unlock()
	}
}

// stop ends the traffic and returns what became of it. Watches are to see the end
// of the test's namespace first.
func (e *env) stop(t *testing.T, r *run) ([]traffic.Result, []traffic.Watched) {
	t.Helper()
	_, err := e.direct(t).CoreV1().ConfigMaps(e.namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: theEnd}}, metav1.CreateOptions{})
	must(t, err)
	must(t, r.input.Close())
	select {
	case err := <-r.done:
		must(t, err)
	case <-within(t, time.Minute).Done():
		t.Fatal("the traffic does not end")
	}
	return r.results, r.watched
}

// await waits until n more requests of a stream have succeeded.
func (r *run) await(t *testing.T, stream string, n int) {
	t.Helper()
	count := func() (count int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, result := range r.results {
			if result.Stream == stream && result.OK() {
				count++
			}
		}
		return count
	}
	n += count()
	eventually(t, 30*time.Second, func(context.Context) error {
		if got := count(); got < n {
			return fmt.Errorf("%d of %d requests of %q have succeeded", got, n, stream)
		}
		return nil
	})
}

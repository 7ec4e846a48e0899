package cache

import (
	"cmp"
	"errors"
	"io"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
)

// maxReported bounds an error in a state, in bytes.
const maxReported = 512

// monitor stands before a sink and notes how well upstream is followed, for people.
type monitor struct {
	upstream.Sink
	clock clock.PassiveClock

	mu        sync.Mutex
	ready     bool
	since     time.Time
	following bool
	failure   string
	failedAt  time.Time
}

func newMonitor(sink upstream.Sink, clock clock.PassiveClock) *monitor {
	return &monitor{Sink: sink, clock: clock, since: clock.Now()}
}

// Complete implements upstream.Sink.
func (m *monitor) Complete(resourceVersion uint64) error {
	err := m.Sink.Complete(resourceVersion)
	if err == nil {
		m.turn(true)
	}
	return err
}

// Abandon implements upstream.Sink.
func (m *monitor) Abandon(err error) {
	m.Sink.Abandon(err)
	m.failed(err)
	m.turn(false)
}

// Connected implements upstream.Sink.
func (m *monitor) Connected() {
	m.Sink.Connected()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.following = true
}

// Disconnected implements upstream.Sink.
func (m *monitor) Disconnected(err error) {
	m.Sink.Disconnected(err)
	m.failed(err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.following = false
}

func (m *monitor) turn(ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready != ready {
		m.ready, m.since = ready, m.clock.Now()
	}
}

// starting tells that upstream is being read for the first time, and nothing is known
// to be wrong with that.
func (m *monitor) starting(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.ready && m.failure == "" && now.Sub(m.since) < startFor
}

// failed notes an error. That a watch has lasted as long as it was asked to is none.
func (m *monitor) failed(err error) {
	if err == nil || errors.Is(err, io.EOF) {
		return
	}
	text := cmp.Or(err.Error(), "no reason was told")
	if len(text) > maxReported {
		text = text[:maxReported] + "..."
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure, m.failedAt = text, m.clock.Now()
}

// state fills in what the monitor knows.
func (m *monitor) state(e *v1alpha1.CachedEncoding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Since, e.Following, e.LastError = metav1.NewTime(m.since), m.following, m.failure
	if m.failure != "" {
		at := metav1.NewTime(m.failedAt)
		e.LastErrorAt = &at
	}
}

package alerts

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

type counters map[string]v1alpha1.LimitCounters

func (c counters) LiveAll() map[string]v1alpha1.LimitCounters { return c }

func (c counters) UID(name string) types.UID { return types.UID("uid of " + name) }

// objects notes what Events are about.
type objects struct {
	record.EventRecorder
	seen []corev1.ObjectReference
}

func (o *objects) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	o.seen = append(o.seen, *object.(*corev1.ObjectReference))
	o.EventRecorder.Eventf(object, kind, reason, format, args...)
}

func TestOnlySustainedRefusalsAreTold(t *testing.T) {
	limits := counters{}
	recorder := record.NewFakeRecorder(100)
	about := &objects{EventRecorder: recorder}
	w := New(limits, about, clocktesting.NewFakeClock(time.Now()), zap.NewNop(), prometheus.NewRegistry())
	refuse := func(name string, n int64) {
		c := limits[name]
		c.Refused += n
		limits[name] = c
	}
	events := func() (n int) {
		for {
			select {
			case e := <-recorder.Events:
				if !strings.Contains(e, "Warning SustainedRefusals") {
					t.Errorf("event %q", e)
				}
				n++
			default:
				return n
			}
		}
	}
	refuse("old", 1000) // before the gateway looked for the first time
	refuse("steady", 0)
	refuse("pausing", 0)
	w.look()
	for i := range 5 {
		refuse("steady", 7)
		if i%3 != 0 {
			refuse("pausing", 100)
		}
		w.look()
	}
	if n := events(); n != 0 {
		t.Fatalf("%d events in the first 50 s", n)
	}
	refuse("steady", 7)
	w.look()
	if n := events(); n != 1 || testutil.ToFloat64(w.gauge.WithLabelValues("steady")) != 1 {
		t.Errorf("%d events after a minute", n)
	}
	// As kubectl describe looks for it.
	want := corev1.ObjectReference{APIVersion: "gateway.asi.io/v1alpha1", Kind: "RateLimit", Name: "steady", UID: "uid of steady"}
	if len(about.seen) != 1 || about.seen[0] != want {
		t.Errorf("the Event is about %+v, want %+v", about.seen, want)
	}
	for range repeat {
		refuse("steady", 1)
		w.look()
	}
	if n := events(); n != 1 {
		t.Errorf("%d events in the next ten minutes", n)
	}
	w.look()
	if testutil.ToFloat64(w.gauge.WithLabelValues("steady")) != 0 {
		t.Error("the metric stays")
	}
	delete(limits, "steady")
	w.look()
	if n := testutil.CollectAndCount(w.gauge); n != 0 {
		t.Errorf("%d series of limits that are gone", n)
	}
}

package flows

import (
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

func attributes(t testing.TB, target, userAgent string) *request.Attributes {
	t.Helper()
	r := httptest.NewRequest("GET", target, nil)
	r.Header.Set("User-Agent", userAgent)
	a, err := request.NewParser().Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestFlowIsSummedUp(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	r := NewRecorder(clock)
	a := attributes(t, "/api/v1/pods?resourceVersion=0", "operator/v1")
	// 100 in one second, then 5 a second for a minute.
	for range 100 {
		r.Arrived(a).Finished(clock.Now(), 10*time.Millisecond, 1000, false)
	}
	for range 60 {
		clock.Step(time.Second)
		for i := range 5 {
			r.Arrived(a).Finished(clock.Now(), time.Millisecond, 1000, i == 0)
		}
	}
	clock.Step(time.Second)
	all := r.All()
	if len(all) != 1 || all[0].Key.Client != "operator" || all[0].Key.Resource != "pods" || all[0].Key.Shape != "RV0" {
		t.Fatalf("flows %+v", all)
	}
	s := all[0].Stats(clock.Now())
	if s.Requests != 400 || s.Refused != 60 || s.Peak != 100 || s.PerSecond != 5 || s.Sustained != 14.5 || s.BytesPerRequest != 1000 {
		t.Errorf("%+v", s)
	}
	if s.P99 < 10*time.Millisecond || s.P99 > 20*time.Millisecond {
		t.Errorf("p99 %s", s.P99)
	}
	if counts := all[0].Seconds(clock.Now()); counts[hour-1] != 5 || counts[hour-61] != 100 {
		t.Errorf("seconds %d, %d", counts[hour-1], counts[hour-61])
	}

	clock.Step(30 * time.Minute)
	if s := all[0].Stats(clock.Now()); s.Requests != 400 || s.PerSecond != 0 || s.Refused != 60 {
		t.Errorf("half an hour later %+v", s)
	}
	clock.Step(time.Hour)
	if s := all[0].Stats(clock.Now()); s.Requests != 0 || s.Refused != 0 {
		t.Errorf("an hour later %+v", s)
	}
	if len(r.All()) != 0 {
		t.Error("a flow without requests is shown")
	}
}

func TestMinutesOfAnEarlierHourAreNotCounted(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	r := NewRecorder(clock)
	a := attributes(t, "/version", "x")
	for range 5 {
		r.Arrived(a)
		clock.Step(50 * time.Minute)
	}
	if s := r.All()[0].Stats(clock.Now()); s.Requests != 1 {
		t.Errorf("%d requests in the last hour", s.Requests)
	}
}

// TestManyFlowsStayInsideTheBound sends a million client names.
func TestManyFlowsStayInsideTheBound(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1_800_000_000, 0))
	r := NewRecorder(clock)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	a := attributes(t, "/api/v1/pods", "x")
	long := strings.Repeat("x", 500)
	for i := range 1_000_000 {
		if i%1000 == 0 {
			clock.Step(time.Second)
		}
		a.ClientName = fmt.Sprintf("%06d-%s", i, long)
		r.Arrived(a).Finished(clock.Now(), 0, 0, false)
	}
	clock.Step(time.Second)
	if grown := int64(heap() - before); grown > 18<<20 {
		t.Errorf("grew by %d KiB", grown>>10)
	}
	all := r.All()
	if len(all) > maxFlows+1 {
		t.Errorf("%d flows", len(all))
	}
	total := uint64(0)
	for _, f := range all {
		total += f.Stats(clock.Now()).Requests
	}
	if total != 1_000_000 {
		t.Errorf("%d requests counted", total)
	}
	// An hour later the places are free again.
	clock.Step(2 * time.Hour)
	a.ClientName = "fresh"
	if f := r.Arrived(a); f == r.rest {
		t.Error("an old flow keeps a new one out")
	}
}

func BenchmarkArrived(b *testing.B) {
	r := NewRecorder(clocktesting.NewFakePassiveClock(time.Now()))
	a := attributes(b, "/api/v1/namespaces/default/pods/a", "kubelet/v1.37")
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r.Arrived(a).Finished(time.Time{}, time.Millisecond, 100, false)
		}
	})
}

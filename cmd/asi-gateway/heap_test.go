package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestHeapHasRoomToGrow(t *testing.T) {
	const mb = 1 << 20
	for _, tc := range []struct {
		live     uint64
		min, max int
	}{
		{0, 6400, 6400},
		{16 * mb, 400, 400},
		{64 * mb, 100, 100},
		{256 * mb, 34, 35},
		{1024 * mb, 34, 35},
		{4096 * mb, 12, 13},
		{1 << 40, 1, 1},
	} {
		if got := heapPercent(tc.live); got < tc.min || got > tc.max {
			t.Errorf("%d MB in use: GOGC %d, want %d to %d", tc.live/mb, got, tc.min, tc.max)
		}
	}
}

func TestHeapRoomFollowsWhatIsInUse(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	t.Setenv("GOGC", "")
	keepHeapRoom(t.Context())
	check := func(what string, fits func(percent uint64) bool) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			// Each collection has the next one's room set when it is over.
			runtime.GC()
			percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
			metrics.Read(percent)
			if got := percent[0].Value.Uint64(); fits(got) {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("%s: GOGC is %d", what, got)
			}
			runtime.Gosched()
		}
	}
	check("little in use", func(percent uint64) bool { return percent > 200 })
	held := make([]byte, 512<<20)
	check("much in use", func(percent uint64) bool { return percent < 45 })
	runtime.KeepAlive(held)
	check("little again", func(percent uint64) bool { return percent > 200 })
}

func TestHeapRoomOfAnOperatorIsLeftAlone(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(77))
	t.Setenv("GOGC", "77")
	keepHeapRoom(t.Context())
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("GOGC became %d", got)
	}
}

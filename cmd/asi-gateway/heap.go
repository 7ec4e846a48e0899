package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	// heapRoomMin and heapRoomMax bound by how much the heap may grow until the garbage
	// is collected, in bytes; between them it is heapShare of what is in use.
	//
	// The Go runtime collects whenever the heap has doubled. For a gateway that
	// forwards, which holds 20 MB, that is a collection for each few thousand requests;
	// one whose cache holds a gigabyte would take a second one for garbage.
	heapRoomMin = 64 << 20
	heapRoomMax = 512 << 20
	heapShare   = 0.35
)

// heapPercent is GOGC for a heap in which that many bytes are in use.
func heapPercent(live uint64) int {
	room := min(max(uint64(heapShare*float64(live)), heapRoomMin), heapRoomMax)
	return int(max(100*room/max(live, 1<<20), 1))
}

// keepHeapRoom sets GOGC after each collection, until ctx ends. An operator who has
// set it himself is left alone.
func keepHeapRoom(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	var before atomic.Int64
	var collected func(*sentinel)
	collected = func(*sentinel) {
		if ctx.Err() != nil {
			return
		}
		percent := heapPercent(liveHeap())
		// To set it stops the world for some microseconds.
		if was := int(before.Load()); percent < was-was/8 || percent > was+was/8 {
			before.Store(int64(percent))
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(&sentinel{}, collected)
	}
	collected(nil)
}

// sentinel is what nobody uses: it is finalized after the next collection.
type sentinel struct{ _ *byte }

// liveHeap is what the last collection has found in use, in bytes.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

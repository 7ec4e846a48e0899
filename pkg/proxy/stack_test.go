package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// stages is about as deep as the chain: so many of them, each with a frame of some
// hundred bytes, and behind them what needs a few thousand.
const stages = 20

func deep(n int) http.Handler {
	if n == 0 {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { frame(0) })
	}
	next := deep(n - 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var local [128]byte
		local[n]++
		next.ServeHTTP(w, r)
		local[n]++
	})
}

//go:noinline
func frame(i uint8) byte {
	var room [3 << 10]byte
	return room[i]
}

func BenchmarkRequestOnANewGoroutine(b *testing.B) {
	request := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
	for name, handler := range map[string]http.Handler{"stack that grows": deep(stages), "WithStack": WithStack(deep(stages))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			done := make(chan struct{})
			for b.Loop() {
				go func() {
					handler.ServeHTTP(nil, request)
					done <- struct{}{}
				}()
				<-done
			}
		})
	}
}

package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestAccessLogIsSampledButForWhatFailedOrTookLong sends requests of all kinds to a
// gateway that logs one of ten.
func TestAccessLogIsSampledButForWhatFailedOrTookLong(t *testing.T) {
	const every = 10
	for _, test := range []struct {
		name, path string
		code       int
		took       time.Duration
		// Of 100 requests so many lines.
		want int
	}{
		{"answered", "/api/v1/namespaces/a/pods/b", http.StatusOK, time.Millisecond, 100 / every},
		{"not found", "/api/v1/namespaces/a/pods/b", http.StatusNotFound, time.Millisecond, 100 / every},
		{"just within the objective", "/api/v1/namespaces/a/pods/b", http.StatusOK, slowRequest, 100 / every},
		{"a watch, which takes as long as it likes", "/api/v1/pods?watch=true", http.StatusOK, time.Hour, 100 / every},
		{"failed", "/api/v1/namespaces/a/pods/b", http.StatusInternalServerError, time.Millisecond, 100},
		{"overloaded", "/api/v1/namespaces/a/pods/b", http.StatusServiceUnavailable, time.Millisecond, 100},
		{"slow", "/api/v1/namespaces/a/pods/b", http.StatusOK, slowRequest + time.Millisecond, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
			core, logs := observer.New(zapcore.InfoLevel)
			server, _ := serverBefore(t, func(w http.ResponseWriter, _ *http.Request) {
				clock.Step(test.took)
				w.WriteHeader(test.code)
			}, func(o *Options) { o.Log, o.Clock, o.AccessLogEvery = zap.New(core), clock, every })
			gateway := serveChain(t, server)
			for range 100 {
				response, _, err := send(t, gateway, http.MethodGet, test.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != test.code {
					t.Fatalf("answered %s", response.Status)
				}
			}
			lines := logs.FilterLoggerName("access").All()
			if len(lines) != test.want {
				t.Errorf("%d lines for 100 requests, want %d", len(lines), test.want)
			}
			for _, line := range lines {
				fields := line.ContextMap()
				if fields["code"] != int64(test.code) || fields["took"] != test.took || !strings.HasPrefix(test.path, fields["path"].(string)) {
					t.Fatalf("it says %v", fields)
				}
			}
		})
	}
}

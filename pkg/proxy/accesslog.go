package proxy

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/flows"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// slowRequest is from when on a request is always logged: the service level
// objective of Kubernetes for calls on single objects.
const slowRequest = time.Second

// accessLog writes a line for one of every so many requests, and for every
// answer that failed or took long.
type accessLog struct {
	log   *zap.Logger
	every uint64 // 0 logs none, 1 all
	count atomic.Uint64
}

func (l *accessLog) wants(code int, slow bool) bool {
	if l.every == 0 {
		return false
	}
	return l.count.Add(1)%l.every == 0 || code >= http.StatusInternalServerError || slow
}

// logLine has room for all that may be said of a request.
type logLine [14]zap.Field

var logLines = sync.Pool{New: func() any { return new(logLine) }}

// WithAccessLog logs and counts requests when they end. The query is left out:
// the command line of an exec stands there, and people put secrets into it.
func WithAccessLog(next http.Handler, l *accessLog, m *metrics, clock clock.PassiveClock) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := clock.Now()
		record := &responseRecord{ResponseWriter: w}
		defer func() {
			took := clock.Since(start)
			a := record.attributes
			m.finished(a, record.code, took)
			if record.flow != nil {
				answered := took
				if a.LongRunning {
					answered = -1
				}
				record.flow.Finished(start, answered, record.bytes, record.refusedBy != "")
			}
			if !l.wants(record.code, took > slowRequest && (a == nil || !a.LongRunning)) {
				return
			}
			line := logLines.Get().(*logLine)
			fields := append(line[:0],
				zap.String("method", r.Method),
				zap.String("path", r.URL.Path),
				zap.Int("code", record.code),
				zap.Duration("took", took),
				zap.Int64("bytes", record.bytes),
				zap.String("remote", r.RemoteAddr),
				zap.String("auditID", record.Header().Get(auditIDHeader)),
			)
			if a != nil {
				fields = append(fields, zap.String("verb", a.Verb), zap.String("client", a.ClientName))
				if a.Shape != "" {
					fields = append(fields, zap.String("shape", string(a.Shape)))
				}
				if a.Class != "" {
					fields = append(fields, zap.String("class", a.Class))
				}
				if record.refusedBy != "" {
					fields = append(fields, zap.String("refusedBy", record.refusedBy))
				}
				if a.Identity != nil {
					fields = append(fields, zap.String("user", a.Identity.GetName()))
				}
			}
			if parent := r.Header["Traceparent"]; len(parent) == 1 {
				fields = append(fields, zap.String("traceparent", parent[0]))
			}
			l.log.Info("request", fields...)
			clear(line[:])
			logLines.Put(line)
		}()
		next.ServeHTTP(record, r)
	})
}

// responseRecord notes what was answered. Flush and deadlines reach the
// connection through Unwrap (see http.ResponseController).
type responseRecord struct {
	http.ResponseWriter
	code  int // 0 until something is answered
	bytes int64
	// flow is what the request is counted in, if it is.
	flow *flows.Flow
	// refusedBy is the policy that refused the request.
	refusedBy string
	// attributes are those of the request, once a later stage has computed them.
	attributes *request.Attributes
}

func (w *responseRecord) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseRecord) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *responseRecord) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

func (w *responseRecord) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.code = http.StatusSwitchingProtocols
	}
	return conn, buffered, err
}

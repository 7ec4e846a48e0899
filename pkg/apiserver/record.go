package apiserver

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/runtime"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// record is what the log wants to know of a request. A handler that has been
// given up may still write to it.
type record struct {
	mu sync.Mutex
	// names are the objects that a write was about, bounded.
	names  []string
	more   int
	effect []zap.Field
	// effective is who the client acts as.
	effective string
	review    error
}

const maxNames = 10

// clip bounds what a client puts into the log: this is before validation.
func clip(s string) string {
	const limit = 256
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

type recordKey struct{}

func recordFrom(ctx context.Context) *record {
	r, _ := ctx.Value(recordKey{}).(*record)
	return r
}

// note tells the log which object a write is about.
func note(ctx context.Context, o runtime.Object) {
	r := recordFrom(ctx)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name := clip(accessor(o).GetName())
	switch {
	case len(r.names) > 0 && r.names[len(r.names)-1] == name:
		// An update that was tried again.
	case len(r.names) < maxNames:
		r.names = append(r.names, name)
	default:
		r.more++
	}
	if s, ok := o.(*v1alpha1.Switch); ok {
		r.effect = []zap.Field{zap.String("type", clip(string(s.Spec.Type))), zap.String("reason", clip(s.Spec.Reason))}
		if s.Status.ExpiresAt != nil {
			r.effect = append(r.effect, zap.Time("expiresAt", s.Status.ExpiresAt.Time))
		}
	}
}

func (r *record) reviewFailed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.review = err
}

func (r *record) failedReview() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.review
}

// withRecord logs every write: who did what, and what came of it.
func withRecord(next http.Handler, log *zap.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := req.Context()
		record := &record{}
		req = req.WithContext(context.WithValue(ctx, recordKey{}, record))
		info, _ := apirequest.RequestInfoFrom(ctx)
		if !info.IsResourceRequest || readOnly(info.Verb) {
			next.ServeHTTP(w, req)
			return
		}
		client, _ := apirequest.UserFrom(ctx)
		code := &codeWriter{ResponseWriter: w}
		defer func() {
			level := zapcore.InfoLevel
			if client.GetName() == LoopbackUser && info.Subresource == "status" {
				// The gateway's own reports, not decisions.
				level = zapcore.DebugLevel
			}
			if entry := log.Check(level, "policy write"); entry != nil {
				entry.Write(record.fields(info, client.GetName(), code.code, req)...)
			}
		}()
		next.ServeHTTP(responsewriter.WrapForHTTP1Or2(code), req)
	})
}

func (r *record) fields(info *apirequest.RequestInfo, client string, code int, req *http.Request) []zap.Field {
	r.mu.Lock()
	defer r.mu.Unlock()
	resource := info.Resource
	if info.Subresource != "" {
		resource += "/" + info.Subresource
	}
	fields := []zap.Field{
		zap.String("user", client),
		zap.String("verb", info.Verb),
		zap.String("resource", resource),
		zap.Int("code", code),
	}
	switch {
	case len(r.names) == 1:
		fields = append(fields, zap.String("name", r.names[0]))
	case len(r.names) > 1:
		fields = append(fields, zap.Strings("names", r.names), zap.Int("more", r.more))
	case info.Name != "":
		// Refused before it came to the object.
		fields = append(fields, zap.String("name", clip(info.Name)))
	}
	if r.effective != "" && r.effective != client {
		fields = append(fields, zap.String("as", r.effective))
	}
	if req.URL.Query().Has("dryRun") {
		fields = append(fields, zap.Bool("dryRun", true))
	}
	return append(fields, r.effect...)
}

// withEffectiveUser tells the record who the request acts as.
func withEffectiveUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r := recordFrom(req.Context())
		if u, ok := apirequest.UserFrom(req.Context()); ok && r != nil {
			r.mu.Lock()
			r.effective = u.GetName()
			r.mu.Unlock()
		}
		next.ServeHTTP(w, req)
	})
}

func readOnly(verb string) bool {
	switch verb {
	case "get", "list", "watch":
		return true
	}
	return false
}

// codeWriter notes the code of an answer.
type codeWriter struct {
	http.ResponseWriter
	code int
}

func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *codeWriter) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *codeWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

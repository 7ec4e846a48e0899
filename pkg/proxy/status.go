package proxy

import (
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// statusWriter renders errors as metav1.Status in the encoding the client
// accepts, with kube-apiserver's own code for it.
type statusWriter struct {
	codecs serializer.CodecFactory
	// patience is how long a client has to take what is written.
	patience time.Duration
}

func newStatusWriter(patience time.Duration) statusWriter {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{})
	return statusWriter{codecs: serializer.NewCodecFactory(scheme), patience: patience}
}

// write answers r with err. An error that tells a wait gets a Retry-After
// header, which client-go obeys by sending the request again, whatever its verb.
func (s statusWriter) write(w http.ResponseWriter, r *http.Request, err *apierrors.StatusError) {
	version := schema.GroupVersion{Version: "v1"}
	if a := request.From(r.Context()); a != nil {
		version = schema.GroupVersion{Group: a.APIGroup, Version: a.APIVersion}
	}
	ownHeaders(w.Header(), r)
	boundAnswer(w, r, s.patience)
	responsewriters.ErrorNegotiated(err, s.codecs, version, w, r)
}

// ownHeaders sets what every answer of kube-apiserver has, for answers of the
// gateway's own: the Audit-ID stands in the access log here.
func ownHeaders(h http.Header, r *http.Request) {
	h["Cache-Control"] = []string{"no-cache, private"}
	id := r.Header.Get(auditIDHeader)
	if id == "" {
		id = newAuditID()
	}
	h[auditIDHeader] = []string{id}
}

// newAuditID returns a random UUID, as kube-apiserver's are. It is no secret, so it
// need not cost a system call.
func newAuditID() string {
	var id uuid.UUID
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	// Version 4, variant of RFC 9562.
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// forgetOwnHeaders makes way for those of an apiserver's answer.
func forgetOwnHeaders(h http.Header) {
	delete(h, auditIDHeader)
	delete(h, "Cache-Control")
}

func errUnauthorized() *apierrors.StatusError { return apierrors.NewUnauthorized("Unauthorized") }

// errUnavailable is for requests that have not reached an apiserver: sending
// them again is safe.
func errUnavailable(message string) *apierrors.StatusError {
	e := apierrors.NewServiceUnavailable(message)
	e.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return e
}

// errBadGateway is for requests that may have reached an apiserver. There is no
// Retry-After: client-go would send the request again, and a write must not be
// applied twice.
func errBadGateway(message string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusBadGateway, Reason: metav1.StatusReasonInternalError, Message: message,
	}}
}

// errLost is for requests whose answer is lost, and that must not be sent twice.
func errLost(why string) *apierrors.StatusError {
	return errBadGateway(why + "; the request may have been applied, so read before you send it again")
}

// errTimeout is kube-apiserver's answer to a request that took too long.
func errTimeout(message string) *apierrors.StatusError {
	return apierrors.NewTimeoutError(message, 0)
}

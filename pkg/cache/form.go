package cache

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/asi-gateway/asi-gateway/pkg/cache/watch"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// form is how a client wants objects to look.
type form struct {
	encoding wire.Encoding
	view     watch.View
	// ok is false for what cannot be spliced.
	ok bool
}

// forms remembers what Accept headers mean: clients send few different ones, and
// to find out costs as much as to find the object.
type forms struct {
	known sync.Map // string -> form
	count atomic.Int32
}

const (
	// maxForms bounds how many headers are remembered, maxAccept their length.
	maxForms  = 512
	maxAccept = 512
)

// of returns the form that a request asks for. Verb is get, list or watch.
func (f *forms) of(r *http.Request, verb string) form {
	// kube-apiserver indents for those who are likely to read it themselves.
	agent := r.UserAgent()
	if strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0") {
		return form{}
	}
	accepts := r.Header["Accept"]
	if len(accepts) > 1 {
		return form{}
	}
	accept := ""
	if len(accepts) == 1 {
		accept = accepts[0]
	}
	if len(accept) > maxAccept {
		return form{}
	}
	key := verb + " " + accept
	if known, ok := f.known.Load(key); ok {
		return known.(form)
	}
	found := negotiate(accept, verb)
	if f.count.Load() < maxForms {
		f.count.Add(1)
		f.known.Store(key, found)
	}
	return found
}

func negotiate(accept, verb string) form {
	if strings.Contains(accept, "cbor") {
		// Whether the apiserver speaks it is a matter of its configuration.
		return form{}
	}
	if strings.Contains(strings.ReplaceAll(accept, "*/*", ""), "*") {
		// "application/*" is 406 to kube-apiserver in some places and JSON in others.
		return form{}
	}
	chosen, ok := negotiation.NegotiateMediaTypeOptions(accept, spliced, transforms{})
	streams := chosen.Stream != "" && (verb != "watch" || chosen.Stream != "watch")
	if !ok || chosen.Pretty || streams || chosen.UseServerVersion != "" || chosen.Export || len(chosen.Unrecognized) > 0 {
		return form{}
	}
	f := form{ok: true}
	switch chosen.Accepted.MediaType {
	case runtime.ContentTypeJSON:
		f.encoding = wire.JSON
	case runtime.ContentTypeProtobuf:
		f.encoding = wire.Protobuf
	default:
		return form{}
	}
	if target := chosen.Convert; target != nil {
		want := "PartialObjectMetadata"
		if verb == "list" {
			want = "PartialObjectMetadataList"
		}
		if target.Group != "meta.k8s.io" || target.Version != "v1" || target.Kind != want {
			return form{}
		}
		f.view = watch.Metadata
	}
	return f
}

// spliced are kube-apiserver's media types. What is negotiated for another one is
// declined, but it must be known to be negotiated as the apiserver does.
var spliced = scheme.Codecs.SupportedMediaTypes()

// transforms lets every conversion be asked for; negotiate sorts them out.
type transforms struct{}

func (transforms) AllowsMediaTypeTransform(_, _ string, target *schema.GroupVersionKind) bool {
	return true
}
func (transforms) AllowsServerVersion(string) bool { return false }
func (transforms) AllowsStreamSchema(string) bool  { return true }

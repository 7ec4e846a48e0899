package request

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// Attributes is what the stages of the chain know about one request. All of it
// is set by Parse and constant afterwards, except what authentication tells:
// Identity, Class, Priority, Reads and Impersonated.
type Attributes struct {
	// RequestInfo is Kubernetes' reading of path and verb, never nil.
	*apirequest.RequestInfo

	// UserAgent is the client's User-Agent header as sent; ClientName is its
	// first token (see ClientName).
	UserAgent  string
	ClientName string

	// LongRunning tells requests that end when the client or the object says so
	// (watch, exec, attach, port-forward, proxy, log, every upgrade) from those
	// with a deadline.
	LongRunning bool

	// Upgrade tells that the client asked to leave HTTP (WebSocket or SPDY), and may.
	Upgrade bool

	// Vital tells requests without which nodes are given up, leaders lost, or
	// nobody can show who he is: leases, reviews, health. No switch stops them, and
	// no limit that does not name them.
	Vital bool

	// List holds the list options of the query; zero for other requests.
	List ListOptions

	// Scope and Shape classify a list, and a watch that starts with one; empty
	// for everything else.
	Scope v1alpha1.ListScope
	Shape v1alpha1.ListShape

	// SourceIP is the address of the connection's peer; IPv4 is never mapped into
	// IPv6. The zero value if the peer has none.
	SourceIP netip.Addr

	// Identity is who the credentials of the request belong to. Nil before
	// authentication, and after it for a request that came without any.
	Identity *Identity

	// Class and Priority are what the client is by the operator's ClientClasses;
	// empty before authentication.
	Class    string
	Priority v1alpha1.Priority

	// Reads is how fresh the class's reads must be; zero before authentication.
	Reads v1alpha1.ReadPolicy

	// Admission is what limits have granted the request; nil if nothing.
	Admission Admission

	// Impersonated is whom the client acts as, where the gateway itself has
	// judged that it may; otherwise nil.
	Impersonated *Identity
}

// Admission is what limits have granted a request.
type Admission interface {
	// Refund gives all of it back: a later stage refuses the request.
	Refund()
	// Opened gives back what is counted by requests under way: a watch has begun,
	// and costs no more than the events it carries.
	Opened()
	// Scarce tells that others like it are being refused.
	Scarce() bool
}

// Scarce tells that requests like this one are being refused by a limit at present:
// whoever asks does so more often than it may, so it need not be answered at once.
func (a *Attributes) Scarce() bool { return a.Admission != nil && a.Admission.Scarce() }

// Effective returns the identity that the request acts with: authorisation
// looks at this one, classes and limits at Identity.
func (a *Attributes) Effective() *Identity {
	if a.Impersonated != nil {
		return a.Impersonated
	}
	return a.Identity
}

// Identity is an authenticated user together with the headers that tell an
// apiserver so. It is built once per connection or token and shared by all
// requests that come with it: nothing in it may be changed.
type Identity struct {
	user.Info

	// Assertion holds X-Remote-* or Impersonate-* headers in canonical form.
	Assertion http.Header
}

// Parser turns HTTP requests into Attributes. The zero value is not ready; use
// NewParser. It is safe for concurrent use.
type Parser struct {
	info apirequest.RequestInfoFactory
}

// NewParser returns a Parser for the API prefixes that every kube-apiserver
// serves: /api (without a group) and /apis.
func NewParser() *Parser {
	return &Parser{info: apirequest.RequestInfoFactory{
		APIPrefixes:          sets.NewString("api", "apis"),
		GrouplessAPIPrefixes: sets.NewString("api"),
	}}
}

// Parse computes the attributes of r. An error means that kube-apiserver could
// not tell verb and resource apart either; it answers such a request with 500. Or it is
// ErrTooManyParameters.
func (p *Parser) Parse(r *http.Request) (*Attributes, error) {
	if len(r.URL.RawQuery) >= maxParameters && strings.Count(r.URL.RawQuery, "&") >= maxParameters {
		return nil, ErrTooManyParameters
	}
	info, err := p.requestInfo(r)
	if err != nil {
		return nil, err
	}
	a := &Attributes{
		RequestInfo: info,
		UserAgent:   r.UserAgent(),
		// HTTP/2 has no Connection header, so nothing to upgrade (RFC 9113 section 8.2.2).
		Upgrade: r.ProtoMajor == 1 && isUpgrade(r.Header) && upgradable(info),
	}
	a.LongRunning = a.Upgrade || longRunning(info)
	a.ClientName = ClientName(a.UserAgent)
	a.Vital = vital(info)
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.SourceIP = peer.Addr().Unmap().WithZone("")
	}
	if info.IsResourceRequest && (info.Verb == "list" || info.Verb == "watch") {
		a.List = parseListOptions(r.URL.RawQuery)
		if info.Verb == "list" {
			info.FieldSelector, info.LabelSelector = a.List.FieldSelector, a.List.LabelSelector
		}
		a.Scope, a.Shape = classifyList(info, a.List)
	}
	return a, nil
}

// longRunning mirrors kube-apiserver's LongRunningFunc (cmd/kube-apiserver
// options: verbs watch and proxy; subresources attach, exec, proxy, log and
// portforward; profiles).
func longRunning(info *apirequest.RequestInfo) bool {
	switch info.Verb {
	case "watch", "proxy":
		return true
	}
	if info.IsResourceRequest {
		switch info.Subresource {
		case "attach", "exec", "proxy", "log", "portforward":
			return true
		}
		return false
	}
	const pprof = "/debug/pprof/"
	return len(info.Path) >= len(pprof) && info.Path[:len(pprof)] == pprof
}

// upgradable tells requests that a server may answer by another protocol: of
// kube-apiserver's own those that are long-running anyway, of aggregated apiservers'
// those for one object, but for the subresources that every resource may have. Others
// get their ordinary answer, and are bounded as it is, whatever their Connection
// header says.
func upgradable(info *apirequest.RequestInfo) bool {
	if longRunning(info) {
		return true
	}
	if info.Name == "" || info.Subresource == "status" || info.Subresource == "scale" {
		return false
	}
	return strings.Contains(info.APIGroup, ".") && !strings.HasSuffix(info.APIGroup, ".k8s.io")
}

type contextKey struct{}

// WithAttributes returns a context that carries a.
func WithAttributes(ctx context.Context, a *Attributes) context.Context {
	return context.WithValue(ctx, contextKey{}, a)
}

// From returns the attributes that WithAttributes put into ctx, nil if none.
func From(ctx context.Context) *Attributes {
	a, _ := ctx.Value(contextKey{}).(*Attributes)
	return a
}

type behalfKey struct{}

// OnBehalf returns a context for a request of the gateway's own that is made for a
// client's: it is routed and bounded as that would be. WithAttributes does not say
// so: the gateway's own requests may come of a client's, too.
func OnBehalf(ctx context.Context, a *Attributes) context.Context {
	return context.WithValue(ctx, behalfKey{}, a)
}

// Behalf returns the attributes that OnBehalf put into ctx, nil if none.
func Behalf(ctx context.Context) *Attributes {
	a, _ := ctx.Value(behalfKey{}).(*Attributes)
	return a
}

// Writes tells the verbs that change objects, or connect to something.
func (a *Attributes) Writes() bool {
	switch a.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	}
	return false
}

// UserName is the name of the authenticated user, system:anonymous without one.
func (a *Attributes) UserName() string { return a.user().GetName() }

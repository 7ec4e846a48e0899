package request

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// requestInfo is Kubernetes' reading of path and verb, but for the selectors of a
// list. To see whether the get of a collection is a watch, or of one name, it decodes
// and converts the whole query, which is more work than all the rest and says neither
// in most (BenchmarkParseList). And one that does not decode it writes to the log, with
// all that people put into a query. So it is shown none of a collection's.
func (p *Parser) requestInfo(r *http.Request) (*apirequest.RequestInfo, error) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !reads || r.URL.RawQuery == "" {
		return p.info.NewRequestInfo(r)
	}
	bare := http.Request{Method: r.Method, URL: &url.URL{Path: r.URL.Path}}
	info, err := p.info.NewRequestInfo(&bare)
	if err != nil {
		// The error tells the query.
		return p.info.NewRequestInfo(r)
	}
	if info.Verb == "list" && namesOrWatches(r.URL.RawQuery) {
		readQuery(info, r.URL.RawQuery)
	}
	return info, nil
}

// readQuery completes the reading of a collection's get, as Kubernetes does: FuzzParse
// compares. Of a query that does not decode only the watch counts.
func readQuery(info *apirequest.RequestInfo, rawQuery string) {
	// What net/url refuses is not there for Kubernetes either.
	query, _ := url.ParseQuery(rawQuery)
	var o internalversion.ListOptions
	if err := scheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, &o); err != nil {
		o = internalversion.ListOptions{Watch: query.Has("watch") && truthy(query.Get("watch"))}
	}
	if o.Watch {
		info.Verb = "watch"
	}
	if o.FieldSelector != nil {
		if name, ok := o.FieldSelector.RequiresExactMatch("metadata.name"); ok && len(content.IsPathSegmentName(name)) == 0 {
			info.Name = name
		}
	}
	info.FieldSelector, info.LabelSelector = query.Get("fieldSelector"), query.Get("labelSelector")
}

// NewRequestInfo implements k8s.io/apiserver's RequestInfoResolver, for stages of its.
func (p *Parser) NewRequestInfo(r *http.Request) (*apirequest.RequestInfo, error) {
	a, err := p.Parse(r)
	if err != nil {
		return nil, err
	}
	return a.RequestInfo, nil
}

// namesOrWatches tells whether a query may ask for a watch, or for a name.
func namesOrWatches(rawQuery string) (may bool) {
	eachParameter(rawQuery, func(key, value string) {
		switch key {
		case "watch":
			may = true
		case "fieldSelector":
			may = may || strings.Contains(value, "metadata.name")
		}
	})
	return may
}

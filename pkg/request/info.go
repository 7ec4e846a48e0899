package request

import (
	"net/http"
	"net/url"
	"strings"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// requestInfo is Kubernetes' reading of path and verb, but for the selectors of a
// list. To see whether the get of a collection is a watch, or of one name, it decodes
// and converts the whole query, which is more work than all the rest and says neither
// in most (BenchmarkParseList). Those it is not shown.
func (p *Parser) requestInfo(r *http.Request) (*apirequest.RequestInfo, error) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && r.URL.RawQuery != "" && !namesOrWatches(r.URL.RawQuery) {
		bare := http.Request{Method: r.Method, URL: &url.URL{Path: r.URL.Path}}
		if info, err := p.info.NewRequestInfo(&bare); err == nil {
			return info, nil
		}
		// The error tells the query.
	}
	return p.info.NewRequestInfo(r)
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

package request

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	apirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// ListOptions are the query parameters of a list or watch, as sent. Of a
// parameter given twice the first counts, as for kube-apiserver.
type ListOptions struct {
	LabelSelector        string
	FieldSelector        string
	ResourceVersion      string
	ResourceVersionMatch string
	Continue             string
	Limit                int64  // 0 if absent or not a number
	SendInitialEvents    string // "true", "false", or empty if absent
	AllowWatchBookmarks  bool
}

// maxParameters is how many parameters of a query net/url reads. Of more it reads none
// since Go 1.26, 1.25.6 and 1.24.12, and read all before (urlmaxqueryparams): what a
// kube-apiserver takes such a query for depends on what it was built with.
const maxParameters = 10000

// ErrTooManyParameters is a query of which nobody can say what it asks for.
var ErrTooManyParameters = fmt.Errorf("the query has more than %d parameters", maxParameters)

// parseListOptions scans a raw query. Pairs that net/url would refuse (a
// semicolon, a broken escape) are passed over, as net/url does.
func parseListOptions(rawQuery string) ListOptions {
	var o ListOptions
	var seen [8]bool
	eachParameter(rawQuery, func(key, value string) {
		var slot int
		var target *string
		switch key {
		case "labelSelector":
			slot, target = 0, &o.LabelSelector
		case "fieldSelector":
			slot, target = 1, &o.FieldSelector
		case "resourceVersion":
			slot, target = 2, &o.ResourceVersion
		case "resourceVersionMatch":
			slot, target = 3, &o.ResourceVersionMatch
		case "continue":
			slot, target = 4, &o.Continue
		case "limit":
			if !seen[6] {
				seen[6] = true
				o.Limit, _ = strconv.ParseInt(value, 10, 64)
			}
			return
		case "sendInitialEvents":
			if !seen[5] {
				seen[5] = true
				o.SendInitialEvents = strconv.FormatBool(truthy(value))
			}
			return
		case "allowWatchBookmarks":
			if !seen[7] {
				seen[7] = true
				o.AllowWatchBookmarks = truthy(value)
			}
			return
		default:
			return
		}
		if !seen[slot] {
			seen[slot] = true
			*target = value
		}
	})
	return o
}

// eachParameter calls fn for each key and value of a raw query, in order, with
// the rules of net/url.ParseQuery but without its map.
func eachParameter(rawQuery string, fn func(key, value string)) {
	for rawQuery != "" {
		var pair string
		pair, rawQuery, _ = strings.Cut(rawQuery, "&")
		if pair == "" || strings.Contains(pair, ";") {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := unescape(key)
		if err != nil {
			continue
		}
		value, err = unescape(value)
		if err != nil {
			continue
		}
		fn(key, value)
	}
}

func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	return url.QueryUnescape(s)
}

// truthy is how apimachinery reads a boolean parameter: present means true,
// unless it says "false" or "0" (runtime.Convert_Slice_string_To_bool).
func truthy(value string) bool {
	return !strings.EqualFold(value, "false") && value != "0"
}

// maxPage is the largest limit that makes a page of a list, twenty times client-go's.
// One that is larger bounds nothing: the list costs what it would cost without.
const maxPage = 10000

// classifyList names scope and shape of a list, and of a watch that asks for
// initial state: informers have started with such a watch since client-go 1.35,
// and it costs the server what the list costs.
func classifyList(info *apirequest.RequestInfo, o ListOptions) (v1alpha1.ListScope, v1alpha1.ListShape) {
	if info.Verb == "watch" {
		// "00" is the resource version 0, too.
		initial := strings.Trim(o.ResourceVersion, "0") == ""
		if o.SendInitialEvents != "" {
			initial = o.SendInitialEvents == "true"
		}
		if !initial {
			return "", ""
		}
	}
	scope := v1alpha1.ListScopeCluster
	if info.Namespace != "" {
		scope = v1alpha1.ListScopeNamespace
	}
	switch {
	case o.LabelSelector != "" || o.FieldSelector != "":
		return scope, v1alpha1.ListShapeSelector
	case o.ResourceVersion == "0":
		return scope, v1alpha1.ListShapeRV0
	case (o.Limit > 0 && o.Limit <= maxPage) || o.Continue != "":
		return scope, v1alpha1.ListShapePaginated
	default:
		return scope, v1alpha1.ListShapeUnbounded
	}
}

package cache

import (
	"net/url"
	"strconv"
	"time"
)

// query are the parameters of a read. All that kube-apiserver could read in
// another way than this package is an error of parse.
type query struct {
	labelSelector, fieldSelector string
	// version is resourceVersion: "" for none.
	version string
	match   string
	limit   int64
	token   string // continue
	timeout time.Duration

	bookmarks     bool
	initialEvents *bool
}

// parseQuery returns false for a query that is not plain.
func parseQuery(raw string) (q query, plain bool) {
	switch raw {
	case "":
		return q, true
	case "resourceVersion=0":
		// What is asked for most is not taken apart each time.
		q.version = "0"
		return q, true
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, false
	}
	plain = true
	for name, all := range values {
		if len(all) != 1 {
			return q, false
		}
		value, ok := all[0], true
		switch name {
		case "labelSelector":
			q.labelSelector = value
		case "fieldSelector":
			q.fieldSelector = value
		case "resourceVersion":
			q.version = value
		case "resourceVersionMatch":
			q.match = value
		case "continue":
			q.token = value
		case "limit":
			q.limit, ok = number(value)
		case "timeoutSeconds":
			var seconds int64
			seconds, ok = number(value)
			q.timeout = time.Duration(seconds) * time.Second
			ok = ok && seconds <= maxTimeoutSeconds
		case "allowWatchBookmarks":
			q.bookmarks, ok = boolean(value)
		case "sendInitialEvents":
			var b bool
			b, ok = boolean(value)
			q.initialEvents = &b
		case "watch":
			// Said already by the request's verb.
			_, ok = boolean(value)
		case "timeout":
			// kube-apiserver's own bound for the request. Nothing here takes that long.
			_, err := time.ParseDuration(value)
			ok = err == nil
		default:
			ok = false
		}
		if !ok {
			return q, false
		}
	}
	return q, plain
}

// maxTimeoutSeconds is where a duration of nanoseconds is far from its end.
const maxTimeoutSeconds = 1 << 30

func number(value string) (int64, bool) {
	n, err := strconv.ParseInt(value, 10, 64)
	return n, err == nil && n >= 0
}

func boolean(value string) (b, ok bool) {
	switch value {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

// resourceVersion returns the number of a resource version; false if it is none.
func resourceVersion(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

package cache

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/watch"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// TestResourceVersionTable is the table of reads.md, with what is left to the
// apiserver as no point.
func TestResourceVersionTable(t *testing.T) {
	token := nextPage(7, "a/p", "a/")
	for _, tc := range []struct {
		verb, query string
		want        point
		declined    bool
	}{
		{"get", "", point{kind: newest}, false},
		{"get", "resourceVersion=0", point{kind: anyState}, false},
		{"get", "resourceVersion=12", point{kind: atLeast, rv: 12}, false},
		{"get", "resourceVersion=x", point{}, true},
		{"get", "resourceVersion=-1", point{}, true},
		{"get", "limit=1", point{}, true},
		{"list", "", point{kind: newest}, false},
		{"list", "limit=5", point{kind: newest, limit: 5}, false},
		{"list", "resourceVersion=0&limit=5", point{kind: anyState}, false},
		{"list", "resourceVersion=0&resourceVersionMatch=NotOlderThan", point{kind: anyState}, false},
		{"list", "resourceVersion=0&resourceVersionMatch=Exact", point{}, true},
		{"list", "resourceVersion=12", point{kind: atLeast, rv: 12}, false},
		{"list", "resourceVersion=12&limit=5", point{kind: exactly, rv: 12, limit: 5}, false},
		{"list", "resourceVersion=12&limit=5&resourceVersionMatch=NotOlderThan", point{kind: atLeast, rv: 12, limit: 5}, false},
		{"list", "resourceVersion=12&limit=5&resourceVersionMatch=Exact", point{kind: exactly, rv: 12, limit: 5}, false},
		{"list", "resourceVersionMatch=Exact", point{}, true},
		{"list", "resourceVersionMatch=NotOlderThan", point{}, true},
		{"list", "resourceVersion=12&resourceVersionMatch=x", point{}, true},
		{"list", "sendInitialEvents=true", point{}, true},
		{"list", "continue=" + token, point{kind: exactly, rv: 7, from: "a/p\x00"}, false},
		{"list", "continue=" + token + "&limit=3", point{kind: exactly, rv: 7, from: "a/p\x00", limit: 3}, false},
		{"list", "continue=" + token + "&resourceVersion=0", point{}, true},
		{"list", "continue=" + token + "&resourceVersion=7", point{}, true},
		{"list", "continue=x", point{}, true},
		{"watch", "watch=1", point{kind: newest}, false},
		{"watch", "watch=1&resourceVersion=0", point{kind: anyState}, false},
		{"watch", "watch=1&resourceVersion=12", point{kind: after, rv: 12}, false},
		{"watch", "watch=1&resourceVersion=12&resourceVersionMatch=NotOlderThan", point{}, true},
		{"watch", "watch=1&sendInitialEvents=true", point{}, true},
		{"watch", "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", point{kind: newest}, false},
		{"watch", "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0", point{kind: anyState}, false},
		{"watch", "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=12", point{kind: atLeast, rv: 12}, false},
		{"watch", "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=12", point{}, true},
	} {
		q, plain := parseQuery(tc.query)
		if !plain {
			t.Errorf("%s ?%s is not plain", tc.verb, tc.query)
			continue
		}
		var got point
		var ok bool
		switch tc.verb {
		case "get":
			got, ok = q.ofGet()
		case "list":
			got, ok = q.ofList("a/")
		default:
			got, ok = q.ofWatch()
		}
		got.need = need{}
		if ok == tc.declined || (ok && got != tc.want) {
			t.Errorf("%s ?%s: %+v, %v; want %+v", tc.verb, tc.query, got, ok, tc.want)
		}
	}
}

func TestQueriesThatCanBeReadInTwoWaysAreNotPlain(t *testing.T) {
	for _, raw := range []string{
		"resourceVersion=1&resourceVersion=2", "limit=x", "limit=-1", "pretty=1", "watch=", "watch=abc", "allowWatchBookmarks=yes",
		"timeoutSeconds=1.5", "timeoutSeconds=99999999999999", "%zz=1", "a;b", "unknown=1", "shardSelector=x", "timeout=30", "timeout=soon",
	} {
		if q, plain := parseQuery(raw); plain {
			t.Errorf("%q is read as %+v", raw, q)
		}
	}
}

// FuzzContinue looks for tokens that lead out of the scope of a list, and keys
// that do not come back.
func FuzzContinue(f *testing.F) {
	f.Add(nextPage(5, "a/p", "a/"), "a/")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":5,"start":"../b/p"}`)), "a/")
	f.Fuzz(func(t *testing.T, token, prefix string) {
		rv, from, ok := readToken(token, prefix)
		if !ok {
			return
		}
		if rv == 0 || len(from) < len(prefix) || from[:len(prefix)] != prefix {
			t.Errorf("token %q of %q: %d, %q", token, prefix, rv, from)
		}
	})
}

func TestAcceptIsNegotiatedAsUpstreamDoes(t *testing.T) {
	var all forms
	const partial = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	const partialList = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	const table = ";as=Table;g=meta.k8s.io;v=v1"
	for _, tc := range []struct {
		verb, accept string
		want         form
	}{
		{"get", "", form{wire.JSON, watch.Whole, true}},
		{"list", "*/*", form{wire.JSON, watch.Whole, true}},
		{"list", "application/json", form{wire.JSON, watch.Whole, true}},
		{"list", "application/vnd.kubernetes.protobuf", form{wire.Protobuf, watch.Whole, true}},
		{"list", "application/vnd.kubernetes.protobuf,application/json", form{wire.Protobuf, watch.Whole, true}},
		{"list", "application/json" + table + ",application/json", form{}},
		{"list", "application/json" + partialList, form{wire.JSON, watch.Metadata, true}},
		{"list", "application/json" + partial, form{}},
		{"get", "application/vnd.kubernetes.protobuf" + partial, form{wire.Protobuf, watch.Metadata, true}},
		{"watch", "application/vnd.kubernetes.protobuf" + partial, form{wire.Protobuf, watch.Metadata, true}},
		{"watch", "application/vnd.kubernetes.protobuf;stream=watch", form{wire.Protobuf, watch.Whole, true}},
		{"list", "application/json;stream=watch", form{}},
		{"list", "application/yaml", form{}},
		{"list", "application/cbor, application/json", form{}},
		{"list", "application/json;pretty=1", form{}},
		{"list", "text/plain", form{}},
		{"list", "application/*", form{}},
		{"list", "application/json, */*", form{wire.JSON, watch.Whole, true}},
	} {
		for range 2 {
			r := &http.Request{Header: http.Header{"Accept": {tc.accept}, "User-Agent": {"test/1"}}}
			if tc.accept == "" {
				r.Header.Del("Accept")
			}
			if got := all.of(r, tc.verb); got != tc.want {
				t.Errorf("%s %q: %+v; want %+v", tc.verb, tc.accept, got, tc.want)
			}
			r.Header["User-Agent"] = []string{"curl/8.5.0"}
			if all.of(r, tc.verb).ok {
				t.Errorf("%s %q: curl gets it indented", tc.verb, tc.accept)
			}
		}
	}
}

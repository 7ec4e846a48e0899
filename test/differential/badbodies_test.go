package differential

import (
	"bytes"
	"compress/gzip"
	"strings"
)

var badBodies = group{"bodies", append(alsoHTTP1(
	c("no body", post(ownCMs, "")),
	c("JSON that breaks off", post(ownCMs, `{"metadata":{"name":"$ME"`)),
	c("a body above 3 MB", post(ownCMs, `{"metadata":{"name":"$ME"},"data":{"a":"`+letters(3_200_000)+`"}}`)),
),
	c("put without a body", put(ownCMs+"/$ME", "")),
	c("patch without a body", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", "")),
	c("JSON null", post(ownCMs, "null")),
	c("JSON array", post(ownCMs, "[]")),
	c("JSON string", post(ownCMs, `"text"`)),
	c("JSON with more behind", post(ownCMs, cm+"{}")),
	c("JSON with garbage behind", post(ownCMs, cm+"xyz")),
	c("JSON with comments", post(ownCMs, `{/*x*/"metadata":{"name":"$ME"}}`)),
	c("JSON with a byte order mark", post(ownCMs, "\uFEFF"+cm)),
	c("JSON that is no UTF-8", post(ownCMs, "{\"metadata\":{\"name\":\"$ME\"},\"data\":{\"a\":\"\xff\"}}")),
	c("JSON with a wrong type", post(ownCMs, `{"metadata":{"name":5}}`)),
	c("JSON with a wrong type deep inside", post(ownPods, `{"metadata":{"name":"$ME"},"spec":{"containers":[{"name":"a","ports":[{"containerPort":"x"}]}]}}`)),
	c("JSON nested very deep", post(ownCMs, strings.Repeat(`{"a":`, 20000)+"1"+strings.Repeat("}", 20000))),
	c("JSON with keys in capitals", post(ownCMs, `{"Metadata":{"Name":"$ME"}}`)),
	c("JSON with a huge number", post(ownDeploys, strings.Replace(deploy, `"replicas":1`, `"replicas":1e400`, 1))),
	c("JSON with a fraction for an integer", post(ownDeploys, strings.Replace(deploy, `"replicas":1`, `"replicas":1.5`, 1))),
	c("a kind of nothing", post(ownCMs, `{"kind":"Nothing","apiVersion":"v1"}`)),
	c("an apiVersion of no sense", post(ownCMs, `{"kind":"ConfigMap","apiVersion":"a/b/c"}`)),
	c("a list of objects", post(ownCMs, `{"kind":"List","apiVersion":"v1","items":[]}`)),
	c("YAML that breaks off", post(ownCMs, "metadata: {name", "Content-Type: application/yaml")),
	c("YAML with a tab", post(ownCMs, "metadata:\n\tname: x", "Content-Type: application/yaml")),
	c("YAML with two documents", post(ownCMs, "metadata: {name: $ME}\n---\nmetadata: {name: x}", "Content-Type: application/yaml")),
	c("YAML bomb", post(ownCMs, "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n", "Content-Type: application/yaml")),
	c("protobuf that breaks off", postBinary(ownCMs, "application/vnd.kubernetes.protobuf", []byte("k8s\x00\x0a\xff"))),
	c("protobuf without its mark", postBinary(ownCMs, "application/vnd.kubernetes.protobuf", []byte("\x0a\x02v1"))),
	c("protobuf of nothing", postBinary(ownCMs, "application/vnd.kubernetes.protobuf", []byte("k8s\x00"))),
	c("protobuf of another kind", postProtobuf("/api/v1/namespaces/$NS/secrets")),
	c("a value above 1 MB", post(ownCMs, `{"metadata":{"name":"$ME"},"data":{"a":"`+letters(1_100_000)+`"}}`)),
	c("annotations above 256 KB", post(ownCMs, `{"metadata":{"name":"$ME","annotations":{"a":"`+letters(300_000)+`"}}}`)),
	c("a patch above 3 MB", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"data":{"a":"`+letters(3_200_000)+`"}}`)),
	c("delete options above 3 MB", post(ownCMs, cm), delBody(ownCMs+"/$ME", strings.Repeat(" ", 3_200_000))),
	c("a body above 3 MB, forbidden", post(ownCMs, letters(3_200_000)).by("mallory")),
	c("a compressed body", postBinary(ownCMs, "application/json", zipped(`{"metadata":{"name":"zipped"}}`), "Content-Encoding: gzip")),
	c("a compressed body in disguise", postBinary(ownCMs, "application/json", zipped(`{"metadata":{"name":"zipped"}}`))),
	c("a body with get", send("GET", one, `{"a":"b"}`, nil)),
	c("a body with head", send("HEAD", one, `{"a":"b"}`, nil)),
	c("a body with options", send("OPTIONS", one, `{"a":"b"}`, nil)),
	c("a body with a list", send("GET", cms+"?limit=1&resourceVersion=$SEED&resourceVersionMatch=Exact", letters(100_000), nil)),
	c("a form", post(ownCMs, "a=b&c=d", "Content-Type: multipart/form-data; boundary=x")),
)}

func zipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}

const (
	rawPost = "POST /api/v1/namespaces/$NS/configmaps HTTP/1.1\nHost: x\nContent-Type: application/json\n"
	rawGet  = "GET /api/v1/namespaces/diff-shared/configmaps/one HTTP/1.1\nHost: x\n"
)

// framing is how requests are cut out of a connection, good and bad.
var framing = group{"framing", append(alsoHTTP1(
	c("unknown length", post(ownCMs, cm).inChunks()),
	c("trailers", post(ownCMs, cm).withTrailers("X-Checksum: abc")),
	c("expect", post(ownCMs, cm, "Expect: 100-continue")),
),
	c("a trailer that claims an identity", post(ownCMs, cm).withTrailers("X-Remote-User: admin", "Impersonate-User: bob", "Authorization: Bearer x").h1()),
	c("unknown length above 3 MB", post(ownCMs, letters(3_200_000)).inChunks()),
	c("unknown length of nothing", post(ownCMs, "").inChunks().h1()),
	c("unknown length of a get", send("GET", one, "abc", nil).inChunks().h1()),
	c("expect and be refused", post(ownCMs, cm, "Expect: 100-continue").by("mallory").h1()),
	c("expect something else", post(ownCMs, cm, "Expect: 200-ok").h1()),
	c("expect above 3 MB", post(ownCMs, letters(3_200_000), "Expect: 100-continue").h1()),
	c("chunks as they are", raw(rawPost+"Transfer-Encoding: chunked\n\n1f\n{\"metadata\":{\"name\":\"chunked\"}}\n0\n\n")),
	c("chunks with extensions", raw(rawPost+"Transfer-Encoding: chunked\n\n1e;ext=1\n{\"metadata\":{\"name\":\"chunks\"}}\n0\n\n")),
	c("chunks shorter than they say", raw(rawPost+"Transfer-Encoding: chunked\n\n4\n{\"metadata\":{\"name\":\"short\"}}\n0\n\n")),
	c("chunks of no sense", raw(rawPost+"Transfer-Encoding: chunked\n\nzz\n{}\n0\n\n")),
	c("an encoding that is not chunked", raw(rawPost+"Transfer-Encoding: gzip\n\n{}")),
	c("two encodings", raw(rawPost+"Transfer-Encoding: gzip, chunked\n\n0\n\n")),
	c("a length and chunks", raw(rawPost+"Content-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n")),
	c("two lengths", raw(rawPost+"Content-Length: 2\nContent-Length: 3\n\n{}")),
	c("a length of no sense", raw(rawPost+"Content-Length: many\n\n{}")),
	c("a negative length", raw(rawPost+"Content-Length: -1\n\n{}")),
	c("a length with a plus", raw(rawPost+"Content-Length: +2\n\n{}")),
	c("no host", raw("GET /version HTTP/1.1\n\n")),
	c("two hosts", raw("GET /version HTTP/1.1\nHost: a\nHost: b\n\n")),
	c("a host of no sense", raw("GET /version HTTP/1.1\nHost: a b/c\n\n")),
	c("another host", raw("GET /version HTTP/1.1\nHost: elsewhere.example.com\n\n")),
	c("HTTP 1.0", raw("GET /version HTTP/1.0\n\n")),
	c("HTTP 1.0, kept alive", raw("GET /version HTTP/1.0\nConnection: keep-alive\n\n")),
	c("HTTP 3.0", raw("GET /version HTTP/3.0\nHost: x\n\n")),
	c("no HTTP at all", raw("hello\n\n")),
	c("HTTP 2 without agreement", raw("PRI * HTTP/2.0\n\nSM\n\n")),
	c("a header without a colon", raw(rawGet+"Nonsense\n\n")),
	c("a header with a space before the colon", raw(rawGet+"X-Thing : y\n\n")),
	c("a header with a bad name", raw(rawGet+"X(Thing): y\n\n")),
	c("a header with a nought byte", raw(rawGet+"X-Thing: a\x00b\n\n")),
	c("a header that is folded", raw(rawGet+"X-Thing: a\n b\n\n")),
	c("a header of 100 KB", raw(rawGet+"X-Thing: "+letters(100_000)+"\n\n")),
	c("headers above 1 MB", raw(rawGet+"X-Thing: "+letters(1_200_000)+"\n\n")),
	c("a thousand headers", raw(rawGet+strings.Repeat("X-Thing: y\n", 1000)+"\n")),
	c("a header in letters of the world", raw(rawGet+"X-Thing: größe\n\n")),
	c("close", raw(rawGet+"Connection: close\n\n")),
	c("upgrade to something", raw(rawGet+"Connection: Upgrade\nUpgrade: something\n\n")),
	c("upgrade to HTTP 2", raw(rawGet+"Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\n\n")),
	c("upgrade to WebSocket where there is none", raw(rawGet+"Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n")),
	c("WebSocket exec in a missing pod", raw("GET /api/v1/namespaces/diff-shared/pods/missing/exec?command=id HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: v5.channel.k8s.io\n\n")),
	c("WebSocket exec in a pod that does not run", raw("GET /api/v1/namespaces/diff-shared/pods/pending/exec?command=id HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: v5.channel.k8s.io\n\n")),
	c("SPDY exec in a pod that does not run", raw("POST /api/v1/namespaces/diff-shared/pods/pending/exec?command=id HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: SPDY/3.1\nContent-Length: 0\n\n")),
	c("connection names another header", get(one, "Connection: X-Thing", "X-Thing: y").h1()),
	c("a watch by WebSocket", raw("GET /api/v1/namespaces/diff-shared/configmaps?watch=true&resourceVersion=0&timeoutSeconds=1 HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 12\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n")),
)}

package differential

// What all sides read. Nothing writes there once the suite runs.
const (
	cms     = "/api/v1/namespaces/$SHARED/configmaps"
	one     = cms + "/one"
	bigs    = "/api/v1/namespaces/diff-big/configmaps"
	events  = "/api/v1/namespaces/$SHARED/events"
	pods    = "/api/v1/namespaces/$SHARED/pods"
	deploys = "/apis/apps/v1/namespaces/$SHARED/deployments"
	widgets = "/apis/diff.example.com/v1/namespaces/$SHARED/widgets"
	// Forms of answers.
	acceptPB    = "Accept: application/vnd.kubernetes.protobuf"
	acceptYAML  = "Accept: application/yaml"
	acceptCBOR  = "Accept: application/cbor"
	acceptTable = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"
	acceptMeta  = "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
	acceptMetas = "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
)

var reads = group{"reads", append(alsoHTTP1(
	c("get an object", get(one)),
	c("get a missing object", get(cms+"/missing")),
	c("list a namespace", get(cms)),
	c("head on an object", head(one)),
	c("options on an object", options(one)),
	c("an unknown method", request("PROPFIND", one, nil)),
	c("a list that is compressed", get(bigs, "Accept-Encoding: gzip")),
),
	c("get a namespace", get("/api/v1/namespaces/$SHARED")),
	c("get a node", get("/api/v1/nodes/diff-node")),
	c("get a secret", get("/api/v1/namespaces/$SHARED/secrets/password")),
	c("get a pod", get(pods+"/pending")),
	c("get a scheduled pod", get(pods+"/on-node")),
	c("get a deployment", get(deploys+"/web")),
	c("get the status of a deployment", get(deploys+"/web/status")),
	c("get the scale of a deployment", get(deploys+"/web/scale")),
	c("get the status of a node", get("/api/v1/nodes/diff-node/status")),
	c("get a lease", get("/apis/coordination.k8s.io/v1/namespaces/$SHARED/leases/held")),
	c("get an event", get("/api/v1/namespaces/$SHARED/events/happened")),
	c("get an event of the new group", get("/apis/events.k8s.io/v1/namespaces/$SHARED/events/happened")),
	c("get of a deprecated API warns", get("/api/v1/namespaces/$SHARED/endpoints/web")),
	c("list of a deprecated API warns", get("/api/v1/componentstatuses?labelSelector=none")),
	c("get in a missing namespace", get("/api/v1/namespaces/missing/configmaps/one")),
	c("list in a missing namespace", get("/api/v1/namespaces/missing/configmaps")),
	c("list over all namespaces", get("/api/v1/services?labelSelector=component!%3Dapiserver")),
	c("list over all namespaces with a field selector", get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddiff-shared,metadata.name%3Done")),
	c("list an empty resource", get("/apis/batch/v1/namespaces/$SHARED/cronjobs")),
	c("list cluster-scoped objects", get("/apis/scheduling.k8s.io/v1/priorityclasses")),
	c("list many objects", get(rbac+"/clusterroles?labelSelector=kubernetes.io%2Fbootstrapping%3Drbac-defaults")),
	c("list an unknown resource", get("/api/v1/namespaces/$SHARED/gadgets")),
	c("list an unknown group", get("/apis/unknown.example.com/v1/things")),
	c("list an unknown version", get("/apis/apps/v9/namespaces/$SHARED/deployments")),
	c("list a namespaced resource by a bad namespace name", get("/api/v1/namespaces/Bad_Name/configmaps")),
	c("a cluster-scoped resource below a namespace", get("/api/v1/namespaces/$SHARED/nodes")),
	c("a namespaced resource without a namespace", get("/api/v1/configmaps/one")),
	c("get with an impossible name", get(cms+"/UPPER_case!")),
	c("get with an encoded name", get(cms+"/%6fne")),
	c("get an unknown subresource", get(one+"/status")),
	c("get a pod's log that has no node", get(pods+"/pending/log")),
	c("get a log of a missing pod", get(pods+"/missing/log")),
	c("get a log of a missing container", get(pods+"/pending/log?container=nope")),
	c("get a log of one of two containers needs a name", get(pods+"/on-node/log")),
	c("get a log with a bad option", get(pods+"/pending/log?tailLines=-1")),
	c("get a log with a contradiction", get(pods+"/pending/log?sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z")),
	c("exec without an upgrade", post(pods+"/pending/exec?command=id", "")),
	c("exec by GET without an upgrade", get(pods+"/pending/exec?command=id")),
	c("attach to a missing pod", get(pods+"/missing/attach")),
	c("port-forward without an upgrade", post(pods+"/pending/portforward", "")),
	c("proxy to a pod without an address", get(pods+"/pending/proxy/")),
	c("proxy to a pod without a trailing slash redirects", get(pods+"/pending/proxy")),
	c("proxy to a service without endpoints", get("/api/v1/namespaces/$SHARED/services/web:http/proxy/path?x=y")),
	c("proxy to a missing service", get("/api/v1/namespaces/$SHARED/services/nope/proxy/")),
	c("proxy to a node without an address", get("/api/v1/nodes/diff-node/proxy/pods")),
	c("head on a list", head(cms)),
	c("options on a list", options(cms)),
	c("options with an origin", options(cms, "Origin: https://example.com", "Access-Control-Request-Method: GET")),
	c("get with an origin", get(one, "Origin: https://example.com")),
	c("put on a list", put(cms, `{}`)),
	c("patch on a list", patch(mergePatch, cms, `{}`)),
	c("post on an object", post(one, `{}`)),
	c("trace", request("TRACE", one, nil)),
	c("a method in lower case", request("get", one, nil)),
	c("a method of no sense", request("FOO-BAR", cms, nil)),
	c("pretty", get(one+"?pretty=true")),
	c("pretty off", get(one+"?pretty=false", "User-Agent: curl/8.0")),
	c("pretty for curl", get(one, "User-Agent: curl/8.0")),
	c("pretty for browsers", get(cms, "User-Agent: Mozilla/5.0 (X11)")),
	c("pretty without a value", get(one+"?pretty")),
	c("pretty with an odd value", get(one+"?pretty=maybe")),
	c("pretty errors", get(cms+"/missing?pretty=1")),
	c("no user agent", get(one, "User-Agent:")),
	c("an aggregated API that is unavailable", get("/apis/unavailable.example.com/v1/things")),
	c("an aggregated API that is unavailable, discovery", get("/apis/unavailable.example.com/v1")),
	c("an aggregated API that is unavailable, its group", get("/apis/unavailable.example.com")),
	c("an aggregated API that is unavailable, create", post("/apis/unavailable.example.com/v1/things", `{"kind":"Thing"}`)),
	c("an aggregated API that is unavailable, to a plain user", get("/apis/unavailable.example.com/v1/things").by("mallory")),
	c("the APIService that is unavailable", get("/apis/apiregistration.k8s.io/v1/apiservices/v1.unavailable.example.com")),
	c("a local APIService", get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps")),
)}

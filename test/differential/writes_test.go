package differential

// What each side writes for itself.
const (
	ownCMs      = "/api/v1/namespaces/$NS/configmaps"
	ownPods     = "/api/v1/namespaces/$NS/pods"
	ownDeploys  = "/apis/apps/v1/namespaces/$NS/deployments"
	ownWidgets  = "/apis/diff.example.com/v1/namespaces/$NS/widgets"
	ownServices = "/api/v1/namespaces/$NS/services"

	cm       = `{"metadata":{"name":"$ME"},"data":{"a":"1","b":"2"}}`
	pod      = `{"metadata":{"name":"$ME"},"spec":{"containers":[{"name":"main","image":"image:1"}]}}`
	deploy   = `{"metadata":{"name":"$ME"},"spec":{"replicas":1,"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"main","image":"image:1"}]}}}}`
	widget   = `{"apiVersion":"diff.example.com/v1","kind":"Widget","metadata":{"name":"$ME"},"spec":{"color":"red"}}`
	heldCM   = `{"metadata":{"name":"$ME","finalizers":["diff.example.com/keep"]}}`
	otherUID = "11111111-2222-3333-4444-555555555555"
)

var writes = group{"writes", append(alsoHTTP1(
	c("create, read, delete, read", post(ownCMs, cm), get(ownCMs+"/$ME"), del(ownCMs+"/$ME"), get(ownCMs+"/$ME")),
	c("create twice conflicts", post(ownCMs, cm), post(ownCMs, cm)),
	c("update", post(ownCMs, cm), put(ownCMs+"/$ME", `{"metadata":{"name":"$ME"},"data":{"c":"3"}}`)),
	c("create invalid", post(ownCMs, `{"metadata":{"name":"Not A Name"}}`)),
),
	c("create a service", post(ownServices, `{"metadata":{"name":"$ME"},"spec":{"ports":[{"port":80}]}}`)),
	c("create a pod", post(ownPods, pod)),
	c("create a pod with a variable twice warns", post(ownPods+"?dryRun=All", `{"metadata":{"name":"$ME"},"spec":{"containers":[{"name":"main","image":"i","env":[{"name":"A"},{"name":"A"}]}]}}`)),
	c("create an invalid pod with many causes", post(ownPods, `{"metadata":{"name":"$ME"},"spec":{"containers":[{"name":"Main","image":"","ports":[{"containerPort":70000}]},{"name":"Main"}],"restartPolicy":"Sometimes"}}`)),
	c("create a deployment", post(ownDeploys, deploy)),
	c("create a namespace", post("/api/v1/namespaces", `{"metadata":{"name":"$NS-$ME"}}`)),
	c("create a secret", post("/api/v1/namespaces/$NS/secrets", `{"metadata":{"name":"$ME"},"stringData":{"a":"b"}}`)),
	c("create an object of a deprecated API", post("/api/v1/namespaces/$NS/endpoints", `{"metadata":{"name":"$ME"}}`)),
	c("create in a missing namespace", post("/api/v1/namespaces/missing/configmaps", cm)),
	c("create in the wrong namespace", post(ownCMs, `{"metadata":{"name":"$ME","namespace":"default"}}`)),
	c("create with a generated name", post(ownCMs, `{"metadata":{"generateName":"generated-"}}`)),
	c("create without a name", post(ownCMs, `{"data":{"a":"b"}}`)),
	c("create the wrong kind", post(ownCMs, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"$ME"}}`)),
	c("create the wrong version", post(ownCMs, `{"apiVersion":"v9","kind":"ConfigMap","metadata":{"name":"$ME"}}`)),
	c("create with a revision", post(ownCMs, `{"metadata":{"name":"$ME","resourceVersion":"5"}}`)),
	c("create with a uid of its own", post(ownCMs, `{"metadata":{"name":"$ME","uid":"`+otherUID+`"}}`)),
	c("create answers where", post(ownCMs, cm), get(ownCMs+"/$ME", "If-None-Match: *")),
	c("create for show", post(ownCMs+"?dryRun=All", cm), get(ownCMs+"/$ME")),
	c("create for a show of no sense", post(ownCMs+"?dryRun=Some", cm)),
	c("create for two shows", post(ownCMs+"?dryRun=All&dryRun=All", cm)),
	c("create with a field manager", post(ownCMs+"?fieldManager=me", cm)),
	c("create with a field manager too long", post(ownCMs+"?fieldManager="+letters(129), cm)),
	c("create with a field manager that cannot be printed", post(ownCMs+"?fieldManager=%00", cm)),
	c("create names the manager by user agent", post(ownCMs, cm, "User-Agent: my-tool/v1 (linux)")),
	c("create without a user agent", post(ownCMs, cm, "User-Agent:")),
	c("create with an unknown field, ignored", post(ownCMs+"?fieldValidation=Ignore", `{"metadata":{"name":"$ME"},"dat":{}}`)),
	c("create with an unknown field, warned", post(ownCMs+"?fieldValidation=Warn", `{"metadata":{"name":"$ME"},"dat":{}}`)),
	c("create with an unknown field, refused", post(ownCMs+"?fieldValidation=Strict", `{"metadata":{"name":"$ME"},"dat":{},"foo":1}`)),
	c("create with a field twice, warned", post(ownCMs+"?fieldValidation=Warn", `{"metadata":{"name":"$ME"},"data":{"a":"1"},"data":{"a":"2"}}`)),
	c("create with a field twice, refused", post(ownCMs+"?fieldValidation=Strict", `{"metadata":{"name":"$ME"},"data":{"a":"1","a":"2"}}`)),
	c("create with many unknown fields, warned", post(ownCMs+"?fieldValidation=Warn", `{"metadata":{"name":"$ME"},"a":1,"b":2,"c":3,"d":4,"e":5,"f":"`+letters(300)+`"}`)),
	c("create with a validation of no sense", post(ownCMs+"?fieldValidation=Maybe", cm)),
	c("create unknown fields in YAML, warned", post(ownDeploys+"?fieldValidation=Warn", "metadata: {name: $ME}\nspec:\n  replica: 1\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: d}]}}\n", "Content-Type: application/yaml")),

	c("update needs the right revision", post(ownCMs, cm).save("FIRST", "/metadata/resourceVersion"),
		patch(mergePatch, ownCMs+"/$ME", `{"data":{"x":"y"}}`),
		put(ownCMs+"/$ME", `{"metadata":{"name":"$ME","resourceVersion":"$FIRST"}}`)),
	c("update with the right revision", post(ownCMs, cm).save("FIRST", "/metadata/resourceVersion"), put(ownCMs+"/$ME", `{"metadata":{"name":"$ME","resourceVersion":"$FIRST"}}`)),
	c("update that changes nothing", post(ownCMs, cm), put(ownCMs+"/$ME", cm), get(ownCMs+"/$ME")),
	c("update with another name", post(ownCMs, cm), put(ownCMs+"/$ME", `{"metadata":{"name":"other"}}`)),
	c("update with another uid", post(ownCMs, cm), put(ownCMs+"/$ME", `{"metadata":{"name":"$ME","uid":"`+otherUID+`"}}`)),
	c("update of a missing object", put(ownCMs+"/$ME", cm)),
	c("update of a missing object with a revision", put(ownCMs+"/$ME", `{"metadata":{"name":"$ME","resourceVersion":"1"}}`)),
	c("update of what is immutable", post(ownCMs, `{"metadata":{"name":"$ME"},"immutable":true}`), put(ownCMs+"/$ME", cm)),
	c("update that creates a lease", put("/apis/coordination.k8s.io/v1/namespaces/$NS/leases/$ME", `{"metadata":{"name":"$ME"},"spec":{"holderIdentity":"me"}}`)),
	c("update for show", post(ownCMs, cm), put(ownCMs+"/$ME?dryRun=All", `{"metadata":{"name":"$ME"}}`), get(ownCMs+"/$ME")),
	c("update of a node's fixed field", put("/api/v1/nodes/diff-node?dryRun=All", `{"metadata":{"name":"diff-node"},"spec":{"podCIDR":"bad"}}`)),

	c("delete answers the status", post(ownCMs, cm), del(ownCMs+"/$ME")),
	c("delete of a missing object", del(ownCMs+"/$ME")),
	c("delete for show", post(ownCMs, cm), del(ownCMs+"/$ME?dryRun=All"), get(ownCMs+"/$ME")),
	c("delete with a finalizer waits", post(ownCMs, heldCM), del(ownCMs+"/$ME"), get(ownCMs+"/$ME"), patch(mergePatch, ownCMs+"/$ME", `{"metadata":{"finalizers":null}}`), get(ownCMs+"/$ME")),
	c("delete in the foreground", post(ownDeploys, deploy), del(ownDeploys+"/$ME?propagationPolicy=Foreground"), get(ownDeploys+"/$ME")),
	c("delete in the background", post(ownDeploys, deploy), del(ownDeploys+"/$ME?propagationPolicy=Background")),
	c("delete with orphans", post(ownDeploys, deploy), delBody(ownDeploys+"/$ME", `{"propagationPolicy":"Orphan"}`)),
	c("delete with orphans, the old way", post(ownDeploys, deploy), delBody(ownDeploys+"/$ME", `{"orphanDependents":true}`)),
	c("delete with both ways", post(ownDeploys, deploy), delBody(ownDeploys+"/$ME", `{"orphanDependents":true,"propagationPolicy":"Orphan"}`)),
	c("delete with a propagation of no sense", post(ownCMs, cm), del(ownCMs+"/$ME?propagationPolicy=Sideways")),
	c("delete if the uid is right", post(ownCMs, cm).save("UID", "/metadata/uid"), delBody(ownCMs+"/$ME", `{"preconditions":{"uid":"$UID"}}`)),
	c("delete only if the uid is right", post(ownCMs, cm), delBody(ownCMs+"/$ME", `{"preconditions":{"uid":"`+otherUID+`"}}`)),
	c("delete only if the revision is right", post(ownCMs, cm), delBody(ownCMs+"/$ME", `{"preconditions":{"resourceVersion":"1"}}`)),
	c("delete of a pod with grace", post(ownPods, pod), del(ownPods+"/$ME?gracePeriodSeconds=30")),
	c("delete of a pod at once", post(ownPods, pod), del(ownPods+"/$ME?gracePeriodSeconds=0"), get(ownPods+"/$ME")),
	c("delete with negative grace", post(ownPods, pod), del(ownPods+"/$ME?gracePeriodSeconds=-5")),
	c("delete with options in YAML", post(ownCMs, cm), delBody(ownCMs+"/$ME", "preconditions: {uid: "+otherUID+"}", "Content-Type: application/yaml")),
	c("delete with options of the wrong kind", post(ownCMs, cm), delBody(ownCMs+"/$ME", `{"apiVersion":"v1","kind":"Pod"}`)),
	c("delete with a body that cannot be read", post(ownCMs, cm), delBody(ownCMs+"/$ME", `{{`)),
	c("delete with options in protobuf", post(ownCMs, cm), delBody(ownCMs+"/$ME", "", "Content-Type: application/vnd.kubernetes.protobuf")),
	c("delete of a default namespace", del("/api/v1/namespaces/default?dryRun=All")),
	c("delete of a namespace for show", del("/api/v1/namespaces/$NS?dryRun=All")),
	c("deletecollection", post(ownCMs, `{"metadata":{"name":"$ME-1","labels":{"gone":"$ME"}}}`), post(ownCMs, `{"metadata":{"name":"$ME-2","labels":{"gone":"$ME"}}}`),
		del(ownCMs+"?labelSelector=gone%3D$ME"), get(ownCMs+"?labelSelector=gone%3D$ME")),
	c("deletecollection by field for show", post(ownCMs, cm), del(ownCMs+"?fieldSelector=metadata.name%3D$ME&dryRun=All"), get(ownCMs+"/$ME")),
	c("deletecollection of nothing", del(ownCMs+"?labelSelector=gone%3Dnever")),
	c("deletecollection with a bad selector", del(ownCMs+"?labelSelector=a+b+c")),
	c("deletecollection of namespaces is not allowed", del("/api/v1/namespaces?labelSelector=gone%3Dnever")),
	c("deletecollection with a body", delBody(ownCMs+"?labelSelector=gone%3Dnever", `{"gracePeriodSeconds":0}`)),
	c("forbidden create", post(ownCMs, cm).by("mallory")),
	c("forbidden update", put(ownCMs+"/$ME", cm).by("mallory")),
	c("forbidden delete", del(ownCMs+"/$ME").by("mallory")),
	c("forbidden deletecollection", del(ownCMs).by("mallory")),
	c("escalation is refused", post("/apis/rbac.authorization.k8s.io/v1/namespaces/$NS/roles", `{"metadata":{"name":"$ME"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`).by("alice")),
)}

var patches = group{"patches", append(alsoHTTP1(
	c("JSON patch", post(ownCMs, cm), patch(jsonPatch, ownCMs+"/$ME", `[{"op":"test","path":"/data/a","value":"1"},{"op":"replace","path":"/data/a","value":"9"},{"op":"remove","path":"/data/b"}]`)),
	c("merge patch", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"data":{"a":null,"c":"3"}}`)),
	c("strategic merge patch", post(ownDeploys, deploy), patch(strategicPatch, ownDeploys+"/$ME", `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"image:2"}]}}}}`)),
),
	c("JSON patch whose test fails", post(ownCMs, cm), patch(jsonPatch, ownCMs+"/$ME", `[{"op":"test","path":"/data/a","value":"2"}]`)),
	c("JSON patch of a missing path", post(ownCMs, cm), patch(jsonPatch, ownCMs+"/$ME", `[{"op":"remove","path":"/data/zzz"}]`)),
	c("JSON patch that cannot be read", post(ownCMs, cm), patch(jsonPatch, ownCMs+"/$ME", `[{"op":`)),
	c("JSON patch with an unknown operation", post(ownCMs, cm), patch(jsonPatch, ownCMs+"/$ME", `[{"op":"shake","path":"/data"}]`)),
	c("JSON patch that is an object", post(ownCMs, cm), patch(jsonPatch, ownCMs+"/$ME", `{"op":"remove"}`)),
	c("JSON patch with too many operations", post(ownCMs, cm), patch(jsonPatch, ownCMs+"/$ME", "["+repeatJoined(`{"op":"add","path":"/data/a","value":"1"}`, 10001)+"]")),
	c("merge patch that cannot be read", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"data":`)),
	c("merge patch of the wrong type", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"data":5}`)),
	c("merge patch of a missing object", patch(mergePatch, ownCMs+"/$ME", `{"data":{}}`)),
	c("merge patch with an old revision", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"metadata":{"resourceVersion":"1"},"data":{"a":"5"}}`)),
	c("merge patch of the name", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"metadata":{"name":"other"}}`)),
	c("merge patch that changes nothing", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"data":{"a":"1"}}`)),
	c("merge patch with unknown fields, warned", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME?fieldValidation=Warn", `{"dada":{"a":"1"}}`)),
	c("merge patch with unknown fields, refused", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME?fieldValidation=Strict", `{"dada":{"a":"1"}}`)),
	c("merge patch for show", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME?dryRun=All", `{"data":{"a":"7"}}`), get(ownCMs+"/$ME")),
	c("merge patch answered in protobuf", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME", `{"data":{"a":"7"}}`, acceptPB)),
	c("strategic patch with directives", post(ownDeploys, deploy), patch(strategicPatch, ownDeploys+"/$ME", `{"spec":{"template":{"spec":{"$patch":"replace","containers":[{"name":"only","image":"i"}]}}}}`)),
	c("strategic patch with a bad directive", post(ownDeploys, deploy), patch(strategicPatch, ownDeploys+"/$ME", `{"spec":{"$patch":"shred"}}`)),
	c("strategic patch that makes it invalid", post(ownDeploys, deploy), patch(strategicPatch, ownDeploys+"/$ME", `{"spec":{"replicas":-1}}`)),
	c("strategic patch of the fixed selector", post(ownDeploys, deploy), patch(strategicPatch, ownDeploys+"/$ME", `{"spec":{"selector":{"matchLabels":{"app":"y"}}}}`)),
	c("strategic patch of custom resources", post(ownWidgets, widget), patch(strategicPatch, ownWidgets+"/$ME", `{"spec":{"color":"blue"}}`)),
	c("merge patch of custom resources", post(ownWidgets, widget), patch(mergePatch, ownWidgets+"/$ME", `{"spec":{"color":"blue"}}`)),
	c("patch of an unknown type", post(ownCMs, cm), patch("application/patch", ownCMs+"/$ME", `{}`)),
	c("patch as JSON", post(ownCMs, cm), patch("application/json", ownCMs+"/$ME", `{}`)),
	c("patch without a type", post(ownCMs, cm), patch("", ownCMs+"/$ME", `{}`)),
	c("patch type with a charset", post(ownCMs, cm), patch(mergePatch+"; charset=utf-8", ownCMs+"/$ME", `{"data":{"c":"3"}}`)),
	c("patch with force, which is for apply", post(ownCMs, cm), patch(mergePatch, ownCMs+"/$ME?force=true", `{}`)),
	c("patch of status", post(ownDeploys, deploy), patch(mergePatch, ownDeploys+"/$ME/status", `{"status":{"replicas":7},"spec":{"replicas":9}}`)),
	c("patch of a fixed field of a pod", post(ownPods, pod), patch(strategicPatch, ownPods+"/$ME", `{"spec":{"terminationGracePeriodSeconds":5}}`)),
	c("patch, forbidden", patch(mergePatch, ownCMs+"/$ME", `{}`).by("mallory")),
)}

var applies = group{"applies", []testCase{
	c("apply creates", apply("one", "", "a: 1")),
	c("apply twice", apply("one", "", "a: 1"), apply("one", "", "a: 2")),
	c("apply takes back", apply("one", "", "a: 1, b: 2"), apply("one", "", "a: 1")),
	c("apply shares", apply("one", "", "a: 1"), apply("two", "", "a: 1, b: 2")),
	c("apply conflicts", apply("one", "", "a: 1"), apply("two", "", "a: 2")),
	c("apply conflicts, answer in protobuf", apply("one", "", "a: 1"), apply("two", "", "a: 2", acceptPB)),
	c("apply by force", apply("one", "", "a: 1"), apply("two", "&force=true", "a: 2"), apply("one", "", "b: 3")),
	c("apply without a manager", patch(applyPatch, ownCMs+"/$ME", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: $ME}")),
	c("apply without a kind", patch(applyPatch, ownCMs+"/$ME?fieldManager=one", "metadata: {name: $ME}")),
	c("apply with another name", patch(applyPatch, ownCMs+"/$ME?fieldManager=one", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}")),
	c("apply with managed fields", patch(applyPatch, ownCMs+"/$ME?fieldManager=one", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: $ME, managedFields: [{}]}")),
	c("apply that cannot be read", patch(applyPatch, ownCMs+"/$ME?fieldManager=one", "a: [")),
	c("apply with unknown fields", patch(applyPatch, ownCMs+"/$ME?fieldManager=one", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: $ME}\nfoo: bar")),
	c("apply for show", apply("one", "&dryRun=All", "a: 1"), get(ownCMs+"/$ME")),
	c("apply that must exist", patch(applyPatch, ownCMs+"/$ME?fieldManager=one", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: $ME, uid: "+otherUID+"}")),
	c("apply in JSON", patch(applyPatch, ownCMs+"/$ME?fieldManager=one", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"$ME"}}`)),
	c("apply in CBOR", patch("application/apply-patch+cbor", ownCMs+"/$ME?fieldManager=one", "\xa0")),
	c("apply a custom resource", applyWidget("one", "", "color: red"), applyWidget("two", "", "color: blue"), applyWidget("two", "&force=true", "color: blue")),
	c("apply parts of a custom resource", applyWidget("one", "", "color: red, parts: [{name: lid, size: 1}]"), applyWidget("two", "", "parts: [{name: box, size: 2}]")),
	c("apply an invalid custom resource", applyWidget("one", "", "replicas: 3")),
	c("apply status", post(ownDeploys, deploy), patch(applyPatch, ownDeploys+"/$ME/status?fieldManager=one", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: $ME}\nstatus: {replicas: 3}")),
	c("apply over update", post(ownCMs, cm), apply("one", "", "a: 5")),
}}

func apply(manager, query, data string, headers ...string) step {
	return patch(applyPatch, ownCMs+"/$ME?fieldManager="+manager+query, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: $ME}\ndata: {"+quoteNumbers(data)+"}", headers...)
}

func applyWidget(manager, query, spec string) step {
	return patch(applyPatch, ownWidgets+"/$ME?fieldManager="+manager+query, "apiVersion: diff.example.com/v1\nkind: Widget\nmetadata: {name: $ME}\nspec: {"+spec+"}")
}

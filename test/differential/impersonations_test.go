package differential

const imp = "Impersonate-User: "

// impersonations is who a request is made as. The users impersonator and
// constrained have the rights that their names say; see seedObjects.
var impersonations = group{"impersonation", append(alsoHTTP1(
	c("admin as a user", whoAmI(imp+"alice")),
	c("user without the right", whoAmI(imp+"alice").by("mallory")),
),
	c("admin as a user with everything", whoAmI(imp+"alice", "Impersonate-Group: a", "Impersonate-Group: b", "Impersonate-Uid: 7", "Impersonate-Extra-Scopes: x", "Impersonate-Extra-Scopes: y")),
	c("admin as a user with odd extras", whoAmI(imp+"alice", "Impersonate-Extra-Example.com%2Fkey%20x: größe")),
	c("admin as a user with an extra in capitals", whoAmI(imp+"alice", "Impersonate-Extra-CAPITALS: x")),
	c("admin as a user with an extra that has a bad escape", whoAmI(imp+"alice", "Impersonate-Extra-A%zz: x")),
	c("admin as a user with an extra without a name", whoAmI(imp+"alice", "Impersonate-Extra-: x")),
	c("admin as a user with an empty extra", whoAmI(imp+"alice", "Impersonate-Extra-A:")),
	c("admin as a user with an odd name", whoAmI(imp+"o'neil: größe, x")),
	c("admin as a service account", whoAmI(imp+"system:serviceaccount:$SHARED:robot")),
	c("admin as a service account with a group", whoAmI(imp+"system:serviceaccount:$SHARED:robot", "Impersonate-Group: x")),
	c("admin as a service account of no sense", whoAmI(imp+"system:serviceaccount:Bad Name")),
	c("admin as anonymous", whoAmI(imp+"system:anonymous")),
	c("admin as anonymous with a group", whoAmI(imp+"system:anonymous", "Impersonate-Group: x")),
	c("admin as a user who is not authenticated", whoAmI(imp+"bob", "Impersonate-Group: system:unauthenticated")),
	c("admin as a node", whoAmI(imp+"system:node:diff-node", "Impersonate-Group: system:nodes")),
	c("admin as himself", whoAmI(imp+"kubernetes-admin", "Impersonate-Group: system:masters")),
	c("admin as two users", whoAmI(imp+"alice", imp+"bob")),
	c("admin as nobody", whoAmI("Impersonate-User:")),
	c("admin as nobody with a group", whoAmI("Impersonate-User:", "Impersonate-Group: x")),
	c("admin as a group alone", whoAmI("Impersonate-Group: readers")),
	c("admin as a uid alone", whoAmI("Impersonate-Uid: 5")),
	c("admin as an extra alone", whoAmI("Impersonate-Extra-A: b")),
	c("admin with an empty group", whoAmI(imp+"alice", "Impersonate-Group:")),
	c("admin with an empty uid", whoAmI(imp+"alice", "Impersonate-Uid:")),
	c("admin with a header of no meaning", whoAmI(imp+"alice", "Impersonate-Shoe-Size: 44")),
	c("admin with only a header of no meaning", whoAmI("Impersonate-Shoe-Size: 44")),
	c("admin as a user who may not", get(one, imp+"mallory")),
	c("admin as a user who may", get(one, imp+"mallory", "Impersonate-Group: readers")),
	c("admin as a user on a path without objects", get("/readyz?verbose", imp+"mallory")),
	c("admin as a user on an unknown path", get("/nope", imp+"mallory")),
	c("admin as a user on a watch", get(cms+"?watch=true&resourceVersion=0", imp+"alice", "Impersonate-Group: readers").events(2)),
	c("admin as a user who writes", post(ownCMs, cm, imp+"alice")),
	c("admin as a user on metrics", get("/metrics", imp+"mallory")),
	c("connection names the impersonation", get(one, "Connection: Impersonate-User", imp+"mallory").h1()),

	c("user as himself", whoAmI(imp+"mallory").by("mallory")),
	c("user with a uid alone", whoAmI("Impersonate-Uid: 5").by("mallory")),
	c("user with a group alone", whoAmI("Impersonate-Group: system:masters").by("mallory")),
	c("user with an extra alone", whoAmI("Impersonate-Extra-A: b").by("mallory")),
	c("user without the right on a path without objects", get("/version", imp+"alice").by("mallory")),
	c("user without the right on a list", get(cms, imp+"alice").by("mallory")),
	c("user without the right on a watch", get(cms+"?watch=true", imp+"alice").by("mallory")),
	c("user without the right in protobuf", get(cms, imp+"alice", acceptPB).by("mallory")),
	c("user without the right as an account", whoAmI(imp+"system:serviceaccount:$SHARED:robot").by("mallory")),
	c("user without the right as a node", whoAmI(imp+"system:node:diff-node").by("mallory")),
	c("account without the right", whoAmI(imp+"alice", forToken+"$TOKEN").by("nobody")),
	c("nobody as a user", whoAmI(imp+"alice").by("nobody")),
	c("nobody as anonymous", whoAmI(imp+"system:anonymous").by("nobody")),
	c("bad token as a user", whoAmI(imp+"alice", forToken+"nonsense").by("nobody")),

	c("impersonator as the allowed user", whoAmI(imp+"alice").by("impersonator")),
	c("impersonator as another user", whoAmI(imp+"bob").by("impersonator")),
	c("impersonator with the allowed group", whoAmI(imp+"alice", "Impersonate-Group: readers").by("impersonator")),
	c("impersonator with another group", whoAmI(imp+"alice", "Impersonate-Group: system:masters").by("impersonator")),
	c("impersonator with one group too many", whoAmI(imp+"alice", "Impersonate-Group: readers", "Impersonate-Group: writers").by("impersonator")),
	c("impersonator with the allowed uid", whoAmI(imp+"alice", "Impersonate-Uid: uid-of-alice").by("impersonator")),
	c("impersonator with another uid", whoAmI(imp+"alice", "Impersonate-Uid: 0").by("impersonator")),
	c("impersonator with the allowed extra", whoAmI(imp+"alice", "Impersonate-Extra-Scopes: view").by("impersonator")),
	c("impersonator with another value", whoAmI(imp+"alice", "Impersonate-Extra-Scopes: edit").by("impersonator")),
	c("impersonator with another extra", whoAmI(imp+"alice", "Impersonate-Extra-Other: view").by("impersonator")),
	c("impersonator as the allowed account", whoAmI(imp+"system:serviceaccount:$SHARED:robot").by("impersonator")),
	c("impersonator as another account", whoAmI(imp+"system:serviceaccount:$SHARED:default").by("impersonator")),
	c("impersonator reads as a reader", get(one, imp+"alice", "Impersonate-Group: readers").by("impersonator")),
	c("impersonator loses his own rights", get("/api/v1/namespaces/$SHARED/secrets/password", imp+"alice").by("impersonator")),

	c("constrained in what is allowed", get(cms+"?limit=1&resourceVersion=$SEED&resourceVersionMatch=Exact", imp+"alice", "Impersonate-Group: readers").by("constrained")),
	c("constrained asks who", whoAmI(imp+"alice", "Impersonate-Group: readers").by("constrained")),
	c("constrained with another verb", get(one, imp+"alice", "Impersonate-Group: readers").by("constrained")),
	c("constrained with another resource", get(pods, imp+"alice", "Impersonate-Group: readers").by("constrained")),
	c("constrained as another user", get(cms, imp+"bob").by("constrained")),
	c("constrained as an account", get(one, imp+"system:serviceaccount:$SHARED:robot").by("constrained-account")),
	c("constrained as an account with another verb", get(cms, imp+"system:serviceaccount:$SHARED:robot").by("constrained-account")),
	c("constrained on a path without objects", get("/version", imp+"alice").by("constrained")),
)}

const (
	accessReview = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	rulesReview  = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
)

func canI(attributes string, headers ...string) step {
	return post(accessReview, `{"spec":{"resourceAttributes":`+attributes+`}}`, headers...)
}

// reviews ask what a user may.
var reviews = group{"reviews", []testCase{
	c("may admin", canI(`{"verb":"delete","resource":"nodes"}`)),
	c("may a reader read", canI(`{"verb":"get","resource":"configmaps","namespace":"$SHARED"}`).by("alice")),
	c("may a reader write", canI(`{"verb":"create","resource":"configmaps","namespace":"$SHARED"}`).by("alice")),
	c("may nobody", canI(`{"verb":"get","resource":"pods"}`).by("nobody")),
	c("may an account", canI(`{"verb":"list","resource":"configmaps","namespace":"$SHARED"}`, forToken+"$TOKEN").by("nobody")),
	c("may a user as another", canI(`{"verb":"get","resource":"configmaps","namespace":"$SHARED"}`, imp+"alice", "Impersonate-Group: readers").by("impersonator")),
	c("may with selectors", canI(`{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["diff-node"]}]}}`).by("node")),
	c("may on a path", post(accessReview, `{"spec":{"nonResourceAttributes":{"path":"/metrics","verb":"get"}}}`).by("mallory")),
	c("may nothing", post(accessReview, `{"spec":{}}`)),
	c("may both", post(accessReview, `{"spec":{"resourceAttributes":{},"nonResourceAttributes":{}}}`)),
	c("may in protobuf", canI(`{"verb":"get","resource":"pods"}`, acceptPB)),
	c("which rules for a reader", post(rulesReview, `{"spec":{"namespace":"$SHARED"}}`).by("alice").inAnyOrder()),
	c("which rules for a user", post(rulesReview, `{"spec":{"namespace":"$SHARED"}}`).by("mallory").inAnyOrder()),
	c("which rules for nobody", post(rulesReview, `{"spec":{"namespace":"default"}}`).by("nobody").inAnyOrder()),
	c("which rules without a namespace", post(rulesReview, `{"spec":{}}`).inAnyOrder()),
	c("who is it in YAML", post(selfPath, selfReview, acceptYAML)),
	c("who is it in protobuf", post(selfPath, selfReview, acceptPB)),
	c("who is it as a table", post(selfPath, selfReview, acceptTable)),
	c("who is it by GET", get(selfPath)),
	c("who is it for show", post(selfPath+"?dryRun=All", selfReview)),
	c("who is it with a spec", post(selfPath, `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1","status":{"userInfo":{"username":"admin"}}}`)),
	c("who is a token", post("/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"$TOKEN"}}`)),
	c("who is a bad token", post("/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"nonsense"}}`)),
	c("who is a token for another audience", post("/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"$AUDTOKEN","audiences":["another-service"]}}`)),
	c("who is a token, forbidden", post("/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"$TOKEN"}}`).by("mallory")),
	c("may another", post("/apis/authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"alice","groups":["readers"],"resourceAttributes":{"verb":"get","resource":"configmaps","namespace":"$SHARED"}}}`)),
	c("may another, forbidden", post("/apis/authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"alice"}}`).by("mallory")),
	c("may another, locally", post("/apis/authorization.k8s.io/v1/namespaces/$SHARED/localsubjectaccessreviews", `{"spec":{"user":"alice","resourceAttributes":{"verb":"get","resource":"pods","namespace":"$SHARED"}}}`)),
}}

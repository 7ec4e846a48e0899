package differential

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

var encodings = group{"encodings", append(alsoHTTP1(
	c("object in protobuf", get(one, acceptPB)),
	c("list in protobuf", get(pods, acceptPB)),
	c("object in YAML", get(one, acceptYAML)),
	c("list as a table", get(pods, acceptTable)),
	c("nothing acceptable", get(one, "Accept: text/html")),
),
	c("list in YAML", get(cms, acceptYAML)),
	c("object in CBOR", get(one, acceptCBOR)),
	c("list in CBOR", get(cms, acceptCBOR)),
	c("custom resource in CBOR", get(widgets+"/red", acceptCBOR)),
	c("object as a table", get(pods+"/on-node", acceptTable)),
	c("table with whole objects", get(pods+"?includeObject=Object", acceptTable)),
	c("table without objects", get(pods+"?includeObject=None", acceptTable)),
	c("table with a bad includeObject", get(pods+"?includeObject=Half", acceptTable)),
	c("table in YAML", get(pods, "Accept: application/yaml;as=Table;v=v1;g=meta.k8s.io")),
	c("table in protobuf", get(pods, "Accept: application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io")),
	c("table of an old version", get(pods, "Accept: application/json;as=Table;v=v1beta1;g=meta.k8s.io")),
	c("table of an unknown version", get(pods, "Accept: application/json;as=Table;v=v7;g=meta.k8s.io")),
	c("table as kubectl asks", get(pods, "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json")),
	c("table of custom resources", get(widgets, acceptTable)),
	c("table of a missing object", get(pods+"/missing", acceptTable)),
	c("table over all namespaces", get("/api/v1/pods?fieldSelector=metadata.namespace%3Ddiff-shared", acceptTable)),
	c("metadata of an object", get(one, acceptMeta)),
	c("metadata of a list", get(cms, acceptMetas)),
	c("metadata of a list in protobuf", get(cms, "Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")),
	c("metadata of an object in protobuf", get(one, "Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")),
	c("metadata of custom resources in protobuf", get(widgets, "Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")),
	c("metadata of a list asked for an object", get(one, acceptMetas)),
	c("metadata of an object asked for a list", get(cms, acceptMeta)),
	c("metadata as informers ask", get(cms, "Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json")),
	c("an unknown transformation", get(one, "Accept: application/json;as=Something;v=v1;g=meta.k8s.io")),
	c("an unknown transformation with a way out", get(one, "Accept: application/json;as=Something;v=v1;g=meta.k8s.io, application/json")),
	c("custom resource in protobuf", get(widgets+"/red", acceptPB)),
	c("custom resources in protobuf with a way out", get(widgets, "Accept: application/vnd.kubernetes.protobuf,application/json")),
	c("custom resource in YAML", get(widgets+"/red", acceptYAML)),
	c("typed clients accept protobuf first", get(one, "Accept: application/vnd.kubernetes.protobuf,application/json")),
	c("several Accept headers", get(one, "Accept: application/yaml", "Accept: application/json")),
	c("several Accept headers, bad one first", get(one, "Accept: text/html", "Accept: application/yaml")),
	c("Accept with quality", get(one, "Accept: application/json;q=0.1, application/yaml;q=0.9")),
	c("Accept with quality nought", get(one, "Accept: application/json;q=0, application/yaml")),
	c("Accept anything", get(one, "Accept: */*")),
	c("Accept any application", get(one, "Accept: application/*")),
	c("Accept any text", get(one, "Accept: text/*")),
	c("Accept nothing", get(one, "Accept:")),
	c("Accept that cannot be read", get(one, "Accept: ;;;=,/")),
	c("Accept in capitals", get(one, "Accept: APPLICATION/YAML")),
	c("Accept with a charset", get(one, "Accept: application/json;charset=utf-8")),
	c("Accept with pretty", get(one, "Accept: application/json;pretty=1")),
	c("Accept with an unknown parameter", get(one, "Accept: application/json;colour=red")),
	c("Accept a stream without a watch", get(one, "Accept: application/json;stream=watch")),
	c("Accept a list of hundred", get(one, "Accept: "+hundredTypes())),
	c("error in protobuf", get(cms+"/missing", acceptPB)),
	c("error in YAML", get(cms+"/missing", acceptYAML)),
	c("error of a custom resource in protobuf", get(widgets+"/missing", acceptPB)),
	c("forbidden in protobuf", get(one, acceptPB).by("mallory")),
	c("forbidden in YAML", get(one, acceptYAML).by("mallory")),
	c("forbidden with nothing acceptable", get(one, "Accept: text/html").by("mallory")),
	c("gzip is not for small answers", get(one, "Accept-Encoding: gzip")),
	c("gzip among others", get(bigs, "Accept-Encoding: deflate, gzip;q=0.5, br")),
	c("gzip refused", get(bigs, "Accept-Encoding: identity, gzip;q=0")),
	c("gzip in capitals", get(bigs, "Accept-Encoding: GZIP")),
	c("gzip in two headers", get(bigs, "Accept-Encoding: br", "Accept-Encoding: gzip")),
	c("gzip of protobuf", get(bigs, "Accept-Encoding: gzip", acceptPB)),
	c("any encoding", get(bigs, "Accept-Encoding: *")),
	c("a big list as it is", get(bigs)),

	c("create in protobuf", postProtobuf(ownCMs, acceptPB), get(ownCMs+"/from-protobuf", acceptPB), postProtobuf(ownCMs, "Accept: application/json")),
	c("create in protobuf, answer in JSON", postProtobuf("/api/v1/namespaces/default/configmaps?dryRun=All", "Accept: application/json").onOwn()),
	c("create in YAML", post(ownCMs, "metadata: {name: $ME}\ndata:\n  a: b\n", "Content-Type: application/yaml", acceptYAML)),
	c("create in CBOR", post(ownCMs, "\xd9\xd9\xf7\xa1\x64kind\x69ConfigMap", "Content-Type: application/cbor")),
	c("create in CBOR, custom resource", post(ownWidgets, "\xd9\xd9\xf7\xa1\x64kind\x66Widget", "Content-Type: application/cbor")),
	c("create answered as a table", post(ownCMs, cm, acceptTable)),
	c("create answered as metadata", post(ownCMs, cm, acceptMeta)),
	c("create without a Content-Type", post(ownCMs, cm, "Content-Type:")),
	c("create with a Content-Type of a browser", post(ownCMs, cm, "Content-Type: application/x-www-form-urlencoded")),
	c("create with a Content-Type with charset", post(ownCMs, cm, "Content-Type: application/json; charset=utf-16")),
	c("create with a Content-Type that cannot be read", post(ownCMs, cm, "Content-Type: ;;")),
	c("create in text", post(ownCMs, cm, "Content-Type: text/plain")),
	c("create says protobuf, sends JSON", post(ownCMs, cm, "Content-Type: application/vnd.kubernetes.protobuf")),
	c("create says JSON, sends YAML", post(ownCMs, "metadata: {name: $ME}", "Content-Type: application/json")),
	c("create custom resource in protobuf", postProtobuf(ownWidgets)),
	c("create with nothing acceptable is not applied", post(ownCMs, cm, "Accept: text/html"), get(ownCMs+"/$ME")),
)}

func hundredTypes() string {
	types := ""
	for range 100 {
		types += "text/html, "
	}
	return types + "application/yaml"
}

// postProtobuf creates a ConfigMap named from-protobuf.
func postProtobuf(path string, headers ...string) step {
	return postBinary(path, "application/vnd.kubernetes.protobuf", protobufOf(&corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "from-protobuf"},
		Data:       map[string]string{"a": "b"},
	}), headers...)
}

func postBinary(path, mediaType string, body []byte, headers ...string) step {
	return post(path, "", append([]string{"Content-Type: " + mediaType}, headers...)...).binary(body)
}

func protobufOf(object runtime.Object) []byte {
	kind := object.GetObjectKind().GroupVersionKind()
	encoder := codecs.EncoderForVersion(protobuf.NewSerializer(nil, nil), schema.GroupVersion{Group: kind.Group, Version: kind.Version})
	b, err := runtime.Encode(encoder, object)
	if err != nil {
		panic(err)
	}
	return b
}

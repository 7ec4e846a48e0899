package apiserver

import (
	"fmt"
	"maps"
	"net/http"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	restclient "k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// maxBodyBytes is what a policy may have; etcd would refuse more than 1.5 MB with
// a worse message.
const maxBodyBytes = 1 << 20

// api is one assembled API on one store.
type api struct {
	handler http.Handler
	store   *store
	// ready has a check for each kind's watch cache.
	ready   []func() error
	destroy func()
}

// newScheme knows the group, and what every Kubernetes API speaks of.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.RegisterDefaults(scheme); err != nil {
		return nil, err
	}
	if err := scheme.SetVersionPriority(v1alpha1.SchemeGroupVersion); err != nil {
		return nil, err
	}
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, v1)
	scheme.AddUnversionedTypes(v1, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	return scheme, nil
}

// documented is the scheme without internal versions: they are the same Go
// types, and would be named in the OpenAPI documents.
func documented(scheme *runtime.Scheme) *runtime.Scheme {
	external := runtime.NewScheme()
	for kind := range scheme.AllKnownTypes() {
		if kind.Version == runtime.APIVersionInternal {
			continue
		}
		// Every known type can be made.
		if object, err := scheme.New(kind); err == nil {
			external.AddKnownTypeWithName(kind, object)
		}
	}
	return external
}

// textOnly leaves protobuf out of what is offered: the kinds have no such
// encoding. A client that accepts JSON as well then gets that.
type textOnly struct{ serializer.CodecFactory }

func (t textOnly) SupportedMediaTypes() []runtime.SerializerInfo {
	var infos []runtime.SerializerInfo
	for _, info := range t.CodecFactory.SupportedMediaTypes() {
		if info.MediaType != runtime.ContentTypeProtobuf {
			infos = append(infos, info)
		}
	}
	return infos
}

// newAPI assembles the API. It does not wait for etcd.
func newAPI(config Config, store *store) (*api, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	codecs := serializer.NewCodecFactory(scheme, serializer.WithStreamingCollectionEncodingToJSON())
	judge := newJudge(config.Authorizer)
	server, err := newGenericServer(scheme, codecs, judge, func(handler http.Handler) http.Handler {
		return chain(handler, config, judge, codecs)
	})
	if err != nil {
		return nil, err
	}

	a := &api{handler: server.Handler, store: store, destroy: server.Destroy}
	resources := map[string]rest.Storage{}
	fail := func(err error) (*api, error) {
		for _, resource := range resources {
			resource.Destroy()
		}
		server.Destroy()
		return nil, err
	}
	options := restOptions{store: store, codec: codecs.LegacyCodec(v1alpha1.SchemeGroupVersion)}
	for _, kind := range kinds(config.Clock) {
		main, status, err := newREST(kind, scheme, options)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", kind.resource, err))
		}
		resources[kind.resource] = main
		resources[kind.resource+"/status"] = status
		a.ready = append(a.ready, main.ReadinessCheckFunc)
		if kind.live != nil && config.Live != nil {
			resources[kind.resource+"/live"] = &liveREST{live: kind.live(config.Live), objects: main}
		}
	}
	maps.Copy(resources, virtual(config.Insight))
	group := genericapiserver.APIGroupInfo{
		PrioritizedVersions:          scheme.PrioritizedVersionsForGroup(v1alpha1.GroupName),
		VersionedResourcesStorageMap: map[string]map[string]rest.Storage{v1alpha1.SchemeGroupVersion.Version: resources},
		OptionsExternalVersion:       &schema.GroupVersion{Version: "v1"},
		Scheme:                       scheme,
		ParameterCodec:               runtime.NewParameterCodec(scheme),
		NegotiatedSerializer:         textOnly{codecs},
	}
	if err := server.InstallAPIGroup(&group); err != nil {
		return fail(err)
	}
	// Installs the OpenAPI handlers. The server is not run: it would want a
	// listener, and its hooks maintain what is not used here.
	server.PrepareRun()
	return a, nil
}

func newGenericServer(scheme *runtime.Scheme, codecs serializer.CodecFactory, judge *judge, chain func(http.Handler) http.Handler) (*genericapiserver.GenericAPIServer, error) {
	c := genericapiserver.NewConfig(codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	// Stands in /apis as the server's address, for clients that nobody has.
	c.ExternalAddress = "localhost:443"
	c.LoopbackClientConfig = &restclient.Config{}
	c.BuildHandlerChainFunc = func(handler http.Handler, _ *genericapiserver.Config) http.Handler { return chain(handler) }
	c.Authorization.Authorizer = judge
	c.EnableIndex, c.EnableProfiling, c.EnableMetrics = false, false, false
	c.StorageObjectCountTracker = nil
	c.MaxRequestBodyBytes = maxBodyBytes

	names := openapi.NewDefinitionNamer(documented(scheme))
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(v1alpha1.GetOpenAPIDefinitions, names)
	c.OpenAPIConfig.Info.Title = "ASI Gateway"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(v1alpha1.GetOpenAPIDefinitions, names)
	c.OpenAPIV3Config.Info.Title = "ASI Gateway"
	return c.Complete(nil).New("asi-gateway", genericapiserver.NewEmptyDelegate())
}

// restOptions is a generic.RESTOptionsGetter.
type restOptions struct {
	store *store
	codec runtime.Codec
}

func (o restOptions) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := storagebackend.NewDefaultConfig(o.store.prefix, o.codec)
	config.EncodeVersioner = v1alpha1.SchemeGroupVersion
	return generic.RESTOptions{
		StorageConfig:  config.ForResource(resource),
		Decorator:      o.store.decorate,
		ResourcePrefix: path.Join(resource.Group, resource.Resource),
		// The cluster's garbage collector need not know this group, so nobody
		// would finish a foreground deletion.
		EnableGarbageCollection: false,
		DeleteCollectionWorkers: 1,
	}, nil
}

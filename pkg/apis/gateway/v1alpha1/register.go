package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the gateway.
const GroupName = "gateway.asi.io"

// SchemeGroupVersion is this group and version.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// Resource returns the qualified name of a resource of this group.
func Resource(resource string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(resource).GroupResource()
}

// AddToScheme registers the kinds of this group. The same Go types stand for the
// internal version, so that nothing has to be converted.
func AddToScheme(scheme *runtime.Scheme) error {
	kinds := []runtime.Object{
		&ClientClass{}, &ClientClassList{},
		&RateLimit{}, &RateLimitList{}, &RateLimitLive{},
		&Switch{}, &SwitchList{},
		&UpstreamGroup{}, &UpstreamGroupList{}, &UpstreamGroupLive{},
		&Route{}, &RouteList{},
		&CachedResource{}, &CachedResourceList{}, &CachedResourceLive{},
		&Flow{}, &FlowList{}, &LimitSimulation{}, &RequestExplanation{},
	}
	scheme.AddKnownTypes(SchemeGroupVersion, kinds...)
	scheme.AddKnownTypes(schema.GroupVersion{Group: GroupName, Version: runtime.APIVersionInternal}, kinds...)
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}

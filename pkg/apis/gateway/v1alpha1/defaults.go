package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

const (
	// DefaultMaxStaleness is the maxStaleness of Relaxed reads.
	DefaultMaxStaleness = 5 * time.Second
	// DefaultSwitchDuration is the duration of a Switch.
	DefaultSwitchDuration = time.Hour
	// DefaultSlowStart and DefaultFailback are those of an UpstreamGroup.
	DefaultSlowStart = 10 * time.Second
	DefaultFailback  = 30 * time.Second
	// DefaultVersion, DefaultCompressAbove (in bytes) and DefaultHistory (in changes)
	// are those of a CachedResource.
	DefaultVersion       = "v1"
	DefaultCompressAbove = 4 << 10
	DefaultHistory       = 4096
)

// RegisterDefaults makes the scheme fill in what an object leaves out.
func RegisterDefaults(scheme *runtime.Scheme) error {
	scheme.AddTypeDefaultingFunc(&RateLimit{}, func(o any) { SetDefaults_RateLimit(o.(*RateLimit)) })
	scheme.AddTypeDefaultingFunc(&ClientClass{}, func(o any) { SetDefaults_ClientClass(o.(*ClientClass)) })
	scheme.AddTypeDefaultingFunc(&Switch{}, func(o any) { SetDefaults_Switch(o.(*Switch)) })
	scheme.AddTypeDefaultingFunc(&UpstreamGroup{}, func(o any) { SetDefaults_UpstreamGroup(o.(*UpstreamGroup)) })
	scheme.AddTypeDefaultingFunc(&Route{}, func(o any) { SetDefaults_Route(o.(*Route)) })
	scheme.AddTypeDefaultingFunc(&CachedResource{}, func(o any) { SetDefaults_CachedResource(o.(*CachedResource)) })
	return nil
}

// SetDefaults_UpstreamGroup fills in what o leaves out.
func SetDefaults_UpstreamGroup(o *UpstreamGroup) {
	for i := range o.Spec.Servers {
		if o.Spec.Servers[i].Weight == nil {
			o.Spec.Servers[i].Weight = ptr.To[int32](1)
		}
	}
	if o.Spec.Shedding == "" {
		o.Spec.Shedding = SheddingAuto
	}
	if o.Spec.Hedging == "" {
		o.Spec.Hedging = HedgingNever
	}
	if o.Spec.SlowStart == nil {
		o.Spec.SlowStart = &metav1.Duration{Duration: DefaultSlowStart}
	}
	if o.Spec.Failback == nil {
		o.Spec.Failback = &metav1.Duration{Duration: DefaultFailback}
	}
}

// SetDefaults_Route fills in what o leaves out.
func SetDefaults_Route(o *Route) {
	if o.Spec.Share == nil {
		o.Spec.Share = ptr.To[int32](100)
	}
}

// SetDefaults_CachedResource fills in what o leaves out. The fields stay out: they
// are all that the resource has, which may become more.
func SetDefaults_CachedResource(o *CachedResource) {
	if o.Spec.Version == "" {
		o.Spec.Version = DefaultVersion
	}
	if len(o.Spec.Verbs) == 0 {
		o.Spec.Verbs = []CachedVerb{CachedGet, CachedList, CachedWatch}
	}
	if o.Spec.CompressAbove == nil {
		o.Spec.CompressAbove = resource.NewQuantity(DefaultCompressAbove, resource.BinarySI)
	}
	if o.Spec.History == nil {
		o.Spec.History = ptr.To[int32](DefaultHistory)
	}
}

// SetDefaults_RateLimit fills in what o leaves out. The burst stays out: it
// follows the rate, which may follow the number of nodes.
func SetDefaults_RateLimit(o *RateLimit) {
	if o.Spec.Scope == "" {
		o.Spec.Scope = ScopeReplica
	}
	if o.Spec.Scope == ScopeGlobal && o.Spec.FailurePolicy == "" {
		o.Spec.FailurePolicy = FailShare
	}
	if o.Spec.Mode == "" {
		o.Spec.Mode = ModeEnforce
	}
}

// SetDefaults_ClientClass fills in what o leaves out.
func SetDefaults_ClientClass(o *ClientClass) {
	if o.Spec.Reads.Mode == "" {
		o.Spec.Reads.Mode = ReadStrict
	}
	if o.Spec.Reads.Mode == ReadRelaxed && o.Spec.Reads.MaxStaleness == nil {
		o.Spec.Reads.MaxStaleness = &metav1.Duration{Duration: DefaultMaxStaleness}
	}
}

// SetDefaults_Switch fills in what o leaves out.
func SetDefaults_Switch(o *Switch) {
	if o.Spec.Duration == nil {
		o.Spec.Duration = &metav1.Duration{Duration: DefaultSwitchDuration}
	}
	if o.Spec.Type == SwitchReadOnly && o.Spec.ReadOnly == nil {
		o.Spec.ReadOnly = &SwitchScope{}
	}
	if o.Spec.Type == SwitchServeStale && o.Spec.ServeStale == nil {
		o.Spec.ServeStale = &SwitchScope{}
	}
}

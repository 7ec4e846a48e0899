package apiserver

import (
	"context"
	"reflect"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// strategy is how objects are created, and how their spec is written.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	kind *kind
}

func (strategy) NamespaceScoped() bool                         { return false }
func (strategy) AllowCreateOnUpdate(context.Context) bool      { return false }
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }
func (strategy) Canonicalize(runtime.Object)                   {}

// GetResetFields names the fields that a write of the spec does not change, so
// that server-side apply gives nobody the ownership of them.
func (strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return resets("status")
}

func (s strategy) PrepareForCreate(ctx context.Context, o runtime.Object) {
	_, status := s.kind.parts(o)
	zero(status)
	accessor(o).SetGeneration(1)
	s.kind.created(ctx, o)
	note(ctx, o)
}

func (s strategy) PrepareForUpdate(ctx context.Context, o, old runtime.Object) {
	spec, status := s.kind.parts(o)
	oldSpec, oldStatus := s.kind.parts(old.DeepCopyObject())
	assign(status, oldStatus)
	if !apiequality.Semantic.DeepEqual(spec, oldSpec) {
		accessor(o).SetGeneration(accessor(old).GetGeneration() + 1)
	}
	s.kind.updated(o, old)
	note(ctx, o)
}

func (s strategy) Validate(_ context.Context, o runtime.Object) field.ErrorList {
	return s.kind.validate(o)
}

func (s strategy) ValidateUpdate(_ context.Context, o, old runtime.Object) field.ErrorList {
	return s.kind.validateUpdate(o, old)
}

func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// statusStrategy is how the status is written. Who may write it cannot change
// anything else: not the spec, and no labels either.
type statusStrategy struct{ strategy }

func (statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return resets("spec", "metadata")
}

func (s statusStrategy) PrepareForUpdate(ctx context.Context, o, old runtime.Object) {
	was := old.DeepCopyObject()
	spec, _ := s.kind.parts(o)
	oldSpec, _ := s.kind.parts(was)
	assign(spec, oldSpec)

	metadata, oldMetadata := accessor(o), accessor(was)
	metadata.SetLabels(oldMetadata.GetLabels())
	metadata.SetAnnotations(oldMetadata.GetAnnotations())
	metadata.SetFinalizers(oldMetadata.GetFinalizers())
	metadata.SetOwnerReferences(oldMetadata.GetOwnerReferences())
	s.kind.kept(o, was)
	note(ctx, o)
}

// ValidateUpdate has nothing to check: the server writes conditions, and the
// rest is kept. A status must be writable on an object that a later version of
// the validation would refuse.
func (statusStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func resets(fields ...string) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, name := range fields {
		set.Insert(fieldpath.MakePathOrDie(name))
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(v1alpha1.SchemeGroupVersion.String()): set}
}

func accessor(o runtime.Object) metav1.Object {
	// All kinds have ObjectMeta.
	m, err := meta.Accessor(o)
	if err != nil {
		panic(err)
	}
	return m
}

// assign and zero change what a pointer from kind.parts points at.
func assign(to, from any) { reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem()) }

func zero(part any) { reflect.ValueOf(part).Elem().SetZero() }

package apiserver

import (
	"context"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// kindREST is the storage of a kind.
type kindREST struct {
	*genericregistry.Store
	kind *kind
}

var (
	_ rest.StandardStorage    = &kindREST{}
	_ rest.ShortNamesProvider = &kindREST{}
	_ rest.CategoriesProvider = &kindREST{}
)

func newREST(k *kind, typer runtime.ObjectTyper, options generic.RESTOptionsGetter) (*kindREST, *statusREST, error) {
	s := strategy{ObjectTyper: typer, NameGenerator: names.SimpleNameGenerator, kind: k}
	main := &genericregistry.Store{
		NewFunc:                   k.new,
		NewListFunc:               k.newList,
		DefaultQualifiedResource:  v1alpha1.Resource(k.resource),
		SingularQualifiedResource: v1alpha1.Resource(k.singular),
		CreateStrategy:            s,
		UpdateStrategy:            s,
		DeleteStrategy:            s,
		ResetFieldsStrategy:       s,
		TableConvertor:            table{k},
	}
	if err := main.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options}); err != nil {
		return nil, nil, err
	}
	status := *main
	status.UpdateStrategy = statusStrategy{s}
	status.ResetFieldsStrategy = statusStrategy{s}
	return &kindREST{main, k}, &statusREST{&status}, nil
}

func (r *kindREST) ShortNames() []string { return []string{r.kind.shortName} }
func (r *kindREST) Categories() []string { return []string{"asi"} }

// Delete is the store's; what is deleted goes into the log.
func (r *kindREST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	return r.Store.Delete(ctx, name, noting(validate), options)
}

// DeleteCollection is the store's; what is deleted goes into the log.
func (r *kindREST) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *metainternalversion.ListOptions) (runtime.Object, error) {
	return r.Store.DeleteCollection(ctx, noting(validate), options, list)
}

func noting(validate rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, o runtime.Object) error {
		note(ctx, o)
		if validate == nil {
			return nil
		}
		return validate(ctx, o)
	}
}

// statusREST is the subresource "status".
type statusREST struct{ store *genericregistry.Store }

var _ rest.Patcher = &statusREST{}

func (r *statusREST) New() runtime.Object { return r.store.New() }

// Destroy does nothing: the store belongs to the kind.
func (r *statusREST) Destroy() {}

func (r *statusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

func (r *statusREST) Update(ctx context.Context, name string, o rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	// A status of nothing is not created.
	return r.store.Update(ctx, name, o, create, update, false, options)
}

func (r *statusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

func (r *statusREST) ConvertToTable(ctx context.Context, o, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, o, options)
}

package apiserver

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/validation"
)

// Insight answers what is computed when asked for, and not stored.
type Insight interface {
	// Flows returns the requests of the last hour by flow, the busiest first.
	Flows(ctx context.Context) []v1alpha1.Flow
	// Simulate tells what limits would have refused in the last hour.
	Simulate(ctx context.Context, limits []v1alpha1.SimulatedLimit) v1alpha1.LimitSimulationStatus
	// Explain tells what would become of a request; an error says what is wrong
	// with it.
	Explain(ctx context.Context, spec *v1alpha1.RequestExplanationSpec) (v1alpha1.RequestExplanationStatus, field.ErrorList)
}

// virtual are the resources that Insight answers.
func virtual(insight Insight) map[string]rest.Storage {
	if insight == nil {
		return nil
	}
	return map[string]rest.Storage{
		"flows":               &flowsREST{insight},
		"limitsimulations":    &simulationsREST{insight},
		"requestexplanations": &explanationsREST{insight},
	}
}

type flowsREST struct{ insight Insight }

var (
	_ rest.Lister  = &flowsREST{}
	_ rest.Scoper  = &flowsREST{}
	_ rest.Creater = &simulationsREST{}
	_ rest.Creater = &explanationsREST{}
)

func (r *flowsREST) New() runtime.Object     { return &v1alpha1.Flow{} }
func (r *flowsREST) NewList() runtime.Object { return &v1alpha1.FlowList{} }
func (r *flowsREST) Destroy()                {}
func (r *flowsREST) NamespaceScoped() bool   { return false }
func (r *flowsREST) GetSingularName() string { return "flow" }

func (r *flowsREST) List(ctx context.Context, _ *internalversion.ListOptions) (runtime.Object, error) {
	// An empty list, not null.
	return &v1alpha1.FlowList{Items: append([]v1alpha1.Flow{}, r.insight.Flows(ctx)...)}, nil
}

func (r *flowsREST) ConvertToTable(_ context.Context, o, options runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{}
	if wantsHeaders(options) {
		t.ColumnDefinitions = []metav1.TableColumnDefinition{
			column("Client", 0, "The client's name."), column("Class", 0, "The client's class."),
			column("Verb", 0, "What is done."), column("Resource", 0, "What it is done to."),
			column("List", 0, "Scope and shape of a list."),
			column("Per-Second", 0, "Mean over the last ten seconds."), column("Peak", 0, "Most in a second of the last hour."),
			column("Requests", 0, "In the last hour."), column("Refused", 0, "Of them refused by limits."),
		}
	}
	for _, f := range o.(*v1alpha1.FlowList).Items {
		resource := f.Resource
		if f.APIGroup != "" {
			resource += "." + f.APIGroup
		}
		if f.Subresource != "" {
			resource += "/" + f.Subresource
		}
		list := ""
		if f.ListScope != "" {
			list = fmt.Sprintf("%s/%s", f.ListScope, f.ListShape)
		}
		t.Rows = append(t.Rows, metav1.TableRow{
			Cells:  []any{f.Client, f.Class, f.Verb, resource, list, f.PerSecond.String(), f.Peak.String(), f.Requests, f.Refused},
			Object: runtime.RawExtension{Object: &f},
		})
	}
	return t, nil
}

type simulationsREST struct{ insight Insight }

func (r *simulationsREST) New() runtime.Object     { return &v1alpha1.LimitSimulation{} }
func (r *simulationsREST) Destroy()                {}
func (r *simulationsREST) NamespaceScoped() bool   { return false }
func (r *simulationsREST) GetSingularName() string { return "limitsimulation" }

// maxSimulated bounds the work of one simulation.
const maxSimulated = 500

func (r *simulationsREST) Create(ctx context.Context, o runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	simulation := o.(*v1alpha1.LimitSimulation)
	path := field.NewPath("spec", "limits")
	var faults field.ErrorList
	if n := len(simulation.Spec.Limits); n > maxSimulated {
		faults = append(faults, field.TooMany(path, n, maxSimulated))
	}
	for i := range simulation.Spec.Limits {
		limit := &v1alpha1.RateLimit{Spec: simulation.Spec.Limits[i].Spec}
		limit.Name = simulation.Spec.Limits[i].Name
		v1alpha1.SetDefaults_RateLimit(limit)
		for _, fault := range validation.ValidateRateLimit(limit) {
			fault.Field = path.Index(i).String() + "." + fault.Field
			faults = append(faults, fault)
		}
	}
	if len(faults) > 0 {
		return nil, apierrors.NewInvalid(v1alpha1.SchemeGroupVersion.WithKind("LimitSimulation").GroupKind(), simulation.Name, faults)
	}
	simulation.Status = r.insight.Simulate(ctx, simulation.Spec.Limits)
	return simulation, nil
}

type explanationsREST struct{ insight Insight }

func (r *explanationsREST) New() runtime.Object     { return &v1alpha1.RequestExplanation{} }
func (r *explanationsREST) Destroy()                {}
func (r *explanationsREST) NamespaceScoped() bool   { return false }
func (r *explanationsREST) GetSingularName() string { return "requestexplanation" }

func (r *explanationsREST) Create(ctx context.Context, o runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	explanation := o.(*v1alpha1.RequestExplanation)
	status, faults := r.insight.Explain(ctx, &explanation.Spec)
	if len(faults) > 0 {
		return nil, apierrors.NewInvalid(v1alpha1.SchemeGroupVersion.WithKind("RequestExplanation").GroupKind(), explanation.Name, faults)
	}
	explanation.Status = status
	return explanation, nil
}

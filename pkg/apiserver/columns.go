package apiserver

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// none stands in a cell for what is not set, as kubectl has it elsewhere.
const none = "<none>"

// wide is the priority of columns for kubectl get -o wide.
const wide = 1

// table makes what kubectl get prints.
type table struct{ kind *kind }

func (t table) ConvertToTable(_ context.Context, o, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	if list, err := meta.ListAccessor(o); err == nil {
		out.ResourceVersion = list.GetResourceVersion()
		out.Continue = list.GetContinue()
		out.RemainingItemCount = list.GetRemainingItemCount()
	} else {
		out.ResourceVersion = accessor(o).GetResourceVersion()
	}
	if wantsHeaders(options) {
		out.ColumnDefinitions = withNameAndAge(t.kind.columns)
	}
	var err error
	out.Rows, err = metatable.MetaToTableRow(o, func(item runtime.Object, _ metav1.Object, name, age string) ([]any, error) {
		return insertAge(append([]any{name}, t.kind.cells(item)...), t.kind.columns, age), nil
	})
	return out, err
}

func wantsHeaders(options runtime.Object) bool {
	o, ok := options.(*metav1.TableOptions)
	return !ok || !o.NoHeaders
}

// normal is how many columns stand before the age: the wide ones come after it.
func normal(columns []metav1.TableColumnDefinition) int {
	return slices.IndexFunc(append(columns[:len(columns):len(columns)], column("", wide, "")),
		func(c metav1.TableColumnDefinition) bool { return c.Priority == wide })
}

func withNameAndAge(columns []metav1.TableColumnDefinition) []metav1.TableColumnDefinition {
	docs := metav1.ObjectMeta{}.SwaggerDoc()
	n := normal(columns)
	all := []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: docs["name"]}}
	all = append(all, columns[:n]...)
	all = append(all, column("Age", 0, docs["creationTimestamp"]))
	return append(all, columns[n:]...)
}

func insertAge(cells []any, columns []metav1.TableColumnDefinition, age string) []any {
	return slices.Insert(cells, 1+normal(columns), any(age))
}

func column(name string, priority int32, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Priority: priority, Description: description}
}

func integer(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

func rateLimitColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		column("Mode", 0, "Enforce, DryRun or Off."),
		column("QPS", 0, "Requests per second in the long run; 0 refuses all."),
		column("Per-Node", 0, "Requests per second for each node, if that is more."),
		column("Burst", 0, "Requests at once after a pause."),
		column("InFlight", 0, "Requests under way at a time."),
		column("Per", 0, "What has a bucket of its own."),
		column("Scope", 0, "Whether replicas count by themselves or together."),
		column("Active", 0, "Whether the limit is in force."),
		column("Verbs", wide, "What is limited."),
		column("Resources", wide, "What is limited."),
		column("Clients", wide, "Who is limited."),
	}
}

func rateLimitCells(l *v1alpha1.RateLimit) []any {
	spec := &l.Spec
	return []any{
		string(spec.Mode), optionalQuantity(spec.QPS), optionalQuantity(spec.QPSPerNode), optionalInt(spec.Burst), optionalInt(spec.MaxInFlight),
		join(spec.Per, none), string(spec.Scope), active(&l.Status, l.Generation),
		verbs(&spec.Match), resources(&spec.Match), clients(&spec.Match),
	}
}

func clientClassColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		column("Priority", 0, "P0 is the control plane, P4 what nobody knows."),
		integer("Precedence", "The highest wins where several classes match."),
		column("Reads", 0, "How fresh reads must be."),
		column("Active", 0, "Whether the class is in force."),
		column("Verbs", wide, "What belongs to the class."),
		column("Resources", wide, "What belongs to the class."),
		column("Clients", wide, "Who belongs to the class."),
	}
}

func clientClassCells(c *v1alpha1.ClientClass) []any {
	reads := string(c.Spec.Reads.Mode)
	if stale := c.Spec.Reads.MaxStaleness; stale != nil {
		reads += " " + stale.Duration.String()
	}
	return []any{
		string(c.Spec.Priority), int64(c.Spec.Precedence), reads, active(&c.Status, c.Generation),
		verbs(&c.Spec.Match), resources(&c.Spec.Match), clients(&c.Spec.Match),
	}
}

func switchColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		column("Type", 0, "What the switch does, with the group that it sends requests to, or the highest priority that it refuses."),
		column("Expires", 0, "Time left until the switch turns itself off."),
		column("By", 0, "Who turned it on."),
		column("Reason", 0, "Why it is on."),
	}
}

func switchCells(s *v1alpha1.Switch, now time.Time) []any {
	expires := none
	if at := s.Status.ExpiresAt; at != nil {
		expires = "expired"
		if left := at.Sub(now); left > 0 {
			expires = duration.HumanDuration(left)
		}
	}
	return []any{switchType(&s.Spec), expires, cmp.Or(s.Status.RequestedBy, none), s.Spec.Reason}
}

// switchType has what the type alone does not say: where to, and from where on.
func switchType(spec *v1alpha1.SwitchSpec) string {
	switch {
	case spec.ForceGroup != nil:
		return string(spec.Type) + " " + spec.ForceGroup.Group
	case spec.ShedPriority != nil:
		return string(spec.Type) + " " + string(spec.ShedPriority.Priority)
	default:
		return string(spec.Type)
	}
}

// active is what a policy's condition says of its present generation.
func active(status *v1alpha1.PolicyStatus, generation int64) string {
	condition := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionActive)
	if condition == nil || status.ObservedGeneration != generation {
		return string(metav1.ConditionUnknown)
	}
	return string(condition.Status)
}

func optionalQuantity(q *resource.Quantity) string {
	if q == nil {
		return none
	}
	return q.String()
}

func optionalInt(n *int32) string {
	if n == nil {
		return none
	}
	return strconv.Itoa(int(*n))
}

// join shows a list in a cell of bearable width.
func join[T ~string](values []T, empty string) string {
	const shown = 3
	if len(values) == 0 {
		return empty
	}
	var names []string
	for _, v := range values[:min(shown, len(values))] {
		// An empty name is one: the core group, a missing user agent.
		names = append(names, cmp.Or(string(v), `""`))
	}
	if more := len(values) - shown; more > 0 {
		names = append(names, "+"+strconv.Itoa(more))
	}
	return strings.Join(names, ",")
}

func verbs(m *v1alpha1.Match) string {
	var all []string
	for i := range m.Requests {
		if len(m.Requests[i].Verbs) == 0 {
			return "*"
		}
		all = append(all, m.Requests[i].Verbs...)
	}
	return join(unique(all), "*")
}

func resources(m *v1alpha1.Match) string {
	var all []string
	for i := range m.Requests {
		r := &m.Requests[i]
		if len(r.Resources)+len(r.NonResourceURLs) == 0 {
			return "*"
		}
		all = append(append(all, r.Resources...), r.NonResourceURLs...)
	}
	return join(unique(all), "*")
}

func clients(m *v1alpha1.Match) string {
	c := &m.Clients
	var parts []string
	add := func(what, values string) {
		if values != "" {
			parts = append(parts, what+"="+values)
		}
	}
	add("class", join(c.Classes, ""))
	add("agent", join(c.UserAgents, ""))
	add("user", join(c.Users, ""))
	add("group", join(c.Groups, ""))
	add("account", join(c.ServiceAccounts, ""))
	add("source", join(c.SourceCIDRs, ""))
	add("priority", join(c.Priorities, ""))
	return cmp.Or(strings.Join(parts, " "), "*")
}

func unique(values []string) []string {
	var out []string
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

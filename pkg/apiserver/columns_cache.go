package apiserver

import (
	"cmp"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func cachedResourceColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		column("Resource", 0, "What is kept in memory."),
		column("Version", 0, "The version that reads are answered in."),
		column("Verbs", 0, "The reads that are answered."),
		column("Active", 0, "Whether the object is in force."),
		column("Labels", wide, "Labels by which objects are found from the beginning."),
		column("Fields", wide, "Fields by which objects are found; * are all."),
		column("Compress-Above", wide, "The size above which objects are kept compressed."),
		column("History", wide, "How many changes are kept."),
	}
}

func cachedResourceCells(c *v1alpha1.CachedResource) []any {
	spec := &c.Spec
	return []any{
		groupResource(spec), spec.Version, join(spec.Verbs, "*"), active(&c.Status, c.Generation),
		join(spec.LabelIndexes, none), join(spec.FieldIndexes, "*"), optionalQuantity(spec.CompressAbove), optionalInt(spec.History),
	}
}

// groupResource is a resource as people know it, like "deployments.apps".
func groupResource(spec *v1alpha1.CachedResourceSpec) string {
	if spec.Group == "" {
		return spec.Resource
	}
	return spec.Resource + "." + spec.Group
}

func cachedResourceLiveColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		replica("The gateway that has it."),
		column("Encoding", 0, "What the objects are encoded in."),
		column("Ready", 0, "Whether reads are answered."),
		integer("Objects", "How many there are."),
		integer("Bytes", "The size of a list of all of them."),
		integer("Memory", "About how many bytes of memory they take."),
		column("Resource-Version", 0, "How far changes are known."),
		integer("Watchers", "Watches that are answered."),
		column("Reason", 0, "Why nothing is cached, or changes are not heard of."),
	}
}

// cachedResourceLiveRows has a row for each encoding in each replica, and one for a
// replica that has none.
func cachedResourceLiveRows(l *v1alpha1.CachedResourceLive) (rows [][]any) {
	for i := range l.Replicas {
		r := &l.Replicas[i]
		if len(r.Encodings) == 0 {
			rows = append(rows, []any{r.Name, none, "false", int64(0), int64(0), int64(0), none, int64(0), cmp.Or(r.Reason, none)})
		}
		for j := range r.Encodings {
			e := &r.Encodings[j]
			reason := none
			if !e.Following {
				reason = cmp.Or(e.LastError, none)
			}
			rows = append(rows, []any{
				r.Name, string(e.Encoding), strconv.FormatBool(e.Ready), e.Objects, e.Bytes, e.Memory,
				cmp.Or(e.ResourceVersion, none), e.Watchers, reason,
			})
		}
	}
	return rows
}

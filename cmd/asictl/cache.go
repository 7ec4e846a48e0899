package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func (c *cli) cacheCommand() *cobra.Command {
	var o output
	command := &cobra.Command{
		Use: "cache [NAME...]", Short: "Show what is answered from memory",
		Long: `Shows what each gateway replica answers from memory, in which encodings, and how
far it is with it. What is to be kept is said by objects: cachedresources.

SIZE is that of a list of all objects, MEMORY about what they take; what answers
need comes on top. WATCHES are those that are answered.
RESOURCEVERSION is how far the kube-apiservers' changes are known. REASON tells
why nothing is kept, or why changes are not heard of at the moment.`,
		Aliases:           []string{"cached", "cachedresources", "cachedresource"},
		ValidArgsFunction: c.completeNames(namesOf(cachedResources), true), DisableFlagsInUseLine: true,
	}
	o.bind(command, "table", "wide", "json", "yaml")
	c.shows(command, &o, func(ctx context.Context, client *client, names []string, out, notes io.Writer) error {
		return c.showCache(ctx, client, names, &o, out, notes)
	})
	return command
}

func (c *cli) showCache(ctx context.Context, client *client, names []string, o *output, out, notes io.Writer) error {
	cached, missing := readAll(ctx, client, cachedResources, names, func(l *v1alpha1.CachedResourceList) []v1alpha1.CachedResource { return l.Items })
	if len(cached) == 0 && missing != nil {
		return missing
	}
	live, err := readCaches(ctx, client, cached)
	if !o.table() {
		if err == nil {
			err = objects(out, o.format, "CachedResourceLive", cachedResources, live, func(l *v1alpha1.CachedResourceLive) string { return l.Name }, len(names) == 1)
		}
		return errors.Join(err, missing)
	}
	if err != nil {
		note(notes, "what the replicas have in memory cannot be read: %v", err)
	}
	if len(cached) == 0 {
		note(notes, "the cache is off: all reads are forwarded. Make CachedResources, e.g. with the gateway's flag --cache-resources pods,nodes; it needs the rights of deploy/cache.yaml")
		return missing
	}
	return errors.Join(c.cacheTable(cached, live, o.format == "wide").print(out, o.noHeaders), missing)
}

// readCaches returns what the replicas have of each resource; without replicas where
// nobody could be asked. The error is for a note.
func readCaches(ctx context.Context, client *client, cached []v1alpha1.CachedResource) ([]v1alpha1.CachedResourceLive, error) {
	all := make([]v1alpha1.CachedResourceLive, len(cached))
	for i := range cached {
		all[i].Name = cached[i].Name
	}
	return all, eachLive(len(cached), func(i int) error {
		var live v1alpha1.CachedResourceLive
		if err := client.live(ctx, cachedResources, cached[i].Name, &live); err != nil {
			return err
		}
		all[i] = live
		return nil
	})
}

// cacheTable has a row for each encoding in each replica, and one for a replica that
// has none.
func (c *cli) cacheTable(cached []v1alpha1.CachedResource, live []v1alpha1.CachedResourceLive, wide bool) *table {
	t := &table{headers: []string{"RESOURCE", "REPLICA", "ENCODING", "READY", "OBJECTS", "SIZE", "MEMORY", "RESOURCEVERSION", "WATCHES", "REASON"}}
	if wide {
		t.headers = append(t.headers, "NAME", "VERSION", "VERBS", "ACTIVE", "SINCE", "LAST ERROR")
	}
	for i := range cached {
		o := &cached[i]
		add := func(cells, wider []string) {
			cells = append([]string{resourceOfCached(&o.Spec)}, cells...)
			if wide {
				cells = append(cells, o.Name, o.Spec.Version, join(o.Spec.Verbs, "*"), active(&o.Status, o.Generation))
				cells = append(cells, wider...)
			}
			t.add(cells...)
		}
		if len(live[i].Replicas) == 0 {
			add([]string{unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown, inactive(o)}, []string{unknown, unknown})
		}
		for j := range live[i].Replicas {
			r := &live[i].Replicas[j]
			if len(r.Encodings) == 0 {
				add([]string{r.Name, none, "False", "0", "0", "0", none, "0", cmp.Or(r.Reason, none)}, []string{none, none})
			}
			for k := range r.Encodings {
				e := &r.Encodings[k]
				add([]string{
					r.Name, string(e.Encoding), title(e.Ready), strconv.FormatInt(e.Objects, 10), formatBytes(float64(e.Bytes)), formatBytes(float64(e.Memory)),
					cmp.Or(e.ResourceVersion, none), strconv.FormatInt(e.Watchers, 10), c.deaf(e),
				}, []string{c.ago(&e.Since), c.lastError(e)})
			}
		}
	}
	return t
}

// resourceOfCached is a resource as people know it, like "deployments.apps".
func resourceOfCached(spec *v1alpha1.CachedResourceSpec) string {
	return strings.TrimSuffix(spec.Resource+"."+spec.Group, ".")
}

// inactive is why an object is not in force.
func inactive(o *v1alpha1.CachedResource) string {
	if is := active(&o.Status, o.Generation); is != string(metav1.ConditionTrue) {
		return is
	}
	return none
}

func title(b bool) string {
	if b {
		return string(metav1.ConditionTrue)
	}
	return string(metav1.ConditionFalse)
}

// deaf is why changes are not heard of.
func (c *cli) deaf(e *v1alpha1.CachedEncoding) string {
	switch {
	case e.Following:
		return none
	case e.LastError == "":
		return "is being read"
	default:
		return e.LastError
	}
}

func (c *cli) lastError(e *v1alpha1.CachedEncoding) string {
	if e.LastError == "" {
		return none
	}
	return fmt.Sprintf("%s ago: %s", c.ago(e.LastErrorAt), e.LastError)
}

// ago is how long ago something was by the gateway's clock.
func (c *cli) ago(at *metav1.Time) string {
	if at == nil || at.IsZero() {
		return unknown
	}
	return formatTime(max(0, c.server.now().Sub(at.Time).Round(time.Second)))
}

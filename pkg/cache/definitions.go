package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/cache/upstream"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// customResourceDefinitions say what custom resources are called, and what of them
// can be selected.
var customResourceDefinitions = Resource{
	Kind:   of("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
	Plural: "customresourcedefinitions",
}

// definitionSettles is how long after a definition has come or changed an apiserver
// may still serve the resource as before: each follows definitions by a watch of its
// own. What is read then could be kept for ever, for defaults of a schema and
// conversions change objects without a change of their resource versions.
const definitionSettles = 5 * time.Second

// definition is what is known of a resource.
type definition struct {
	Resource
	// stamp is that of a custom resource.
	stamp stamp
}

// stamp tells the definitions of a custom resource apart: all that can change what
// an apiserver makes of the same object. It is zero for Kubernetes' own.
type stamp struct {
	uid string
	// generation counts changes of the spec.
	generation int64
	// kind and listKind are the names that were accepted.
	kind, listKind string
}

// definitions follows CustomResourceDefinitions.
type definitions struct {
	clock clock.PassiveClock
	// changed is called when any of them has changed.
	changed func()
	once    sync.Once

	mu sync.Mutex
	// known are by name, which is the resource's plural and group.
	known map[string]*defined
	// begun is when they began to be followed, read tells that there was a whole.
	begun time.Time
	read  bool
	// failure is why they could not be followed the last time.
	failure error
	// pending are those of a whole that is being read.
	pending map[string]*defined
}

// defined is what a CustomResourceDefinition says.
type defined struct {
	stamp stamp
	// served are the resources by version; nil with a reason if there are none.
	served map[string]Resource
	reason string
	// since is when it came or changed; zero if it was there before.
	since time.Time
}

var _ upstream.Sink = (*definitions)(nil)

func newDefinitions(clock clock.PassiveClock, changed func()) *definitions {
	return &definitions{clock: clock, changed: changed, known: map[string]*defined{}}
}

// follow begins to follow definitions, with its first call.
func (d *definitions) follow(ctx context.Context, c *Cache) {
	d.once.Do(func() {
		d.mu.Lock()
		d.begun = d.clock.Now()
		d.mu.Unlock()
		c.follow(ctx, c.ask(&customResourceDefinitions, wire.JSON), d)
	})
}

// unread tells that they are followed, and were never read.
func (d *definitions) unread() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.begun.IsZero() && !d.read
}

// promising tells that nothing is known to be wrong with reading them, which does not
// take long yet.
func (d *definitions) promising() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure == nil && d.clock.Since(d.begun) < startFor
}

// find returns what is known of a custom resource, or why it cannot be cached; wait
// tells that this changes with time alone.
func (d *definitions) find(key resourceKey) (found definition, why string, wait bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.read {
		if d.failure != nil {
			return found, fmt.Sprintf("CustomResourceDefinitions cannot be read: %.300s", d.failure), false
		}
		return found, "CustomResourceDefinitions are being read", false
	}
	name := key.plural + "." + key.group
	is := d.known[name]
	switch {
	case is == nil:
		return found, "there is no CustomResourceDefinition " + name, false
	case is.reason != "":
		return found, is.reason, false
	case d.clock.Since(is.since) < definitionSettles:
		return found, "its CustomResourceDefinition has just changed", true
	}
	resource, ok := is.served[key.version]
	if !ok {
		return found, "its CustomResourceDefinition serves no version " + key.version, false
	}
	return definition{resource, is.stamp}, "", false
}

// Begin implements upstream.Sink.
func (d *definitions) Begin() { d.pending = map[string]*defined{} }

// Add implements upstream.Sink.
func (d *definitions) Add(body []byte, meta *wire.Meta) {
	d.pending[strings.Clone(meta.Name)] = parseDefinition(body)
}

// Complete implements upstream.Sink.
func (d *definitions) Complete(uint64) error {
	d.mu.Lock()
	for name, is := range d.pending {
		d.date(name, is)
	}
	d.known, d.pending, d.read = d.pending, nil, true
	d.mu.Unlock()
	d.changed()
	return nil
}

// date sets since when a definition is as it is. Those of the first whole have been
// known to the apiservers for long.
func (d *definitions) date(name string, is *defined) {
	switch was := d.known[name]; {
	case was != nil && was.stamp == is.stamp && was.reason == is.reason:
		is.since = was.since
	case d.read:
		is.since = d.clock.Now()
	}
}

// Apply implements upstream.Sink.
func (d *definitions) Apply(t wire.EventType, body []byte, meta *wire.Meta) error {
	d.mu.Lock()
	if t == wire.Deleted {
		delete(d.known, meta.Name)
	} else {
		is := parseDefinition(body)
		d.date(meta.Name, is)
		d.known[strings.Clone(meta.Name)] = is
	}
	d.mu.Unlock()
	d.changed()
	return nil
}

// Bookmark implements upstream.Sink.
func (d *definitions) Bookmark(uint64, []byte) error { return nil }

// Connected implements upstream.Sink.
func (d *definitions) Connected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = nil
}

// Disconnected implements upstream.Sink. What was known goes on to be: whoever
// cannot follow definitions cannot follow the resources either, and while nothing
// can be followed reads go on.
func (d *definitions) Disconnected(err error) {
	d.mu.Lock()
	d.failure = err
	d.mu.Unlock()
	d.changed()
}

// Abandon implements upstream.Sink. A new whole follows.
func (d *definitions) Abandon(error) {}

// Warnings implements upstream.Sink.
func (d *definitions) Warnings([]string) {}

// customResourceDefinition is what is read of one.
type customResourceDefinition struct {
	Metadata struct {
		UID        string `json:"uid"`
		Generation int64  `json:"generation"`
	} `json:"metadata"`
	Spec struct {
		Group    string `json:"group"`
		Scope    string `json:"scope"`
		Versions []struct {
			Name             string `json:"name"`
			Served           bool   `json:"served"`
			SelectableFields []struct {
				JSONPath string `json:"jsonPath"`
			} `json:"selectableFields"`
		} `json:"versions"`
	} `json:"spec"`
	Status struct {
		AcceptedNames struct {
			Plural   string `json:"plural"`
			Kind     string `json:"kind"`
			ListKind string `json:"listKind"`
		} `json:"acceptedNames"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

// parseDefinition reads the body of a CustomResourceDefinition, which lacks its
// first brace.
func parseDefinition(body []byte) *defined {
	var crd customResourceDefinition
	if err := json.Unmarshal(append([]byte{'{'}, body...), &crd); err != nil {
		return &defined{reason: fmt.Sprintf("its CustomResourceDefinition is not understood: %v", err)}
	}
	names := &crd.Status.AcceptedNames
	is := &defined{stamp: stamp{crd.Metadata.UID, crd.Metadata.Generation, names.Kind, names.ListKind}}
	established := false
	for _, c := range crd.Status.Conditions {
		established = established || (c.Type == "Established" && c.Status == "True")
	}
	if !established || names.Plural == "" || names.Kind == "" || names.ListKind == "" {
		is.reason = "its CustomResourceDefinition is not established"
		return is
	}
	is.served = map[string]Resource{}
	for _, version := range crd.Spec.Versions {
		if !version.Served {
			continue
		}
		kind := wire.Kind{Group: crd.Spec.Group, Version: version.Name, Kind: names.Kind, ListKind: names.ListKind, Custom: true}
		var paths []string
		for _, f := range version.SelectableFields {
			paths = append(paths, f.JSONPath)
		}
		kind.Fields = selectableFields(paths)
		is.served[version.Name] = Resource{Kind: kind, Plural: names.Plural, Namespaced: crd.Spec.Scope == "Namespaced"}
	}
	return is
}

// selectableFields reads JSON paths of selectable fields. One that is not simple is
// left out: the apiserver answers those who select by it.
func selectableFields(paths []string) (fields []wire.Field) {
	for i, path := range paths {
		steps, ok := simplePath(path)
		for j, other := range paths {
			// One that leads through another would be found in its place.
			ok = ok && (i == j || !strings.HasPrefix(other+".", path+".") && !strings.HasPrefix(path+".", other+"."))
		}
		if ok {
			fields = append(fields, wire.Field{Name: strings.Join(steps, "."), Type: wire.String, Path: steps})
		}
	}
	return fields
}

// simplePath reads a path like ".spec.color".
func simplePath(path string) (steps []string, ok bool) {
	rest, ok := strings.CutPrefix(path, ".")
	if !ok {
		return nil, false
	}
	steps = strings.Split(rest, ".")
	for _, step := range steps {
		if !isName(step) {
			return nil, false
		}
	}
	switch steps[0] {
	case "apiVersion", "kind", "metadata":
		return nil, false
	}
	return steps, true
}

// isName tells a name of letters, digits, dashes and underscores that begins with a
// letter or an underscore: what stands for itself in a path.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')
		if !letter && (i == 0 || (c != '-' && (c < '0' || c > '9'))) {
			return false
		}
	}
	return s != ""
}

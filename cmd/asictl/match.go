package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// listValue is a flag that can be repeated, and take several values at once.
// Unlike pflag's it keeps an empty value: the core group, a missing user agent.
type listValue struct{ values *[]string }

func (v listValue) String() string { return strings.Join(*v.values, ",") }
func (v listValue) Type() string   { return "strings" }
func (v listValue) Set(s string) error {
	*v.values = append(*v.values, strings.Split(s, ",")...)
	return nil
}

// oneOfValue is a flag with a few values. They are taken as people write them:
// ReadOnly, readonly, read-only.
type oneOfValue[T ~string] struct {
	value *T
	known []T
}

func (v oneOfValue[T]) String() string { return string(*v.value) }
func (v oneOfValue[T]) Type() string   { return "string" }
func (v oneOfValue[T]) Set(s string) (err error) {
	*v.value, err = oneOf(s, v.known)
	return err
}

// listOfValue is a list of such values.
type listOfValue[T ~string] struct {
	values *[]T
	known  []T
}

func (v listOfValue[T]) String() string { return join(*v.values, "") }
func (v listOfValue[T]) Type() string   { return "strings" }
func (v listOfValue[T]) Set(s string) error {
	for _, part := range strings.Split(s, ",") {
		value, err := oneOf(part, v.known)
		if err != nil {
			return err
		}
		*v.values = append(*v.values, value)
	}
	return nil
}

func oneOf[T ~string](s string, known []T) (T, error) {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }
	for _, k := range known {
		if plain(string(k)) == plain(s) {
			return k, nil
		}
	}
	return "", fmt.Errorf("want one of %s", strings.Join(stringsOf(known), ", "))
}

func stringsOf[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

// The values of enumerated fields.
var (
	allModes       = []v1alpha1.Mode{v1alpha1.ModeEnforce, v1alpha1.ModeDryRun, v1alpha1.ModeOff}
	allScopes      = []v1alpha1.Scope{v1alpha1.ScopeReplica, v1alpha1.ScopeGlobal}
	allBucketKeys  = []v1alpha1.BucketKey{v1alpha1.PerUserAgent, v1alpha1.PerUser, v1alpha1.PerNamespace, v1alpha1.PerSourceIP}
	allListScopes  = []v1alpha1.ListScope{v1alpha1.ListScopeCluster, v1alpha1.ListScopeNamespace}
	allListShapes  = []v1alpha1.ListShape{v1alpha1.ListShapeUnbounded, v1alpha1.ListShapeRV0, v1alpha1.ListShapeSelector, v1alpha1.ListShapePaginated}
	allSwitchTypes = []v1alpha1.SwitchType{v1alpha1.SwitchReadOnly, v1alpha1.SwitchFreeze, v1alpha1.SwitchShedPriority, v1alpha1.SwitchForceGroup, v1alpha1.SwitchServeStale}
	allPriorities  = []v1alpha1.Priority{v1alpha1.PriorityP0, v1alpha1.PriorityP1, v1alpha1.PriorityP2, v1alpha1.PriorityP3, v1alpha1.PriorityP4}
	sheddable      = allPriorities[2:]
	allVerbs       = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
)

// matchFlags select requests.
type matchFlags struct {
	clients    v1alpha1.ClientMatch
	verbs      []string
	apiGroups  []string
	resources  []string
	namespaces []string
	listScope  v1alpha1.ListScope
	listShapes []v1alpha1.ListShape

	names []string
}

func (m *matchFlags) bind(command *cobra.Command) {
	flags := command.Flags()
	add := func(value pflag.Value, name, usage string, completions ...string) {
		flags.Var(value, name, usage)
		m.names = append(m.names, name)
		completeFlag(command, name, completions...)
	}
	add(listValue{&m.clients.UserAgents}, "user-agent", `name of the client, the part of its User-Agent before the first slash or space; * stands for any characters, "" for a missing one`)
	add(listValue{&m.clients.Classes}, "class", "class of the client")
	add(listOfValue[v1alpha1.Priority]{&m.clients.Priorities, allPriorities}, "client-priority", "priority of the client: P0 to P4", stringsOf(allPriorities)...)
	add(listValue{&m.clients.Users}, "user-name", "authenticated user")
	add(listValue{&m.clients.Groups}, "user-group", "group of the authenticated user")
	add(listValue{&m.clients.ServiceAccounts}, "service-account", "NAMESPACE/NAME; the name may be *")
	add(listValue{&m.clients.SourceCIDRs}, "source-cidr", "addresses of the client, e.g. 10.0.0.0/8")
	add(listValue{&m.verbs}, "verb", "verb: "+strings.Join(allVerbs, ", ")+", or *", allVerbs...)
	add(listValue{&m.resources}, "resource", "resource, e.g. pods, pods/status, deployments.apps, or *")
	add(listValue{&m.apiGroups}, "api-group", `group of the resources; "" is the core group. Default: any`)
	add(listValue{&m.namespaces}, "namespace", `namespace; "" has the requests without one`)
	add(oneOfValue[v1alpha1.ListScope]{&m.listScope, allListScopes}, "list-scope", "lists of this scope: Cluster or Namespace", stringsOf(allListScopes)...)
	add(listOfValue[v1alpha1.ListShape]{&m.listShapes, allListShapes}, "list-shape", "lists of this shape: Unbounded, RV0, Selector, Paginated", stringsOf(allListShapes)...)
}

// given returns the flags that are on the command line.
func (m *matchFlags) given(flags *pflag.FlagSet) []string {
	var given []string
	for _, name := range m.names {
		if flags.Changed(name) {
			given = append(given, "--"+name)
		}
	}
	return given
}

// match makes what the flags say. Resources that name their groups, as in
// deployments.apps, are kept apart by them.
func (m *matchFlags) match() v1alpha1.Match {
	match := v1alpha1.Match{Clients: m.clients}
	if len(m.verbs)+len(m.apiGroups)+len(m.resources)+len(m.namespaces)+len(m.listShapes) == 0 && m.listScope == "" {
		return match
	}
	request := v1alpha1.RequestMatch{
		Verbs: m.verbs, Namespaces: m.namespaces, ListScope: m.listScope, ListShapes: m.listShapes, APIGroups: m.apiGroups,
	}
	byGroup := map[string][]string{}
	var plain []string
	for _, r := range m.resources {
		resource, group, subresource := splitResource(r)
		if group == "" {
			plain = append(plain, r)
			continue
		}
		byGroup[group] = append(byGroup[group], joinResource(resource, subresource))
	}
	if len(plain) > 0 || len(byGroup) == 0 {
		one := request
		one.Resources = plain
		match.Requests = append(match.Requests, one)
	}
	for _, group := range sortedKeys(byGroup) {
		one := request
		one.APIGroups, one.Resources = []string{group}, byGroup[group]
		match.Requests = append(match.Requests, one)
	}
	return match
}

// splitResource reads "resource.group/subresource".
func splitResource(s string) (resource, group, subresource string) {
	resource, subresource, _ = strings.Cut(s, "/")
	resource, group, _ = strings.Cut(resource, ".")
	return resource, group, subresource
}

func joinResource(resource, subresource string) string {
	if subresource == "" {
		return resource
	}
	return resource + "/" + subresource
}

// join shows a list in a cell of bearable width.
func join[T ~string](values []T, empty string) string {
	const shown = 3
	if len(values) == 0 {
		return empty
	}
	var names []string
	for _, v := range values[:min(shown, len(values))] {
		names = append(names, quoted(string(v)))
	}
	if more := len(values) - shown; more > 0 {
		names = append(names, fmt.Sprintf("+%d", more))
	}
	return strings.Join(names, ",")
}

// describeClients and describeRequests say in a cell whom and what a match is
// for.
func describeClients(c *v1alpha1.ClientMatch) string {
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

func describeRequests(m *v1alpha1.Match) string {
	var parts []string
	for i := range m.Requests {
		r := &m.Requests[i]
		what := join(slices.Concat(r.Resources, r.NonResourceURLs), "*")
		if len(r.APIGroups) > 0 && join(r.APIGroups, "") != `""` {
			what += "." + join(r.APIGroups, "")
		}
		part := join(r.Verbs, "*") + " " + what
		if list := strings.Trim(string(r.ListScope)+"/"+join(r.ListShapes, ""), "/"); list != "" {
			part += " " + list
		}
		if len(r.Namespaces) > 0 {
			part += " in " + join(r.Namespaces, "")
		}
		parts = append(parts, part)
	}
	return cmp.Or(strings.Join(parts, "; "), "*")
}

// describeMatch says whom and what in one.
func describeMatch(m *v1alpha1.Match) string {
	var parts []string
	if clients := describeClients(&m.Clients); clients != "*" {
		parts = append(parts, clients)
	}
	if requests := describeRequests(m); requests != "*" {
		parts = append(parts, requests)
	}
	return cmp.Or(strings.Join(parts, ": "), "*")
}

// describeScope says whom and what, and what is taken out of that.
func describeScope(match, except *v1alpha1.Match) string {
	what := describeMatch(match)
	if taken := describeMatch(except); taken != "*" {
		what += " except " + taken
	}
	return what
}

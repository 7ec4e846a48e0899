package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// explainFlags are a request, as path and method or by what it is for.
type explainFlags struct {
	userAgent, sourceIP string
	user                string
	groups              []string

	path, method string

	verb, resource, apiGroup, apiVersion string
	subresource, namespace, name         string
	listShape                            v1alpha1.ListShape
}

// described are the flags that --path stands for.
var described = []string{"verb", "resource", "api-group", "api-version", "subresource", "namespace", "name", "list-shape"}

func (f *explainFlags) bind(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.userAgent, "user-agent", "", "User-Agent header")
	// These two are about the request. Whoever asks the question is the user of the
	// kubeconfig.
	flags.StringVar(&f.user, "as", "", "user of the request, e.g. system:serviceaccount:NAMESPACE:NAME; default anonymous")
	flags.StringArrayVar(&f.groups, "as-group", nil, "group of that user; can be repeated")
	flags.StringVar(&f.sourceIP, "source-ip", "", "address of the client")
	flags.StringVar(&f.verb, "verb", "", "verb: "+strings.Join(allVerbs, ", "))
	completeFlag(command, "verb", allVerbs...)
	flags.StringVar(&f.resource, "resource", "", "resource, e.g. pods, pods/status or deployments.apps")
	flags.StringVar(&f.apiGroup, "api-group", "", "group of the resource; default that of Kubernetes' own resource of the name, or the core group")
	flags.StringVar(&f.apiVersion, "api-version", "v1", "version of the group")
	flags.StringVar(&f.subresource, "subresource", "", "subresource, e.g. status")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace; default none")
	flags.StringVar(&f.name, "name", "", `name of the object; default "any" where the verb needs one`)
	flags.Var(oneOfValue[v1alpha1.ListShape]{&f.listShape, allListShapes}, "list-shape", "of a list: Unbounded (the default), RV0, Selector or Paginated")
	completeFlag(command, "list-shape", stringsOf(allListShapes)...)
	flags.StringVar(&f.path, "path", "", `path and query instead, e.g. "/api/v1/pods?limit=5"`)
	flags.StringVar(&f.method, "method", "GET", "HTTP method for --path")
	completeFlag(command, "method", "GET", "POST", "PUT", "PATCH", "DELETE")
	for _, name := range []string{"user-agent", "as", "as-group", "source-ip", "resource", "api-group", "api-version", "subresource", "namespace", "name", "path"} {
		completeFlag(command, name)
	}
}

func (f *explainFlags) check(flags *pflag.FlagSet) error {
	if f.path == "" {
		switch {
		case f.verb == "" || f.resource == "":
			return usagef("say which request: --verb and --resource, or --path")
		case flags.Changed("method"):
			return usagef("--method is for --path; with --resource say --verb")
		case !slices.Contains(allVerbs, f.verb):
			return usagef("--verb %q is none of %s", f.verb, strings.Join(allVerbs, ", "))
		case f.listShape != "" && f.verb != "list" && f.verb != "watch":
			return usagef("--list-shape is for --verb list and watch")
		}
	} else {
		for _, name := range described {
			if flags.Changed(name) {
				return usagef("--path and --%s cannot be together", name)
			}
		}
		if !strings.HasPrefix(f.path, "/") {
			return usagef(`--path %q must begin with a slash, e.g. "/api/v1/pods?limit=5"`, f.path)
		}
	}
	if f.user == "" && len(f.groups) > 0 {
		return usagef("--as-group needs --as")
	}
	return nil
}

// request is the request that the flags describe.
func (f *explainFlags) request(flags *pflag.FlagSet) (v1alpha1.RequestExplanationSpec, error) {
	spec := v1alpha1.RequestExplanationSpec{
		UserAgent: f.userAgent, SourceIP: f.sourceIP,
		User: f.user, Groups: slices.Concat(f.groups, impliedGroups(f.user, f.groups)),
		Method: strings.ToUpper(f.method), Path: f.path,
	}
	if f.path != "" {
		return spec, nil
	}
	resource, group, subresource := splitResource(f.resource)
	if flags.Changed("api-group") {
		if group != "" && group != f.apiGroup {
			return spec, usagef("--resource %s and --api-group %s name different groups", f.resource, f.apiGroup)
		}
		group = f.apiGroup
	} else if group == "" {
		group = groupOf[resource]
	}
	subresource = cmp.Or(f.subresource, subresource)

	parts := []string{"", "api", f.apiVersion}
	if group != "" {
		parts = []string{"", "apis", group, f.apiVersion}
	}
	if f.namespace != "" && resource != "namespaces" {
		parts = append(parts, "namespaces", url.PathEscape(f.namespace))
	}
	parts = append(parts, url.PathEscape(resource))
	name := f.name
	if name == "" && (namesOne(f.verb) || subresource != "") {
		name = "any"
	}
	if name != "" && (f.verb == "list" || f.verb == "watch" || f.verb == "deletecollection") {
		return spec, usagef("--verb %s is for all objects, not for --name or a subresource; say --verb get", f.verb)
	}
	// An object is created under its collection; what is created under an object
	// is a subresource, e.g. pods/binding.
	if name != "" && (f.verb != "create" || subresource != "") {
		parts = append(parts, url.PathEscape(name))
	}
	if subresource != "" {
		parts = append(parts, url.PathEscape(subresource))
	}
	spec.Method = methodOf[f.verb]
	spec.Path = strings.Join(parts, "/")
	if query := f.query(); query != "" {
		spec.Path += "?" + query
	}
	return spec, nil
}

func namesOne(verb string) bool {
	return verb == "get" || verb == "update" || verb == "patch" || verb == "delete"
}

var methodOf = map[string]string{
	"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH",
	"delete": "DELETE", "deletecollection": "DELETE",
}

// query makes a list of the shape that was asked for.
func (f *explainFlags) query() string {
	var query []string
	if f.verb == "watch" {
		query = append(query, "watch=true")
	}
	switch f.listShape {
	case v1alpha1.ListShapeRV0:
		query = append(query, "resourceVersion=0")
	case v1alpha1.ListShapeSelector:
		query = append(query, "labelSelector=app%3Dany")
	case v1alpha1.ListShapePaginated:
		query = append(query, "limit=500")
	}
	return strings.Join(query, "&")
}

// impliedGroups are those that a service account has by itself.
func impliedGroups(user string, given []string) []string {
	account, ok := strings.CutPrefix(user, "system:serviceaccount:")
	namespace, _, complete := strings.Cut(account, ":")
	if !ok || !complete {
		return nil
	}
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}
	return slices.DeleteFunc(groups, func(g string) bool { return slices.Contains(given, g) })
}

// groupOf is where Kubernetes' own resources are. There is no discovery to ask:
// it would need a kube-apiserver.
var groupOf = map[string]string{
	"controllerrevisions": "apps", "daemonsets": "apps", "deployments": "apps", "replicasets": "apps", "statefulsets": "apps",
	"cronjobs": "batch", "jobs": "batch",
	"horizontalpodautoscalers": "autoscaling", "poddisruptionbudgets": "policy",
	"leases": "coordination.k8s.io", "endpointslices": "discovery.k8s.io",
	"ingresses": "networking.k8s.io", "ingressclasses": "networking.k8s.io", "networkpolicies": "networking.k8s.io",
	"clusterroles": "rbac.authorization.k8s.io", "clusterrolebindings": "rbac.authorization.k8s.io",
	"roles": "rbac.authorization.k8s.io", "rolebindings": "rbac.authorization.k8s.io",
	"csidrivers": "storage.k8s.io", "csinodes": "storage.k8s.io", "csistoragecapacities": "storage.k8s.io",
	"storageclasses": "storage.k8s.io", "volumeattachments": "storage.k8s.io",
	"priorityclasses": "scheduling.k8s.io", "runtimeclasses": "node.k8s.io",
	"customresourcedefinitions": "apiextensions.k8s.io", "apiservices": "apiregistration.k8s.io",
	"mutatingwebhookconfigurations": "admissionregistration.k8s.io", "validatingwebhookconfigurations": "admissionregistration.k8s.io",
	"tokenreviews": "authentication.k8s.io", "subjectaccessreviews": "authorization.k8s.io", "selfsubjectaccessreviews": "authorization.k8s.io",
	"certificatesigningrequests": "certificates.k8s.io", "flowschemas": "flowcontrol.apiserver.k8s.io",
	"prioritylevelconfigurations": "flowcontrol.apiserver.k8s.io",
}

func (c *cli) explainCommand() *cobra.Command {
	var f explainFlags
	var o output
	command := &cobra.Command{
		Use: "explain", Short: "Tell what becomes of a request, and why",
		Long: `Tells what would become of a request at this moment: the class of its client, the
limits that match it, the route and the group of kube-apiservers that would serve
it, and what would refuse it. Nothing is sent or counted.

Here --as and --as-group are the user of the request, not whom to act as.`,
		Example: c.example(`
%[1]s explain --user-agent flink/1.18 --verb list --resource pods --list-shape RV0
%[1]s explain --user-agent kubelet/v1.30.0 --as system:node:n1 --as-group system:nodes \
    --verb update --resource leases -n kube-node-lease
%[1]s explain --path "/api/v1/pods?limit=5" --user-agent curl/8.5.0`),
		Args: cobra.NoArgs,
	}
	f.bind(command)
	o.bind(command, "table", "json", "yaml")
	command.RunE = c.runs(func(ctx context.Context, _ []string) error {
		if err := errors.Join(o.check(), f.check(command.Flags())); err != nil {
			return err
		}
		spec, err := f.request(command.Flags())
		if err != nil {
			return err
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		explanation := &v1alpha1.RequestExplanation{Spec: spec}
		if err := client.create(ctx, requestExplanations, explanation, false); err != nil {
			return err
		}
		if !o.table() {
			m, err := manifest("RequestExplanation", explanation)
			if err != nil {
				return err
			}
			return encode(c.out, o.format, m)
		}
		return c.printExplanation(explanation, &o)
	})
	return command
}

func (c *cli) printExplanation(e *v1alpha1.RequestExplanation, o *output) error {
	s := &e.Status
	line := func(what, format string, args ...any) {
		fmt.Fprintf(c.out, "%-10s %s\n", what+":", printable(fmt.Sprintf(format, args...)))
	}
	what := s.Verb + " " + cmp.Or(s.Resource, e.Spec.Path)
	if s.ListScope != "" {
		what += fmt.Sprintf(", list %s/%s", s.ListScope, s.ListShape)
	}
	line("Request", "%s (%s %s)", what, cmp.Or(e.Spec.Method, "GET"), e.Spec.Path)
	line("Client", "%s (User-Agent %q)", quoted(s.ClientName), e.Spec.UserAgent)
	line("User", "%s", userOf(&e.Spec))
	line("Class", "%s", s.Class)
	if s.ClaimedClass != "" {
		line("Claims", "%s by its user agent, but has none of the identities that this class expects", s.ClaimedClass)
	}
	line("Priority", "%s", s.Priority)
	if s.Vital {
		line("Vital", "no switch stops it, and no limit that does not name it")
	}
	if len(s.Limits) == 0 {
		line("Limits", "none match")
	} else {
		fmt.Fprintln(c.out)
		t := table{headers: []string{"LIMIT", "MODE", "PHASE", "RATE", "TOKENS", "NOW"}}
		for i := range s.Limits {
			l := &s.Limits[i]
			phase := "after authentication"
			if l.BeforeAuthentication {
				phase = "before authentication"
			}
			t.add(l.Name, string(l.Mode), phase, formatRate(l.Rate.AsApproximateFloat64()), formatRate(l.Tokens.AsApproximateFloat64()), verdict(l, s.RefusedBy))
		}
		if err := t.print(c.out, o.noHeaders); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
	}
	line("Route", "%s", cmp.Or(s.Route, "none decides: "+v1alpha1.GroupMain+" serves it, or "+v1alpha1.GroupBypass+" while "+v1alpha1.GroupMain+" is gone"))
	line("Group", "%s", cmp.Or(s.Group, "none: the groups that could serve it have no server that is ready"))
	switch {
	case s.RefusedBy != "":
		line("Result", "refused by %s", s.RefusedBy)
	case s.Group == "":
		line("Result", "fails: '%s route status' shows the servers", c.program.shown)
	default:
		line("Result", "passes")
	}
	return nil
}

// verdict is what one limit says to the request.
func verdict(l *v1alpha1.ExplainedLimit, refusedBy string) string {
	over := l.Tokens.AsApproximateFloat64() < 1 || refusedBy == "ratelimit/"+l.Name
	switch {
	case l.Mode == v1alpha1.ModeOff:
		return "off"
	case !over:
		return "passes"
	case l.Mode == v1alpha1.ModeDryRun:
		return "would refuse"
	default:
		return "refuses"
	}
}

func userOf(spec *v1alpha1.RequestExplanationSpec) string {
	switch {
	case spec.User == "":
		return "anonymous"
	case len(spec.Groups) > 0:
		return spec.User + " of " + strings.Join(spec.Groups, ", ")
	default:
		return spec.User
	}
}

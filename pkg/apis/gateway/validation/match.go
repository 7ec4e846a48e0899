package validation

import (
	"net/netip"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	maxEntries = 256
	// maxPattern is the length of the longest user agent pattern, in bytes.
	maxPattern = 256
	// maxName is that of user and group names; kube-apiserver knows no bound.
	maxName = 1024
)

var (
	verbs      = sets.New("*", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
	methods    = sets.New("*", "get", "head", "post", "put", "patch", "delete", "options")
	listScopes = sets.New(v1alpha1.ListScopeCluster, v1alpha1.ListScopeNamespace)
	listShapes = sets.New(v1alpha1.ListShapeUnbounded, v1alpha1.ListShapeRV0, v1alpha1.ListShapeSelector, v1alpha1.ListShapePaginated)
	priorities = sets.New(v1alpha1.PriorityP0, v1alpha1.PriorityP1, v1alpha1.PriorityP2, v1alpha1.PriorityP3, v1alpha1.PriorityP4)
)

// ValidateMatch checks a match.
func ValidateMatch(m *v1alpha1.Match, path *field.Path) field.ErrorList {
	errs := validateClients(&m.Clients, path.Child("clients"))
	requests := path.Child("requests")
	errs = append(errs, tooMany(len(m.Requests), requests)...)
	for i := range m.Requests {
		errs = append(errs, validateRequest(&m.Requests[i], requests.Index(i))...)
	}
	return errs
}

func validateClients(c *v1alpha1.ClientMatch, path *field.Path) field.ErrorList {
	errs := each(c.Classes, path.Child("classes"), objectName)
	errs = append(errs, each(c.UserAgents, path.Child("userAgents"), userAgent)...)
	errs = append(errs, each(c.Users, path.Child("users"), userName)...)
	errs = append(errs, each(c.Groups, path.Child("groups"), userName)...)
	errs = append(errs, each(c.ServiceAccounts, path.Child("serviceAccounts"), serviceAccount)...)
	errs = append(errs, each(c.SourceCIDRs, path.Child("sourceCIDRs"), cidr)...)
	return append(errs, each(c.Priorities, path.Child("priorities"), oneOf(priorities))...)
}

func validateRequest(r *v1alpha1.RequestMatch, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	ofResources := map[string]bool{
		"apiGroups": len(r.APIGroups) > 0, "resources": len(r.Resources) > 0, "namespaces": len(r.Namespaces) > 0,
		"listScope": r.ListScope != "", "listShapes": len(r.ListShapes) > 0,
	}
	known := verbs
	if len(r.NonResourceURLs) > 0 {
		known = methods
		for _, name := range sets.List(sets.KeySet(ofResources)) {
			if ofResources[name] {
				errs = append(errs, field.Forbidden(path.Child(name), "cannot be used together with nonResourceURLs; write a second entry of requests"))
			}
		}
	}
	errs = append(errs, each(r.Verbs, path.Child("verbs"), oneOf(known))...)
	errs = append(errs, each(r.APIGroups, path.Child("apiGroups"), apiGroup)...)
	errs = append(errs, each(r.Resources, path.Child("resources"), resourceName)...)
	errs = append(errs, each(r.Namespaces, path.Child("namespaces"), namespaceName)...)
	errs = append(errs, each(r.ListShapes, path.Child("listShapes"), oneOf(listShapes))...)
	errs = append(errs, each(r.NonResourceURLs, path.Child("nonResourceURLs"), urlPath)...)
	if r.ListScope != "" {
		errs = append(errs, oneOf(listScopes)(r.ListScope, path.Child("listScope"))...)
	}
	lists := len(r.Verbs) == 0 || sets.New(r.Verbs...).HasAny("list", "watch", "*")
	for _, name := range []string{"listScope", "listShapes"} {
		if ofResources[name] && !lists {
			errs = append(errs, field.Forbidden(path.Child(name), "holds for lists only, but verbs has neither list nor watch: this would never match"))
		}
	}
	return errs
}

// each checks the entries of a set: there must not be too many or the same twice.
func each[T comparable](entries []T, path *field.Path, check func(T, *field.Path) field.ErrorList) field.ErrorList {
	errs := tooMany(len(entries), path)
	seen := sets.New[T]()
	for i, entry := range entries {
		if seen.Has(entry) {
			errs = append(errs, field.Duplicate(path.Index(i), entry))
		}
		seen.Insert(entry)
		errs = append(errs, check(entry, path.Index(i))...)
	}
	return errs
}

func tooMany(n int, path *field.Path) field.ErrorList {
	if n > maxEntries {
		return field.ErrorList{field.TooMany(path, n, maxEntries)}
	}
	return nil
}

func oneOf[T ~string](known sets.Set[T]) func(T, *field.Path) field.ErrorList {
	return func(value T, path *field.Path) field.ErrorList {
		if known.Has(value) {
			return nil
		}
		return field.ErrorList{field.NotSupported(path, value, sets.List(known))}
	}
}

func objectName(name string, path *field.Path) field.ErrorList {
	return invalid(path, name, apivalidation.NameIsDNSSubdomain(name, false))
}

func userAgent(pattern string, path *field.Path) field.ErrorList {
	switch {
	case len(pattern) > maxPattern:
		return field.ErrorList{field.TooLong(path, "", maxPattern)}
	case strings.ContainsAny(pattern, "/ "):
		return field.ErrorList{field.Invalid(path, pattern, `is compared with the client's name, which ends before the first "/" or space: leave the rest out`)}
	case strings.ContainsFunc(pattern, isControl):
		return field.ErrorList{field.Invalid(path, pattern, "has a control character")}
	case strings.Count(pattern, "*") > 4:
		return field.ErrorList{field.Invalid(path, pattern, `has more than four "*"`)}
	}
	return nil
}

func userName(name string, path *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(path, "is empty; nobody is called that")}
	case len(name) > maxName:
		return field.ErrorList{field.TooLong(path, "", maxName)}
	case strings.ContainsFunc(name, isControl):
		return field.ErrorList{field.Invalid(path, name, "has a control character")}
	case strings.Contains(name, "*"):
		return field.ErrorList{field.Invalid(path, name, `is compared with whole names, in which "*" stands for nothing else: leave the list out for everybody, name a group for many (system:authenticated, system:serviceaccounts:NAMESPACE), or use serviceAccounts: [NAMESPACE/*]`)}
	}
	return nil
}

func serviceAccount(value string, path *field.Path) field.ErrorList {
	namespace, name, found := strings.Cut(value, "/")
	if !found {
		return field.ErrorList{field.Invalid(path, value, "want NAMESPACE/NAME")}
	}
	errs := invalid(path, value, apivalidation.ValidateNamespaceName(namespace, false))
	if name != "*" {
		errs = append(errs, invalid(path, value, apivalidation.ValidateServiceAccountName(name, false))...)
	}
	return errs
}

func cidr(value string, path *field.Path) field.ErrorList {
	prefix, err := netip.ParsePrefix(value)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, value, `want an address range like "10.0.0.0/8"; a single address ends in /32 or /128`)}
	case prefix != prefix.Masked():
		return field.ErrorList{field.Invalid(path, value, "has bits behind its length; did you mean "+prefix.Masked().String()+"?")}
	case prefix.Addr().Is4In6():
		return field.ErrorList{field.Invalid(path, value, "write IPv4 ranges as such")}
	}
	return nil
}

func apiGroup(group string, path *field.Path) field.ErrorList {
	if group == "" || group == "*" {
		return nil
	}
	errs := invalid(path, group, utilvalidation.IsDNS1123Subdomain(group))
	if strings.HasSuffix(group, "/v1") || strings.Contains(group, "/") {
		errs = append(errs, field.Invalid(path, group, "is a group and a version; leave the version out"))
	}
	return errs
}

func resourceName(value string, path *field.Path) field.ErrorList {
	name, subresource, divided := strings.Cut(value, "/")
	part := func(s string) bool { return s == "*" || len(utilvalidation.IsDNS1123Subdomain(s)) == 0 }
	if !part(name) || (divided && !part(subresource)) {
		return field.ErrorList{field.Invalid(path, value, `want the plural name as in URLs, in lower case, e.g. "pods" or "pods/status"`)}
	}
	if plural, group, found := strings.Cut(name, "."); found {
		// As kubectl has it.
		want := strings.Replace(value, name, plural, 1)
		return field.ErrorList{field.Invalid(path, value, "is a resource and its API group, which are compared apart: write apiGroups: ["+group+"], resources: ["+want+"]")}
	}
	return nil
}

func namespaceName(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	return invalid(path, name, apivalidation.ValidateNamespaceName(name, false))
}

func urlPath(value string, path *field.Path) field.ErrorList {
	if value == "*" {
		return nil
	}
	switch {
	case !strings.HasPrefix(value, "/"):
		return field.ErrorList{field.Invalid(path, value, `want a path that begins with "/"`)}
	case strings.Contains(strings.TrimSuffix(value, "*"), "*"):
		return field.ErrorList{field.Invalid(path, value, `has a "*" that is not at its end`)}
	case strings.ContainsAny(value, "?# ") || strings.ContainsFunc(value, isControl):
		return field.ErrorList{field.Invalid(path, value, "is not a path alone")}
	}
	return nil
}

func invalid(path *field.Path, value string, complaints []string) field.ErrorList {
	var errs field.ErrorList
	for _, complaint := range complaints {
		errs = append(errs, field.Invalid(path, value, complaint))
	}
	return errs
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

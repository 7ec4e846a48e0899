package request

import "strings"

// Describe says in a few words what is asked for: "list pods", "patch
// deployments.apps/status", "get /version".
func Describe(a *Attributes) string {
	var b strings.Builder
	b.WriteString(clip(a.Verb, 32))
	b.WriteByte(' ')
	b.WriteString(ResourceName(a))
	if !a.IsResourceRequest {
		b.WriteString(clip(a.Path, 128))
	}
	return b.String()
}

// ResourceName returns "resource.group/subresource", empty outside of the
// resource API.
func ResourceName(a *Attributes) string {
	if !a.IsResourceRequest {
		return ""
	}
	name := clip(a.Resource, 128)
	if a.APIGroup != "" {
		name += "." + clip(a.APIGroup, 128)
	}
	if a.Subresource != "" {
		name += "/" + clip(a.Subresource, 64)
	}
	return name
}

// clip bounds what clients make up.
func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

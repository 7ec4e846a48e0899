package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dryRun asks every apiserver whether it would answer, and one what the gateway's own
// credential may do, prints what would run,
// and returns an error if something would not work.
func (g *gateway) dryRun(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	fmt.Fprintf(out, "listen      %s:%d (TLS), ops %s\n", g.options.bindAddress, g.options.securePort, g.options.opsBindAddress)
	fmt.Fprintf(out, "identity    %s\n", g.cluster.identityMode())
	fmt.Fprintf(out, "client CA   %s\n", g.cluster.clientCA.Name())
	var errs []error
	for _, e := range g.cluster.upstream.Endpoints() {
		code, err := g.cluster.upstream.Check(ctx, e, "/readyz")
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s server %s: %w", e.Group, e.URL, err))
			fmt.Fprintf(out, "%-11s %s: %v\n", e.Group, e.URL, err)
		case code != http.StatusOK:
			errs = append(errs, fmt.Errorf("%s server %s: readyz answers %d", e.Group, e.URL, code))
			fmt.Fprintf(out, "%-11s %s: readyz answers %d\n", e.Group, e.URL, code)
		default:
			fmt.Fprintf(out, "%-11s %s: ready\n", e.Group, e.URL)
		}
	}
	if err := g.cluster.dryRunRights(ctx, needed(g.options), out); err != nil {
		errs = append(errs, err)
	}
	if err := g.dryRunCache(ctx, out); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// needed are the rights that no client can be served without.
func needed(o *options) []authorizationv1.ResourceAttributes {
	rights := []authorizationv1.ResourceAttributes{
		{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"},
		{Verb: "create", Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
	}
	if o.proxyClientCert == "" {
		rights = append(rights,
			authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "users"},
			authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "groups"},
			authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "serviceaccounts"},
			authorizationv1.ResourceAttributes{Verb: "impersonate", Group: "authentication.k8s.io", Resource: "uids"},
			// Any key of extra fields, of which service accounts have some.
			authorizationv1.ResourceAttributes{Verb: "impersonate", Group: "authentication.k8s.io", Resource: "userextras", Subresource: "authentication.kubernetes.io/pod-name"},
		)
	}
	if o.clientCAFile == "" {
		for _, verb := range []string{"get", "list", "watch"} {
			rights = append(rights, authorizationv1.ResourceAttributes{
				Verb: verb, Resource: "configmaps", Namespace: "kube-system", Name: "extension-apiserver-authentication",
			})
		}
	}
	return rights
}

// dryRunRights prints which of these rights the credential lacks.
func (c *cluster) dryRunRights(ctx context.Context, rights []authorizationv1.ResourceAttributes, out io.Writer) error {
	var missing []string
	for i := range rights {
		may, err := c.may(ctx, &rights[i])
		if err != nil {
			return fmt.Errorf("asking for the credential's rights: %w", err)
		}
		if !may {
			missing = append(missing, describeRight(&rights[i]))
			fmt.Fprintf(out, "rights      %s: missing, deploy/rbac.yaml has it\n", missing[len(missing)-1])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the credential may not %s: apply deploy/rbac.yaml, and bind its roles to whom the kubeconfig is of", strings.Join(missing, ", "))
	}
	fmt.Fprintln(out, "rights      sufficient")
	return nil
}

// may asks an apiserver whether the gateway's credential has a right.
func (c *cluster) may(ctx context.Context, right *authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: right}}
	review, err := c.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// describeRight is like "create tokenreviews.authentication.k8s.io".
func describeRight(right *authorizationv1.ResourceAttributes) string {
	what := right.Verb + " " + right.Resource
	if right.Group != "" {
		what += "." + right.Group
	}
	if right.Subresource != "" {
		what += "/" + right.Subresource
	}
	if right.Name != "" {
		what += " " + right.Namespace + "/" + right.Name
	}
	return what
}

// dryRunCache prints what would be cached, and what would not for want of rights: that
// is no error, since reads of it are forwarded.
func (g *gateway) dryRunCache(ctx context.Context, out io.Writer) error {
	resources, err := parseResources(g.options.cacheResources)
	if err != nil {
		return err
	}
	for _, r := range resources {
		may := true
		for _, verb := range []string{"list", "watch"} {
			allowed, err := g.cluster.may(ctx, &authorizationv1.ResourceAttributes{Verb: verb, Group: r.Spec.Group, Version: r.Spec.Version, Resource: r.Spec.Resource})
			if err != nil {
				return fmt.Errorf("asking what may be cached: %w", err)
			}
			may = may && allowed
		}
		if may {
			fmt.Fprintf(out, "cache       %s\n", r.Name)
		} else {
			fmt.Fprintf(out, "cache       %s: not, reads are forwarded; the credential may not list and watch them, which deploy/cache.yaml allows\n", r.Name)
		}
	}
	return nil
}

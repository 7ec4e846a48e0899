package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dryRun asks every apiserver whether it would answer, prints what would run,
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
	if err := g.dryRunCache(ctx, out); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
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
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: r.Spec.Group, Version: r.Spec.Version, Resource: r.Spec.Resource},
			}}
			review, err := g.cluster.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("asking what may be cached: %w", err)
			}
			may = may && review.Status.Allowed
		}
		if may {
			fmt.Fprintf(out, "cache       %s\n", r.Name)
		} else {
			fmt.Fprintf(out, "cache       %s: not, reads are forwarded; the credential may not list and watch them, which deploy/cache.yaml allows\n", r.Name)
		}
	}
	return nil
}

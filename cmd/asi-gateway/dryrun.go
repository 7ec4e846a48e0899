package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
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
	return errors.Join(errs...)
}

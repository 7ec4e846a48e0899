// Command asi-gateway is the front door of a Kubernetes cluster: one process in
// front of all kube-apiservers. See --help, and README.md for how to begin.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// version is set by the linker (make build).
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "asi-gateway: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := newOptions()
	flags := o.flags()
	flags.SetOutput(stderr)
	// Who asks for help wants to read it, or to search it.
	flags.Usage = func() { fmt.Fprintf(stdout, "Usage of asi-gateway:\n%s", flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	o.cacheNamed = flags.Changed("cache-resources")
	if o.showVersion {
		fmt.Fprintln(stdout, "asi-gateway", version)
		return nil
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: everything is set by flags, see --help", flags.Arg(0))
	}
	if err := o.validate(); err != nil {
		return err
	}
	logger, flush, err := o.logger()
	if err != nil {
		return err
	}
	defer flush()
	g, err := newGateway(o, logger)
	if err != nil {
		return err
	}
	if o.dryRun {
		return g.dryRun(ctx, stdout)
	}
	keepHeapRoom(ctx)
	return g.run(ctx)
}

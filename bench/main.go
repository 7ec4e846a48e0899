package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("what to measure? forward or watches")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	out := f.String("out", "bench/results", "folder for the figures")
	gateway := f.String("gateway", "", "gateway binary to measure (default: build it)")
	switch args[0] {
	case "forward":
		o := forwardOptions{}
		f.IntVar(&o.rounds, "rounds", 7, "rounds of each contestant")
		f.IntVar(&o.requests, "requests", 8000, "requests a round")
		f.IntVar(&o.clients, "clients", 16, "clients, one connection each")
		f.IntVar(&o.payload, "payload", 1000, "bytes in the object")
		f.Func("compare", "`NAME=BINARY` of another gateway build to measure in the same run, front-proxy mode; may be repeated", func(s string) error {
			name, binary, ok := strings.Cut(s, "=")
			if !ok || name == "" || binary == "" {
				return fmt.Errorf("want NAME=BINARY")
			}
			o.compare = append(o.compare, build{name, binary})
			return nil
		})
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		o.out, o.gateway = *out, *gateway
		return forward(ctx, o)
	case "watches":
		o := watchOptions{}
		f.IntVar(&o.watches, "watches", 10000, "watches to open")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		o.out, o.gateway = *out, *gateway
		return watches(ctx, o)
	case "reverseproxy":
		return reverseProxy(args[1:])
	default:
		return fmt.Errorf("nothing known about %q: forward or watches", args[0])
	}
}

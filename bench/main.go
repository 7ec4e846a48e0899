package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("what to measure? forward, watches, cache, scale or day")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	out := f.String("out", "bench/results", "folder for the figures")
	gateway := f.String("gateway", "", "gateway binary to measure (default: build it)")
	switch args[0] {
	case "forward":
		o := forwardOptions{}
		f.IntVar(&o.rounds, "rounds", 50, "rounds of each contestant: many short ones, for the speed of shared machines changes within seconds")
		f.IntVar(&o.requests, "requests", 1200, "GETs a round")
		f.IntVar(&o.writes, "writes", 320, "writes a round")
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
	case "cache":
		o := cacheOptions{}
		f.IntVar(&o.pods, "pods", 5000, "pods of 8 KB in the cluster")
		f.IntVar(&o.nodes, "nodes", 500, "nodes that they run on")
		f.IntVar(&o.namespaces, "namespaces", 100, "namespaces that they are in")
		f.IntVar(&o.rounds, "rounds", 3, "rounds of each contestant")
		f.IntVar(&o.gets, "gets", 4000, "GETs a round")
		f.IntVar(&o.watchers, "watchers", 500, "watchers that every event goes to")
		f.IntVar(&o.nodeWatchers, "node-watchers", 1000, "watchers that are on a node each")
		f.IntVar(&o.storm, "storm", 500, "clients that start a WatchList, 500 a second")
		f.IntVar(&o.lists, "lists", 64, "LISTs of all pods at once")
		f.DurationVar(&o.hold, "hold", 5*time.Second, "how long these are read")
		f.StringVar(&o.only, "only", "", "regular `EXPRESSION` for the names of the scenarios to measure")
		f.StringVar(&o.profiles, "profiles", "", "`FOLDER` for a CPU profile of the gateway in each scenario")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		if err := o.validate(); err != nil {
			return err
		}
		o.out, o.gateway = *out, *gateway
		return measureCache(ctx, o)
	case "scale":
		o := scaleOptions{}
		f.IntVar(&o.rounds, "rounds", 5, "rounds of each contestant at each size")
		f.IntVar(&o.most, "most", 0, "largest size to measure (default: all)")
		f.StringVar(&o.only, "only", "", "regular `EXPRESSION` for what there is more and more of: pods, namespaces, watchers, rules")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		o.out, o.gateway = *out, *gateway
		return scale(ctx, o)
	case "day":
		o := dayOptions{}
		f.IntVar(&o.nodes, "nodes", 500, "nodes of the cluster")
		f.IntVar(&o.pods, "pods", 10000, "pods of 1 KB in it")
		f.DurationVar(&o.phase, "phase", 20*time.Second, "how long each phase is measured")
		f.IntVar(&o.rounds, "rounds", 5, "rounds with and without the gateway")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		if o.nodes < 10 || o.pods < o.nodes || o.rounds < 1 || o.phase < time.Second {
			return fmt.Errorf("want 10 nodes at least, a pod for each, a round, and phases of a second")
		}
		o.out, o.gateway = *out, *gateway
		return day(ctx, o)
	case "reverseproxy":
		return reverseProxy(args[1:])
	case "floor":
		return serveFloor(args[1:])
	default:
		return fmt.Errorf("nothing known about %q: forward, watches, cache, scale or day", args[0])
	}
}

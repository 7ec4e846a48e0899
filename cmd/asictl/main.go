// Command asictl governs a gateway from the command line: limits, switches,
// client classes, routes, and what is going on. It speaks to the gateway's own API
// only, without discovery, so that it works while every kube-apiserver is dead. As
// kubectl-asi in the PATH it is the kubectl plugin "kubectl asi".
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/utils/clock"
)

// version is set by the linker (make build).
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	c := &cli{
		program: programOf(os.Args[0]), in: os.Stdin, out: os.Stdout, err: os.Stderr,
		clock: clock.RealClock{}, terminal: isTerminal(os.Stdout),
	}
	os.Exit(c.main(ctx, os.Args[1:]))
}

// program is the name under which asictl was started.
type program struct {
	// file is the name of the binary, shown is what people type.
	file, shown string
	// plugin tells that kubectl has started it.
	plugin bool
}

// programOf applies kubectl's rule: a dash separates words, an underscore stands
// for a dash.
func programOf(argv0 string) program {
	file := strings.TrimSuffix(filepath.Base(argv0), ".exe")
	words, plugin := strings.CutPrefix(file, "kubectl-")
	if !plugin {
		return program{file: file, shown: file}
	}
	words = strings.ReplaceAll(strings.ReplaceAll(words, "-", " "), "_", "-")
	return program{file: file, shown: "kubectl " + words, plugin: true}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"
)

// Exit codes. They are part of the command line that people script.
const (
	exitOK = iota
	// exitFailed is everything that went wrong after the command line was
	// understood.
	exitFailed
	// exitUsage is a command line that makes no sense.
	exitUsage
	// exitRefused is what limits simulate --fail-if-refused asks for.
	exitRefused
)

// cli is one run of the program. Commands read and write nothing but what it
// holds.
type cli struct {
	program  program
	in       io.Reader
	out, err io.Writer
	clock    clock.WithTicker
	// terminal tells that out is one, so that it can be cleared.
	terminal bool

	connection connection
	// server tells the gateway's time.
	server serverClock
	// began tells that a command has started: what fails before is usage.
	began bool
	// input buffers in over several questions.
	input *bufio.Reader
}

// main runs a command line and returns the exit code.
func (c *cli) main(ctx context.Context, args []string) int {
	c.server.local = c.clock
	root := c.root()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	command, err := root.ExecuteContextC(ctx)
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case !c.began || isUsage(err):
		fmt.Fprintf(c.err, "error: %s\nSee '%s --help' for usage.\n", strings.TrimSpace(err.Error()), command.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(c.err, "error: interrupted")
		return exitFailed
	}
	for _, err := range split(err) {
		fmt.Fprintln(c.err, "error:", c.explainError(ctx, err))
	}
	return exitFailed
}

// exitCode ends the program with that code, everything being said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a command line that makes no sense in a way that only the
// command itself can see.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

func isUsage(err error) bool {
	var usage *usageError
	return errors.As(err, &usage)
}

// split returns the errors that errors.Join has joined.
func split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, split(err)...)
	}
	return all
}

// runs makes a function a command's. It comes after cobra has checked flags and
// arguments, and is how their errors are told from others.
func (c *cli) runs(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c.began = true
		return run(command.Context(), args)
	}
}

// note tells what the reader should know but no program reads.
func note(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "note: %s\n", printable(fmt.Sprintf(format, args...)))
}

// confirm asks on standard error, which a redirection of the output leaves where
// it is. No answer is no.
func (c *cli) confirm(question string) error {
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	if c.input == nil {
		c.input = bufio.NewReader(c.in)
	}
	answer, err := c.input.ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	if err != nil && answer == "" {
		return errors.New("nothing was changed: nobody answered; say --yes where nobody can")
	}
	return errors.New("nothing was changed")
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// refresh is how often --watch looks. It asks for everything anew, so that it
// goes on with another gateway when one ends.
const refresh = 2 * time.Second

// shows makes a command one that shows something, with --watch again and again. Its
// arguments are names; checks look at its other flags.
func (c *cli) shows(command *cobra.Command, o *output, show func(ctx context.Context, client *client, names []string, out, notes io.Writer) error, checks ...func() error) {
	watch := command.Flags().BoolP("watch", "w", false, "show it again every "+refresh.String())
	command.RunE = c.runs(func(ctx context.Context, names []string) error {
		if err := o.check(); err != nil {
			return err
		}
		if *watch && !o.table() {
			return usagef("--watch is for tables")
		}
		for _, check := range checks {
			if err := check(); err != nil {
				return err
			}
		}
		client, err := c.connect()
		if err != nil {
			return err
		}
		return c.repeat(ctx, *watch, func(ctx context.Context, out, notes io.Writer) error {
			return show(ctx, client, names, out, notes)
		})
	})
}

// repeat shows something, once or until ctx ends. Show gets writers for what it
// has to say and for notes.
func (c *cli) repeat(ctx context.Context, watch bool, show func(ctx context.Context, out, notes io.Writer) error) error {
	if !watch {
		return show(ctx, c.out, c.err)
	}
	ticker := c.clock.NewTicker(refresh)
	defer ticker.Stop()
	var last string
	var at time.Time
	for {
		var page bytes.Buffer
		err := show(ctx, &page, &page)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			last, at = page.String(), c.clock.Now()
			c.page(last)
		case last == "":
			return err
		default:
			// A gateway that fails is when people look. What was seen last stays.
			message, _, _ := strings.Cut(c.explainError(ctx, err), "\n")
			c.page(fmt.Sprintf("%serror: %s\nThis was %s ago; trying again.\n", last, message, formatTime(c.clock.Since(at))))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// page replaces what a terminal shows; elsewhere pages follow each other.
func (c *cli) page(text string) {
	if c.terminal {
		fmt.Fprint(c.out, "\x1b[H\x1b[2J"+text)
		return
	}
	fmt.Fprintln(c.out, text)
}
